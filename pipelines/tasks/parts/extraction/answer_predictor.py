"""A learnt AnswerFinder that answers questions about contexts. Imports torch at once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from core.tables.task import Interface, Predictions
from pipelines.tasks.parts import text_input
from pipelines.tasks.parts.extraction import answer_search, answer_texts, pair_windows

if TYPE_CHECKING:
    import pandas as pd

    from pipelines.tasks.parts.extraction.answer_finder import AnswerFinder

BATCH = 32  # windows; sorted by length first, so little of it is padding


class AnswerPredictor:
    def __init__(self, module: AnswerFinder, folder: Path, base: Path | None = None) -> None:
        """folder: where the options lie, and the threshold: an answer is given where its margin is greater.

        base: where the tokenizer lies; None: there too.
        """
        self.module, self.pad = module, text_input.pad(folder, base)
        self.tokenizer = text_input.uncut(folder, base)
        self.options = pair_windows.Options(**text_input.options(folder))
        self.threshold = answer_texts.read_threshold(folder)

    def predict(self, rows: pd.DataFrame, media: Path | None = None) -> Predictions:
        return self._said(rows, self._found(rows), self.threshold)

    def answers(self, predictions: Predictions) -> pd.DataFrame:
        return answer_texts.answers(predictions)

    def interface(self) -> Interface:
        return text_input.interface(self.pad)

    def best_threshold(self, rows: pd.DataFrame) -> float:
        """The threshold that is best for rows whose answers are known."""
        found, true = self._found(rows), {"answers": rows["answers"].to_numpy(object)}
        always, never = (
            answer_texts.measure({**self._said(rows, found, threshold), **true})["f1"]
            for threshold in (-np.inf, np.inf)
        )
        return answer_texts.best_threshold(np.array([each.margin for each in found]), always, never)

    def _found(self, rows: pd.DataFrame) -> list[answer_search.Found]:
        most, longest = self.options.max_tokens, self.options.longest
        parts = pair_windows.windows(self.tokenizer, rows["question"], rows["context"], max_tokens=most)
        return answer_search.find(self.module, parts, len(rows), longest=longest, pad=self.pad, batch_size=BATCH)

    def _said(self, rows: pd.DataFrame, found: Sequence[answer_search.Found], threshold: float) -> Predictions:
        bounds = [each.bounds if each.margin > threshold else None for each in found]
        sure = [each.none if cut is None else each.sure for cut, each in zip(bounds, found, strict=True)]
        return answer_texts.said(rows["context"].tolist(), bounds, sure)
