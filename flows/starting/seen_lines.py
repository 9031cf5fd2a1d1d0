"""What `headrace new` says that it saw: rows, columns, labels with their counts, and what looks wrong."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Iterator
from typing import Any

from core.tables.keys import alike, label_name, text_key
from core.tables.spelling import some, spelled
from flows.starting.choose import Choice
from flows.starting.column_kinds import Column
from flows.starting.look import Seen

_FEW_OF_A_LABEL = 10  # rows: of fewer, hardly one is in the test split
_ONE_SIDED = 0.9  # share of the commonest label
_LABELS_SHOWN = 10


def seen_lines(seen: Seen, choice: Choice) -> Iterator[str]:
    """For a person, in the order of what they would ask."""
    yield from seen.notes
    yield from _amount(seen)
    for name, column in choice.columns.items():
        yield f"  {name}: {_about(column, name, choice)}"
    labels = _labels(seen, choice)
    if seen.folder is not None and choice.task is not None:
        yield f"  label: {_counted(labels)}"
    if unused := [each for each in seen.columns if each not in choice.columns.values()]:
        named = choice.preprocess and {name for names in choice.preprocess.values() for name in names}
        if left := [each.name for each in unused if each.name not in (named or ())]:
            yield f"  columns that nothing reads: {some(left)}"
    if choice.task is not None:
        yield from (f"  look: {line}" for line in _doubts(seen, choice, labels))


def facts(seen: Seen, choice: Choice) -> dict[str, Any]:
    """The same for programs."""
    return {
        "rows": seen.rows,
        "more": seen.more,
        "bad": seen.bad,
        "columns": {each.name: each.kind for each in seen.columns},
        "chosen": {name: column.name for name, column in choice.columns.items()},
        "labels": dict(_labels(seen, choice).most_common()),
        "notes": seen.notes,
    }


def _amount(seen: Seen) -> Iterator[str]:
    what = "files" if seen.folder is not None else "rows"
    how = f", fields separated by {seen.data.delimiter!r}" if seen.data.delimiter else ""
    yield f"{seen.data.source}: {'the first ' if seen.more else ''}{seen.rows:,} {what} looked at{how}"
    if seen.bad:
        yield f"  {seen.bad:,} rows cannot be read; the first: {seen.first_fault}"


def _about(column: Column, name: str, choice: Choice) -> str:
    called = "" if column.name == name else f"{spelled(column.name)}, "
    if column is choice.label:
        return called + _counted(column.values)
    if column.kind in ("text", "name") and column.words:
        words = column.words
        return (
            f"{called}{column.filled:,} filled, {min(words):,} to {max(words):,} words, "
            f"half of them under {statistics.median(words) + 1:,.0f}"
        )
    return f"{called}{column.filled:,} filled"


def _counted(labels: Counter[str]) -> str:
    more = len(labels) - _LABELS_SHOWN
    shown = ", ".join(f"{spelled(each)} {count:,}" for each, count in labels.most_common(_LABELS_SHOWN))
    return f"{len(labels):,} labels: {shown}" + (f" and {more:,} more" if more > 0 else "")


def _labels(seen: Seen, choice: Choice) -> Counter[str]:
    if seen.folder is not None:
        return seen.folder.labels
    return choice.label.values if choice.label is not None else Counter()


def _doubts(seen: Seen, choice: Choice, labels: Counter[str]) -> Iterator[str]:
    for column in choice.columns.values():
        if empty := seen.rows - seen.bad - column.filled:
            yield f"{empty:,} rows have nothing in {spelled(column.name)}"
    yield from _repeated(seen, choice)
    if not labels:
        return
    yield from (f"labels written differently: {some(names)}" for names in alike(labels))
    if few := [name for name, count in labels.items() if count < _FEW_OF_A_LABEL]:
        yield f"labels of fewer than {_FEW_OF_A_LABEL} rows: {some(few, 5)}"
    name, most = labels.most_common(1)[0]
    if most > _ONE_SIDED * labels.total():
        yield f"{most / labels.total():.0%} of the rows are {spelled(name)}"


def _repeated(seen: Seen, choice: Choice) -> Iterator[str]:
    """Equal texts, and those of them that have different labels."""
    text = next((column for column in choice.columns.values() if column.kind in ("text", "name")), None)
    if text is None or choice.label is None:
        return
    found: dict[str, list[str | None]] = defaultdict(list)
    for row in seen.values:
        if row.get(text.name):
            found[text_key(str(row[text.name]))].append(label_name(row.get(choice.label.name)))
    if again := sum(len(labels) - 1 for labels in found.values()):
        yield f"{again:,} duplicates: a text that stands there before"
    if against := sum(len(set(labels)) > 1 for labels in found.values()):
        yield f"{against:,} texts stand there with different labels"
