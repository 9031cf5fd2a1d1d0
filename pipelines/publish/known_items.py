"""Known items: where nobody judged queries, sentences of the documents are the queries, the documents the answers.

Each sentence is left out of the index under test, so that what is found is the rest of its document. Good for telling
two releases apart, not as a level: people do not ask in the documents' own words.
Source: known-item search from the collection, Azzopardi & de Rijke & Balog 2007 (SIGIR), in its simplest form.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq

from core.tables.row_groups import batches
from pipelines.search.ask.judged_queries import Query
from pipelines.search.text.quotable import quotable
from pipelines.search.text.sections import below_headings

_LEAST_CHARS = 40  # of a sentence: fewer say too little to be looked for
_MOST_CHARS = 300
_LEAST_REST = 100  # characters of the passage that stay, to be found by


def known_items(chunks: Path, count: int) -> list[Query]:
    """`count` sentences at most, of as many documents: those of the lowest hashes, so an edit moves few of them."""
    found: list[Query] = []
    for rank, document, text in sorted(_candidates(chunks)) if count else ():
        sentence = _sentence(text)
        if sentence is not None:
            found.append(Query(rank[:16], sentence, {document: 1}, sentence))
        if len(found) == count:
            break
    return found


def without(text: str, sentence: str) -> str:
    return " ".join(part for part in map(str.strip, text.split(sentence)) if part)


def _candidates(chunks: Path) -> Iterator[tuple[str, str, str]]:
    """One passage a document: hash, document, text."""
    best: dict[str, tuple[str, str, str]] = {}
    for batch in batches(pq.ParquetFile(chunks), columns=["document", "key", "heading", "text"]):
        for document, key, heading, whole in zip(*(batch.column(at).to_pylist() for at in range(4)), strict=True):
            text = below_headings(heading, whole)
            if len(text) < _LEAST_CHARS + _LEAST_REST:
                continue
            rank = hashlib.sha256(f"{document} {key}".encode()).hexdigest()
            if document not in best or rank < best[document][0]:
                best[document] = (rank, document, text)
    yield from best.values()


def _sentence(text: str) -> str | None:
    """The sentence that is taken out: the one of the lowest hash among those of a good length."""
    found = [text[start:end] for start, end in quotable("", text) if _LEAST_CHARS <= end - start <= _MOST_CHARS]
    found = [each for each in found if len(without(text, each)) >= _LEAST_REST]
    return min(found, key=lambda each: hashlib.sha256(each.encode()).hexdigest(), default=None)
