"""Names of other rows, as a cell of a table keeps them: one JSON list of texts, in the order they were told.

["31336","1106112"]: this row is linked to the rows of these names. No links, or an empty list, is an isolated row.
"""

from __future__ import annotations

import json
from typing import Any

from core.tables.keys import label_name

_SHOWN_CHARS = 60


def told(value: Any) -> tuple[str | None, str | None]:
    """A cell as a table of examples has it, and what is wrong with it, or None.

    value: a list of names (texts or whole numbers), the same as JSON text, or names with blanks or commas between them.
    """
    if value is None or value == "":
        return None, None
    try:
        return json.dumps(names(value), ensure_ascii=False, separators=(",", ":")), None
    except (ValueError, RecursionError) as error:
        fault = "not JSON" if isinstance(error, json.JSONDecodeError) else str(error)
        return (value if isinstance(value, str) else None), fault


def names(value: Any) -> list[str]:
    """The names in a value as told() takes it. Raises ValueError for what is no list of names."""
    if isinstance(value, str):
        value = json.loads(value) if value.lstrip().startswith("[") else value.replace(",", " ").split()
    elif isinstance(value, int) and not isinstance(value, bool):
        value = [value]
    if not isinstance(value, list | tuple) and not hasattr(value, "tolist"):
        raise ValueError(f"not a list of names but {_shown(value)}")
    return [_name(each) for each in value]


def listed(cell: str | None) -> list[str]:
    """The names in a cell that told() wrote."""
    found: list[str] = json.loads(cell) if isinstance(cell, str) and cell else []
    return found


def _name(value: Any) -> str:
    name = label_name(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else None
    if not name:
        raise ValueError(f"{_shown(value)} is no name of a row")
    return name


def _shown(value: Any) -> str:
    return repr(value)[:_SHOWN_CHARS]
