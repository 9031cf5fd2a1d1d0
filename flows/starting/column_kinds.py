"""What the columns of a table look like they hold, by the rows that were read."""

from __future__ import annotations

import json
import re
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from core.schema.times import is_date, time_text
from core.tables.keys import label_name
from pipelines.sources.parsers import media_kind

Kind = Literal[
    "text",
    "category",
    "number",
    "time",
    "picture",
    "sound",
    "spans",
    "answers",
    "graph",
    "tags",
    "strings",
    "name",
    "nothing",
]
MOST_LABELS = 1000
_NEARLY_ALL = 0.98  # share of the cells that are of a kind
_REPEATED = 3.0  # rows a value, on average, from which on a column is one of a few values
_LONG = 60  # characters: what is mostly longer is no label
_WORDS = 3.0  # a cell, on average, from which on words are a text
_SPAN = {"start", "end", "label"}
_TAG = re.compile(r"O|[BILUES][-_].+")  # of a word: outside of every span, or where in one it stands
_ANSWERS = ({"text", "start"}, {"text", "answer_start"})


@dataclass
class Column:
    """One column. filled: rows with a value. values: how many rows have each, of the first MOST_LABELS + 1 of them."""

    name: str
    filled: int = 0
    values: Counter[str] = field(default_factory=Counter)
    letters: list[int] = field(default_factory=list)
    words: list[int] = field(default_factory=list)
    kinds: Counter[Kind] = field(default_factory=Counter)

    def add(self, value: Any) -> None:
        name = label_name(value) if isinstance(value, str | int | float) else str(value)
        if value is None or not name:
            return
        self.filled += 1
        if name in self.values or len(self.values) <= MOST_LABELS:
            self.values[name] += 1
        self.letters.append(len(name))
        self.words.append(len(name.split()))
        self.kinds[_kind(value)] += 1

    @property
    def kind(self) -> Kind:
        """What it holds. name: a short text that hardly repeats, as an id does. tags, strings: lists of them."""
        if not self.filled:
            return "nothing"
        if self.kinds["answers"] and self.kinds["answers"] + self.kinds["spans"] >= _NEARLY_ALL * self.filled:
            return "answers"  # the spans among them are empty lists
        for kind in ("spans", "graph", "tags", "strings", "picture", "sound", "time", "number"):
            if self.kinds[kind] >= _NEARLY_ALL * self.filled:
                return kind
        if self.few_values:
            return "category"
        return "text" if statistics.fmean(self.words) >= _WORDS or self._in_one_piece else "name"

    @property
    def few_values(self) -> bool:
        """Whether its values repeat as labels do."""
        few = 2 <= len(self.values) <= MOST_LABELS and self.filled >= _REPEATED * len(self.values)
        return few and statistics.median(self.letters) <= _LONG

    @property
    def _in_one_piece(self) -> bool:
        """Long without blanks: Chinese, Japanese, Thai."""
        return statistics.median(self.letters) > statistics.median(self.words) * 15


def columns_of(rows: Iterable[Mapping[str, Any]]) -> list[Column]:
    """Every column that some row has, in the order in which they come."""
    found: dict[str, Column] = {}
    for row in rows:
        for name, value in row.items():
            found.setdefault(name, Column(name)).add(value)
    return list(found.values())


def _kind(value: Any) -> Kind:
    """Of one cell; "text" where it may be several."""
    if isinstance(value, bytes | Path):
        return "picture"
    if isinstance(value, list | dict):
        return _of_list(value)
    if isinstance(value, bool | int | float):
        return "number"
    text = str(value).strip()
    if text.startswith(("[", "{")):
        try:
            return _of_list(json.loads(text))
        except (ValueError, RecursionError):
            return "text"
    if (media := media_kind(text)) is not None and "\n" not in text:
        return media
    time = time_text(text)
    return "text" if time is None else "time" if is_date(time) else "number"


def _of_list(value: Any) -> Kind:
    if isinstance(value, dict) and any(value.keys() >= names for names in _ANSWERS):
        return "answers"
    if isinstance(value, dict) and value.keys() >= {"nodes", "edges"}:
        return "graph"
    if not isinstance(value, list) or not value:
        return "spans" if value == [] else "text"
    if all(isinstance(each, dict) and each.keys() >= _SPAN for each in value):
        return "spans"
    if all(isinstance(each, dict) and any(each.keys() >= names for names in _ANSWERS) for each in value):
        return "answers"
    if not all(isinstance(each, str) for each in value):
        return "text"
    return "tags" if any(_TAG.fullmatch(each) for each in value) else "strings"
