"""question_answering: a question and a text -> the part of the text that answers it, or that nothing there does.

Any transformers encoder, tuned whole or by adapters. A row: {"question": "Where is Normandy?", "context": "Normandy, a
region in France, ...", "answers": [{"text": "France", "start": 22}]}; no answers: the context does not answer it.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from core.cells.answer_spans import listed
from core.schema.columns import Column, Contract
from core.schema.model import Method, Model
from core.schema.section import Section
from core.tables.learner import Learner, TorchLearner
from core.tables.prepared import read_rows
from core.tables.task import Base, Place, Predictions, Task
from core.weights.base_store import base_folder
from pipelines.tasks.parts import text_input
from pipelines.tasks.parts.extraction import answer_texts, pair_windows, simple_answers

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from pipelines.tasks.parts.extraction.answer_predictor import AnswerPredictor

CALIBRATED = 2_000  # validation rows that the threshold is chosen by, spread over all


class QuestionAnswering(answer_texts.AnswerTexts):
    contract = Contract(
        columns={
            "question": Column("text"), "context": Column("text"), "answers": Column("answers", of="context"),
        },
        inputs=("question", "context"),
        targets=("answers",),
    )  # fmt: skip
    methods: Sequence[Method] = ("full", "lora")
    simple: Sequence[str] = ()
    Preprocess: type[Section] = pair_windows.Options
    modules: Sequence[str] = ()

    def defaults(self, method: Method) -> Mapping[str, Mapping[str, Any]]:
        rate = 1e-3 if method == "lora" else 3e-4
        split = {"group_by": "context"}  # or the model has met the test's contexts
        return {"training": {"epochs": 2.0, "batch_size": 16, "learning_rate": rate}, "data": {"split": split}}

    def prepare(self, batches: Iterable[pd.DataFrame], options: Section, at: Place) -> None:
        text_input.take(at, options.model_dump())

    def foresee(self, model: Model, options: Section, base: Base) -> None:
        assert isinstance(options, pair_windows.Options)
        text_input.foresee(model, text_input.TextOptions(max_tokens=options.max_tokens), base)

    def encode(self, rows: pd.DataFrame, at: Place) -> pa.Table:
        """A row a window, with the tokens where its answer begins and ends."""
        tokenizer, most = text_input.uncut(at.folder), text_input.max_tokens(at.folder)
        parts = pair_windows.windows(tokenizer, rows["question"], rows["context"], max_tokens=most)
        return pair_windows.encoded(parts, [listed(cell) for cell in rows["answers"]])

    def learner(self, model: Model, at: Place) -> TorchLearner:
        from transformers import set_seed

        from pipelines.tasks.parts import headed_encoder
        from pipelines.tasks.parts.extraction import answer_finder, answer_search

        config = text_input.config(at.base, at.folder)
        set_seed(at.seed)
        kind, ends = answer_finder.AnswerFinder, answer_finder.ENDS
        module = headed_encoder.build(kind, model, at.base, config, classes=ends)
        return TorchLearner(
            module, partial(answer_search.collate, pad=text_input.pad(at.folder)), watch=answer_search.watch
        )

    def save(self, learnt: Learner | TorchLearner, at: Place, *, into: Path, base: Path | None = None) -> None:
        """With the threshold, where validation rows have questions without an answer; else answers are always given."""
        from pipelines.tasks.parts import headed_encoder
        from pipelines.tasks.parts.extraction.answer_finder import AnswerFinder
        from pipelines.tasks.parts.extraction.answer_predictor import AnswerPredictor

        assert isinstance(learnt, TorchLearner)
        assert isinstance(learnt.module, AnswerFinder)
        shutil.copytree(at.folder, into, dirs_exist_ok=True)
        answer_texts.write_threshold(-np.inf, into)
        rows = read_rows(at.folder.parent, "validation")
        if (rows["answers"] == "[]").any():
            some = rows.iloc[np.unique(np.linspace(0, len(rows) - 1, CALIBRATED).round().astype(int))]
            best = AnswerPredictor(learnt.module, into).best_threshold(some)
            answer_texts.write_threshold(best, into)
        headed_encoder.save(learnt, into, base)

    def load(self, folder: Path) -> AnswerPredictor:
        from pipelines.tasks.parts import headed_encoder
        from pipelines.tasks.parts.extraction.answer_finder import ENDS, AnswerFinder
        from pipelines.tasks.parts.extraction.answer_predictor import AnswerPredictor

        base = base_folder(folder)
        module = headed_encoder.load(AnswerFinder, folder, base, classes=ENDS)
        return AnswerPredictor(module, folder, base)

    def baselines(self, train: pd.DataFrame, units: pd.DataFrame, at: Place) -> Mapping[str, Predictions]:
        """The best constant answer, the sentence nearest to the question, and a name in it."""
        return simple_answers.baselines(train, units)


TASK: Task = QuestionAnswering()
