"""sequence_to_sequence: a text -> the text that is to be written from it: its translation, its summary.

Any model of transformers' AutoModelForSeq2SeqLM, or an LSTM with attention. A row: {"source": "Church Slavic",
"target": "Kirchenslawisch"}.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.schema.columns import Column, Contract
from core.schema.model import Method, Model
from core.schema.section import Section
from core.tables.learner import Learner, TorchLearner
from core.tables.task import Base, Place, Predictions, Task
from core.weights.base_store import base_folder
from pipelines.tasks.parts import text_input
from pipelines.tasks.parts.translation import pair_input, simple_translations, text_scores

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from pipelines.tasks.parts.translation.translator import Translator


class SequenceToSequence(text_scores.WrittenTexts):
    contract = Contract(
        columns={"source": Column("text"), "target": Column("text")},
        inputs=("source",),
        targets=("target",),
        key=("source", "target"),  # a text may have several translations
    )
    methods: Sequence[Method] = ("pretrain", "full", "lora", "transfer")
    simple: Sequence[str] = ()
    Preprocess: type[Section] = pair_input.Options
    modules: Sequence[str] = ()

    def defaults(self, method: Method) -> Mapping[str, Mapping[str, Any]]:
        training: Mapping[Method, Mapping[str, Any]] = {
            "pretrain": {"epochs": 10.0, "batch_size": 64, "learning_rate": 2e-3},
            "full": {"epochs": 3.0, "learning_rate": 1e-4},
            "lora": {"epochs": 3.0, "learning_rate": 1e-3},
            "transfer": {"epochs": 3.0, "learning_rate": 5e-4},
        }
        split = {"group_by": "source"}  # or the model has met the test's sources
        return {"training": training[method], "data": {"split": split}}

    def prepare(self, batches: Iterable[pd.DataFrame], options: Section, at: Place) -> None:
        from pipelines.tasks.parts.translation import seq2seq

        assert isinstance(options, pair_input.Options)
        pair_input.prepare(batches, options, at)
        seq2seq.config(at.base, at.folder)

    def foresee(self, model: Model, options: Section, base: Base) -> None:
        from pipelines.tasks.parts.translation import seq2seq

        assert isinstance(options, pair_input.Options)
        seq2seq.foresee(base, options)

    def encode(self, rows: pd.DataFrame, at: Place) -> pa.Table:
        return pair_input.encode(rows, at.folder)

    def learner(self, model: Model, at: Place) -> TorchLearner:
        from transformers import set_seed

        from pipelines.tasks.parts.translation import seq2seq

        config = seq2seq.config(at.base, at.folder)
        set_seed(at.seed)
        module = seq2seq.build(model, at.base, config)
        return TorchLearner(module, partial(seq2seq.collate, pad=text_input.pad(at.folder)), watch=seq2seq.watch)

    def save(self, learnt: Learner | TorchLearner, at: Place, *, into: Path, base: Path | None = None) -> None:
        from pipelines.tasks.parts.translation import seq2seq

        assert isinstance(learnt, TorchLearner)
        shutil.copytree(at.folder, into, dirs_exist_ok=True)
        seq2seq.save(learnt.module, into, base)

    def load(self, folder: Path) -> Translator:
        from pipelines.tasks.parts.translation import seq2seq
        from pipelines.tasks.parts.translation.translator import Translator

        base = base_folder(folder)
        return Translator(seq2seq.load(folder, base), folder, base)

    def baselines(self, train: pd.DataFrame, units: pd.DataFrame, at: Place) -> Mapping[str, Predictions]:
        """The source, its first words, what was written for the nearest source, and the base as it was."""
        found = dict(simple_translations.baselines(train, units))
        if at.base.architecture is None:
            from pipelines.tasks.parts.translation import seq2seq
            from pipelines.tasks.parts.translation.translator import Translator

            config = seq2seq.config(at.base, at.folder)
            module = seq2seq.build(Model(base=at.base.reference), at.base, config)
            found["base"] = Translator(module, at.folder).predict(units)
        return found


TASK: Task = SequenceToSequence()
