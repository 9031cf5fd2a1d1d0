"""What counts as a time, in a cell of a table or in a settings file: a number, or a date of ISO 8601."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime
from typing import Any


def time_text(value: Any) -> str | None:
    """The one spelling of a time; None for what is none.

    A number stays a number: 17, 17.0 and "17" are "17", and "20160701" is a number too, since a date has its dashes.
    A date becomes YYYY-MM-DDTHH:MM:SS in UTC, with microseconds where it has some; without a zone it counts as UTC.
    """
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        value = value.strip()
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        moment = _moment(value)
        return None if moment is None else moment.isoformat()
    if not math.isfinite(number):
        return None
    return str(int(number)) if number == int(number) else repr(number)


def as_number(text: str) -> float:
    """A time as time_text() spells it: the number itself, or a date's seconds since 1970."""
    try:
        return float(text)
    except ValueError:
        return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def is_date(text: str) -> bool:
    """Whether a time as time_text() spells it is a date."""
    return "T" in text


def as_text(number: float, *, date: bool) -> str:
    """What as_number() was given; date: whether it was a date."""
    if not date:
        return str(time_text(number))
    return datetime.fromtimestamp(round(number, 6), UTC).replace(tzinfo=None).isoformat()


def _moment(value: Any) -> datetime | None:
    """A date without its zone, moved to UTC."""
    try:
        if isinstance(value, str):
            moment = datetime.fromisoformat(value)
        elif isinstance(value, datetime):
            moment = value
        elif isinstance(value, date):
            moment = datetime(value.year, value.month, value.day)
        else:
            return None
        return moment if moment.tzinfo is None else moment.astimezone(UTC).replace(tzinfo=None)
    except (ValueError, OverflowError):
        return None
