"""Where the words of a question stand in a passage, by the same stems that BM25 counts."""

from __future__ import annotations

import re
from collections.abc import Iterator

from pipelines.search.text.terms import Analyser

_RUN = re.compile(r"\w+")


def marks(question: str, text: str, analyser: Analyser) -> list[tuple[int, int]]:
    """Start and end of each word (of scripts without spaces: each pair of characters) that the question has too."""
    asked = set(analyser.terms(question).ids)
    found: list[tuple[int, int]] = []
    for start, end in _spans(text, asked, analyser):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return found


def _spans(text: str, asked: set[int], analyser: Analyser) -> Iterator[tuple[int, int]]:
    for run in _RUN.finditer(text):
        terms = set(analyser.terms(run[0]).ids)
        if not terms & asked:
            continue
        if len(terms) == 1:
            yield run.span()
            continue
        for at in range(run.start(), run.end() - 1):
            if asked & set(analyser.terms(text[at : at + 2]).ids):
                yield at, at + 2
