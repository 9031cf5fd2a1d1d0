"""Rows of texts, or of prompts and their answers, as the sequences that a language model learns and is judged by."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from pipelines.tasks.parts.generation.chat import Texts
from pipelines.tasks.parts.generation.sequences import Part

if TYPE_CHECKING:
    import pandas as pd


def sequences(texts: Texts, asked: Sequence[str], answers: Sequence[str | None], *, dialogue: bool) -> list[Part]:
    """What is to be foretold of each row: a text where no row has an answer, else the answers; in the rows' order.

    dialogue: whether the model learns from dialogues: then a text alone is a prompt, of which nothing is foretold.
    """
    pairs = [(row, answer) for row, answer in enumerate(answers) if answer is not None]
    alone = [] if dialogue else [row for row, answer in enumerate(answers) if answer is None]
    found = texts.answered([asked[row] for row, _ in pairs], [answer for _, answer in pairs])
    named = [Part(pairs[part.of][0], part.ids, part.own) for part in found]
    named += [Part(alone[part.of], part.ids, part.own) for part in texts.documents([asked[row] for row in alone])]
    return sorted(named, key=lambda part: part.of)


def own_texts(asked: Sequence[str], answers: Sequence[str | None]) -> list[str]:
    """What is foretold of each row, as text."""
    return [text if answer is None else answer for text, answer in zip(asked, answers, strict=True)]


def strings(rows: pd.DataFrame, column: str) -> list[str | None]:
    """A column that may be missing, as may be each of its cells; a blank one says nothing."""
    cells = rows[column].tolist() if column in rows.columns else [None] * len(rows)
    return [cell if isinstance(cell, str) and cell.strip() else None for cell in cells]


def every_text(rows: pd.DataFrame) -> Iterator[str]:
    """What a tokenizer is learnt from: the texts and their answers."""
    yield from rows["text"]
    yield from filter(None, strings(rows, "answer"))
