"""Cells of somebody's table, each short enough for a line."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from core.tables.spelling import spelled

LONGEST = 160  # characters of a cell
_HASH = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


def cells_line(cells: Mapping[str, Any]) -> str:
    """A row on one line; a single text stands without its column's name."""
    told = {name: cell_text(value) for name, value in cells.items() if value is not None}
    return next(iter(told.values())) if len(told) == 1 else "  ".join(f"{name}={text}" for name, text in told.items())


def id_text(name: str) -> str:
    """A row's id, or another name; a hash by its first digits."""
    return name[:12] if _HASH.fullmatch(name) else cell_text(name)


def cell_text(value: Any) -> str:
    """A value as a person reads it: a number short, lists as JSON, a long text by its beginning and its end."""
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple | dict):
        rounded = json.loads(json.dumps(value, default=str), parse_float=lambda number: float(f"{float(number):.4g}"))
        value = json.dumps(rounded, ensure_ascii=False)
    return spelled(" ".join(str(value).split()) if isinstance(value, str) else str(value), LONGEST)


def json_value(value: Any) -> Any:
    """A value as JSON has it: numbers that are none are null, dates are text."""
    if isinstance(value, Mapping):
        return {str(key): json_value(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [json_value(each) for each in value]
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    return value if value is None or isinstance(value, str | int | bool) else str(value)
