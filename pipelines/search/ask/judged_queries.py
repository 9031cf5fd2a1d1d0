"""Judged queries, as BEIR has them: queries.jsonl (`_id` or `id`, `text`), qrels.tsv (query-id, corpus-id, score).

A query whose judgments name no document with a score above 0 has nothing to find, and is left out.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from core.atomic_files import sha256_file
from core.errors import BadRequest
from core.schema.search import Judging


@dataclass(frozen=True)
class Query:
    """relevant: document -> grade, above 0. sentence: of a known item, what is left out of the index under test."""

    id: str
    text: str
    relevant: Mapping[str, int]
    sentence: str = ""


def identify_judged(evaluation: Judging, root: Path) -> dict[str, str]:
    """The sha256 of each file, for the lock; nothing when the index names none. Raises BadRequest when one is gone."""
    if evaluation.queries is None:
        return {}
    return {name: sha256_file(path) for name, path in _paths(evaluation, root).items()}


def read_judged(evaluation: Judging, root: Path, identity: Mapping[str, str]) -> list[Query]:
    """The queries. Raises BadRequest for a file that is not what the lock says, or has a mistake: with its line."""
    paths = _paths(evaluation, root)
    for name, path in paths.items():
        if sha256_file(path) != identity.get(name):
            raise BadRequest(f"{path} is not the file that the lock names. `headrace lock` takes it as it is now.")
    texts = dict(_texts(paths["queries"]))
    relevant: dict[str, dict[str, int]] = {}
    for query, document, grade in _judgments(paths["qrels"]):
        if query not in texts:
            raise BadRequest(f"{paths['qrels']}: query {query!r} is judged, and {paths['queries']} does not have it.")
        if grade > 0:
            relevant.setdefault(query, {})[document] = grade
    if not relevant:
        raise BadRequest(f"{paths['qrels']}: no query has a relevant document, so nothing can be judged.")
    return [Query(name, texts[name], found) for name, found in relevant.items()]


def _paths(evaluation: Judging, root: Path) -> dict[str, Path]:
    found = {}
    for name in ("queries", "qrels"):
        path = root / str(getattr(evaluation, name))
        if not path.is_file():
            raise BadRequest(f"evaluation.{name}: no such file ({path}). A relative path starts at the workspace.")
        found[name] = path
    return found


def _texts(path: Path) -> Iterator[tuple[str, str]]:
    for number, line in _lines(path):
        try:
            row = json.loads(line)
            yield str(row.get("_id", row.get("id"))), str(row["text"])
        except (ValueError, KeyError, AttributeError):
            raise BadRequest(f'{path}:{number}: not a query. A line is {{"_id": ..., "text": ...}}.') from None


def _judgments(path: Path) -> Iterator[tuple[str, str, int]]:
    rows = csv.reader((line for _, line in _lines(path)), delimiter="\t", quoting=csv.QUOTE_NONE)
    for number, row in enumerate(rows, start=1):
        try:
            query, document, grade = row
            yield query, document, int(grade)
        except ValueError:
            if number > 1:  # the first line is a header
                raise BadRequest(
                    f"{path}: judgment {number} is {row!r}. A line is query-id, corpus-id and score, with tabs between."
                ) from None


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise BadRequest(f"{path}: not UTF-8 (byte {error.start}).") from None
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield number, line.rstrip("\r")
