"""What is asked of the rows, which rows broke it, and how that is told to a person."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from core.schema.columns import FAULT, PLACE, ROW_ID, Contract
from core.tables.keys import Numbers, label_name

_SHOWN_CHARS = 120
_SHOWN_ROWS = 5
_SHOWN_REASONS = 8


@dataclass(frozen=True)
class Rule:
    """One of Great Expectations' expectations by its own name and arguments.

    words: the reason a row is bad, {} standing for the value; by_value: each value is a mistake of its own.
    """

    name: str
    arguments: Mapping[str, Any]
    words: str
    by_value: bool = False

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns whose values it looks at."""
        named = [self.arguments[key] for key in ("column", "column_A", "column_B") if key in self.arguments]
        listed = self.arguments.get("column_list", ())
        return (*named, *listed) if isinstance(listed, list | tuple) else tuple(named)

    @property
    def title(self) -> str:
        return f"{self.name}({', '.join(f'{key}={shown(value)}' for key, value in self.arguments.items())})"


@dataclass(frozen=True)
class Check:
    """What came of a rule, or of a comparison between rows.

    rows: positions in the table of those that broke it; with `keeps`, they stay and are only counted.
    """

    name: str
    words: str
    columns: tuple[str, ...]
    rows: Numbers
    passed: bool
    keeps: bool = False
    by_value: bool = False
    facts: Mapping[str, Any] = field(default_factory=dict)

    def value(self, row: Mapping[str, Any]) -> str:
        return ", ".join(shown(row.get(column)) for column in self.columns)

    def reason(self, row: Mapping[str, Any]) -> str:
        return self.words.replace("{}", self.value(row))

    def headline(self, row: Mapping[str, Any]) -> str:
        """The reason that all the rows share which a message counts together."""
        return self.reason(row) if self.by_value else self.words.replace(" {}", "").rstrip(":")


# What `collect` could not read; every other rule looks at the other rows only.
FAULT_RULE = Rule("expect_column_values_to_be_null", {"column": FAULT}, "cannot be read: {}")


def built_in_rules(contract: Contract, labels: Sequence[str | int | float] | None) -> list[Rule]:
    """The rules that a task's contract stands for; labels: those allowed (None: any)."""
    rules = []
    for name, column in contract.columns.items():
        if not column.required:
            continue
        rules.append(Rule("expect_column_to_exist", {"column": name}, f"there is no column {name!r}"))
        if not column.filled:
            continue
        rules.append(Rule("expect_column_values_to_not_be_null", {"column": name}, f"{name} is missing"))
        if column.kind == "number":
            bounds = {"min_value": -sys.float_info.max, "max_value": sys.float_info.max}
            words = f"{name} {{}} is not a finite number"
            rules.append(Rule("expect_column_values_to_be_between", {"column": name, **bounds}, words))
        else:
            words = f"{name} {{}} is empty or white space only"
            rules.append(Rule("expect_column_values_to_match_regex", {"column": name, "regex": r"\S"}, words))
        if name == contract.label and labels is not None:
            names = [str(label_name(label)) for label in labels]
            words = f"{name} {{}} is not allowed (allowed: {', '.join(names)})"
            allowed = {"column": name, "value_set": names}
            rules.append(Rule("expect_column_values_to_be_in_set", allowed, words, by_value=True))
    return rules


@dataclass
class Tally:
    """The bad rows as they go by: how many for which reason, and the first of each."""

    rows: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[dict[str, str | None]]] = field(default_factory=dict)
    headlines: dict[str, str] = field(default_factory=dict)

    def add(self, check: Check, row: Mapping[str, Any]) -> None:
        value = check.value(row)
        key = f"{check.name}\0{check.words}\0{value if check.by_value else ''}"
        self.headlines.setdefault(key, check.headline(row))
        self.rows[key] = self.rows.get(key, 0) + 1
        kept = self.examples.setdefault(key, [])
        if len(kept) < _SHOWN_ROWS:
            kept.append({"place": row.get(PLACE), "row_id": row.get(ROW_ID), "value": value})

    def of(self, check: Check) -> list[dict[str, str | None]]:
        """The first rows that broke a check."""
        head = f"{check.name}\0{check.words}\0"
        return [row for key, rows in self.examples.items() if key.startswith(head) for row in rows][:_SHOWN_ROWS]

    def lines(self, total: int) -> Iterator[str]:
        """One line a reason, the commonest first."""
        order = sorted(self.rows, key=lambda key: (-self.rows[key], key))
        for key in order[:_SHOWN_REASONS]:
            first = self.examples[key][0]
            yield (
                f"{self.headlines[key]} on {self.rows[key]:,} of {total:,} rows "
                f"(first: {first['value']} at {first['place']})"
            )
        if len(order) > _SHOWN_REASONS:
            yield f"and {len(order) - _SHOWN_REASONS} more reasons"


def shown(value: Any) -> str:
    """A value as it is shown in a reason: quoted, and cut when it is long."""
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}... ({len(text):,} characters)"
