"""What a label, a group or a slice is called: one text for one value, whatever type or spelling a source gave it."""

from __future__ import annotations

import math
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterable
from decimal import Decimal
from numbers import Integral, Real
from typing import Any

# White space of Unicode, and marks of no width that no script needs at the end of a word: zero width space, word
# joiner, byte order mark, and the marks of direction. Joiners are letters' business: they stay.
_BLANKS = "".join(filter(str.isspace, map(chr, range(0x3001)))) + "\u200b\u2060\ufeff\u200e\u200f\u061c"
_BLANKS += "".join(map(chr, [*range(0x202A, 0x202F), *range(0x2066, 0x206A)]))


def label_name(value: Any) -> str | None:
    """The one name of a value; None for a missing one.

    A number is named by its value: 0, 0.0 and a decimal 0 are "0". A text is composed (NFC) and loses the blanks at its
    ends; it is no number, so "0.0" and "00" stay what they are. The name of a name is itself.
    """
    if isinstance(value, str):
        return unicodedata.normalize("NFC", value).strip(_BLANKS)
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, Integral):
        return str(int(value))
    if isinstance(value, Decimal):
        return _of_decimal(value)
    if isinstance(value, Real):
        return _of_number(value)
    return _of_another(value)


def alike(names: Iterable[str]) -> list[list[str]]:
    """Names that differ in letter case, in width or in the blanks between words only, those of one group together."""
    found: dict[str, list[str]] = defaultdict(list)
    for name in sorted(names):
        found[" ".join(unicodedata.normalize("NFKC", name).casefold().split())].append(name)
    return [group for group in found.values() if len(group) > 1]


def name_among(earlier: str, names: Collection[str]) -> str:
    """Which of `names` a label is that an earlier commit named; the same where it is none of them.

    Those that came as floats were named "0.0", and texts kept their blanks and their composition.
    """
    if earlier in names:
        return earlier
    try:
        number = float(earlier)
    except ValueError:
        number = None
    as_float = label_name(number) if number is not None and str(number) == earlier else None
    return next((name for name in (label_name(earlier), as_float) if name in names and name is not None), earlier)


def _of_number(value: Real) -> str | None:
    number = float(value)
    if math.isnan(number):
        return None
    return str(int(number)) if number.is_integer() else str(value)


def _of_decimal(value: Decimal) -> str | None:
    if value.is_nan():
        return None
    if not value:
        return "0"
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _of_another(value: Any) -> str | None:
    import pandas as pd

    return None if pd.api.types.is_scalar(value) and pd.isna(value) else str(value)
