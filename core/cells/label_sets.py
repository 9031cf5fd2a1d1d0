"""Several labels of one row, as a cell of a table keeps them: one JSON list without white space, in the labels' order.

["Comedy","Drama"]; an empty list says that none of the labels is true of the row.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

from core.tables.keys import label_name


def told(value: Any, separator: str | None) -> tuple[str | None, str | None]:
    """A cell as a table of examples has it, and what is wrong with it, or None.

    value: a list of labels, the same as JSON text, or a text with the separator between them; without a separator a
    text that is no JSON list is one label. Labels are named as core/tables/keys.py names them, each once.
    """
    if value is None or value == "":
        return None, None
    try:
        return written(_named(each) for each in _each(value, separator)), None
    except ValueError as error:
        return (value if isinstance(value, str) else json.dumps(value, default=str)), str(error)


def written(names: Iterable[str]) -> str:
    """The text that listed() reads."""
    return json.dumps(sorted(set(names)), ensure_ascii=False, separators=(",", ":"))


def listed(cell: str) -> list[str]:
    """The labels of a cell that told() or written() wrote."""
    found: list[str] = json.loads(cell)
    return found


def _each(value: Any, separator: str | None) -> list[Any]:
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            raise ValueError(f"not a JSON list: {value[:50]!r}") from None
    if isinstance(value, str) and separator is not None:
        return value.split(separator)
    return value if isinstance(value, list) else [value]


def _named(value: Any) -> str:
    name = label_name(value) if isinstance(value, str | bool | int | float | Decimal) else None
    if not name:
        raise ValueError(f"{str(value)[:50]!r} is no label")
    return name
