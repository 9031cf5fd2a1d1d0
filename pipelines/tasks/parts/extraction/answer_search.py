"""How an AnswerFinder learns from encoded windows, and the best answer of all the windows of a pair.

Imports torch at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipelines.tasks.parts.encoder import by_length, pad_tokens
from pipelines.tasks.parts.extraction.answer_finder import AnswerFinder
from pipelines.tasks.parts.extraction.pair_windows import NULL, Bounds, PairWindow

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Found:
    """The best answer to a question. bounds: its characters in the context; None where the context has no token.

    margin: its score minus that of no answer, in the same window. sure: how probable it is there, and `none` how
    probable no answer is.
    """

    bounds: Bounds | None
    margin: float
    sure: float
    none: float


NOTHING = Found(None, -np.inf, 0.0, 1.0)


def collate(rows: Sequence[Mapping[str, Any]], *, pad: int) -> dict[str, Tensor]:
    """A batch of encoded windows, as AnswerFinder takes it."""
    batch = pad_tokens([row["input_ids"] for row in rows], pad)
    at = torch.arange(batch["input_ids"].shape[1])[None]
    first, count = (torch.tensor([[row[name]] for row in rows]) for name in ("first", "tokens"))
    allowed = ((at >= first) & (at < first + count)) | (at == NULL)
    places = torch.tensor([[row["start"], row["end"]] for row in rows], dtype=torch.int64)
    return {**batch, "allowed": allowed, "places": places}


def watch(said: Any, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """How many windows of a batch have both ends right: `exact`."""
    return {"exact": (said.logits.argmax(dim=1) == batch["places"]).all(dim=1).sum()}


def find(
    module: AnswerFinder, parts: Sequence[PairWindow], pairs: int, *, longest: int, pad: int, batch_size: int
) -> list[Found]:
    """The best answer to each of `pairs` questions: that of greatest margin among all its windows.

    Margins of different windows can be compared, since each is a distance to the window's own score of no answer.
    longest: tokens of an answer.
    """
    found = [NOTHING] * pairs
    for rows, batch in by_length(module, [part.ids for part in parts], pad=pad, batch_size=batch_size, what="predict"):
        with torch.inference_mode():
            logits = module(**batch).logits.float().cpu().numpy()
        for row, scores in zip(rows, logits, strict=True):
            part = parts[row]
            best = best_answer(scores, part, longest=longest)
            if best.margin > found[part.of].margin:
                found[part.of] = best
    return found


def best_answer(scores: Array, part: PairWindow, *, longest: int) -> Found:
    """The best answer in a window, of at most so many tokens. scores: (tokens, 2), of beginning and of ending there."""
    count = len(part.bounds)
    if not count:
        return NOTHING
    inside = np.r_[NULL, part.first : part.first + count]
    begins, ends = scores[inside].T.astype(np.float64)
    widest = min(longest, count)
    after = np.lib.stride_tricks.sliding_window_view(np.r_[ends[1:], np.full(widest - 1, -np.inf)], widest)
    sums = begins[1:, None] + after  # (tokens, lengths)
    start, length = np.unravel_index(int(sums.argmax()), sums.shape)
    first, last = part.bounds[int(start)], part.bounds[int(start + length)]
    whole = np.logaddexp.reduce(begins) + np.logaddexp.reduce(ends)
    none = begins[0] + ends[0]
    best = sums[start, length]
    return Found((first[0], last[1]), float(best - none), float(np.exp(best - whole)), float(np.exp(none - whole)))
