"""causal_language_modeling: a text -> how it goes on, or a prompt -> its answer.

Any causal language model of transformers, or an LSTM, from nothing or from a base. A row: {"text": "First Citizen:\n
Before we proceed ..."}, or {"text": "How many legs has a spider?", "answer": "Eight."}: then answers alone are learnt.
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
from core.tables.task import Base, Place, Predictions, RowAnswers, Task
from core.weights.base_store import base_folder
from pipelines.tasks.parts import text_input, tokens
from pipelines.tasks.parts.generation import chat, nats, ngrams, text_writer, written_rows
from pipelines.tasks.parts.generation.sequences import encoded, packed, windows
from pipelines.tasks.parts.language.masking import tokenizer_code

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa


class CausalLanguageModeling:
    contract = Contract(
        columns={
            "text": Column("text"), "answer": Column("text", required=False), "seed": Column("text", required=False),
        },
        inputs=("text", "answer", "seed"),
        key=("text",),
    )  # fmt: skip
    methods: Sequence[Method] = ("pretrain", "full", "lora")
    metrics = nats.METRICS
    primary = "nats_a_character"
    simple: Sequence[str] = ()
    Preprocess: type[Section] = text_writer.Options
    modules: Sequence[str] = ()

    def defaults(self, method: Method) -> Mapping[str, Mapping[str, Any]]:
        training: Mapping[Method, Mapping[str, Any]] = {
            "pretrain": {"epochs": 10.0, "learning_rate": 2e-3},
            "full": {"epochs": 3.0, "learning_rate": 1e-4},
            "lora": {"epochs": 3.0, "learning_rate": 1e-3},
        }
        return {"training": {"batch_size": 16, "schedule": "cosine", **training[method]}}

    def prepare(self, batches: Iterable[pd.DataFrame], options: Section, at: Place) -> None:
        from pipelines.tasks.parts.generation import causal_lm

        kept = options.model_dump(exclude={"vocabulary"})
        kept["dialogue"] = any(any(written_rows.strings(rows, "answer")) for rows in batches)
        if at.base.folder is not None:
            text_input.take(at, kept, writes=True)
        else:
            assert isinstance(options, text_writer.Options)
            texts = (text for rows in batches for text in written_rows.every_text(rows))
            tokens.learn_writing(texts, at.folder, size=options.vocabulary, chat_template=chat.TEMPLATE)
            text_input.keep(kept, at.folder)
        causal_lm.require_kind(causal_lm.config(at.base, at.folder))

    def foresee(self, model: Model, options: Section, base: Base) -> None:
        from pipelines.tasks.parts.encoder import base_config
        from pipelines.tasks.parts.generation.causal_lm import require_kind

        assert isinstance(options, text_writer.Options)
        text_input.foresee(model, text_input.TextOptions(max_tokens=options.max_tokens), base)
        require_kind(base_config(base, vocabulary=1, pad=0))

    def encode(self, rows: pd.DataFrame, at: Place) -> pa.Table:
        """A row a window of a text."""
        asked, answers = rows["text"].tolist(), written_rows.strings(rows, "answer")
        found = written_rows.sequences(chat.texts_of(at.folder), asked, answers, dialogue=False)
        return encoded(list(windows(found, text_input.max_tokens(at.folder))))

    def learner(self, model: Model, at: Place) -> TorchLearner:
        from transformers import set_seed

        from pipelines.tasks.parts.generation import causal_lm

        config = causal_lm.config(at.base, at.folder)
        set_seed(at.seed)
        return TorchLearner(
            causal_lm.build(model, at.base, config),
            partial(causal_lm.collate, pad=text_input.pad(at.folder)),
            features=partial(packed, size=text_input.max_tokens(at.folder)),
            watch=causal_lm.right,
        )

    def save(self, learnt: Learner | TorchLearner, at: Place, *, into: Path, base: Path | None = None) -> None:
        from pipelines.tasks.parts.encoder import save_encoder

        assert isinstance(learnt, TorchLearner)
        shutil.copytree(at.folder, into, dirs_exist_ok=True)
        save_encoder(learnt.module.get_submodule("model"), into, base)

    def load(self, folder: Path) -> text_writer.TextWriter:
        from pipelines.tasks.parts.generation import causal_lm

        base = base_folder(folder)
        return text_writer.TextWriter(causal_lm.load(folder, base), folder, base)

    def units(self, rows: pd.DataFrame, folder: Path) -> pd.DataFrame:
        return rows

    def truth(self, units: pd.DataFrame, at: Place) -> Predictions:
        return nats.truth(len(units), tokenizer_code(at.folder / tokens.FILE))

    def measure(self, predictions: Predictions) -> Predictions:
        return nats.measure(predictions)

    def score(self, measured: Predictions, weights: np.ndarray[Any, Any]) -> dict[str, float]:
        return nats.score(measured, weights)

    def by_row(self, predictions: Predictions, axes: Mapping[str, Sequence[str]]) -> RowAnswers:
        return nats.by_row(predictions)

    def baselines(self, train: pd.DataFrame, units: pd.DataFrame, at: Place) -> Mapping[str, Predictions]:
        """Counts of tokens, of pairs of them and of up to five (Kneser-Ney), and the base as it was."""
        from pipelines.tasks.parts.generation import causal_lm

        found = ngrams.baselines(train, units, at.folder)
        if at.base.architecture is None:
            module = causal_lm.build(Model(base=at.base.reference), at.base, causal_lm.config(at.base, at.folder))
            found["base"] = text_writer.TextWriter(module, at.folder).foretold(units)
        return found

    def axes(self, folder: Path) -> Mapping[str, Sequence[str]]:
        return {}

    def plots(self, predictions: Predictions, *, folder: Path, prepared: Path) -> None:
        nats.plots(predictions, folder=folder)


TASK: Task = CausalLanguageModeling()
