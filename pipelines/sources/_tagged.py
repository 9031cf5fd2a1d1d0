"""Rows that are a list of tokens and a list of their tags, as jsonl and parquet may have them, as text and spans."""

from __future__ import annotations

from dataclasses import replace

from core.cells.spans import of_tags, written
from pipelines.sources._files import Record


def untagged(record: Record, *, text: str, spans: str) -> Record:
    """The row with its tokens as one text and its tags as the spans of that text; any other row as it is.

    text, spans: the source's names of the two columns. Tokens without tags become a text without spans.
    """
    tokens, tags = record.values.get(text), record.values.get(spans)
    if not isinstance(tokens, list) or not (tags is None or isinstance(tags, list)):
        return record
    try:
        joined, found = of_tags(tokens, ["O"] * len(tokens) if tags is None else tags)
    except ValueError as error:
        values = {**record.values, text: None, spans: None}
        return replace(record, values=values, fault=record.fault or f"{text} and {spans}: {error}")
    told = None if tags is None else written(found)
    return replace(record, values={**record.values, text: joined, spans: told})
