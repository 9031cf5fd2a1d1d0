"""When two rows count as the same example, and what a label, a group or a slice is called."""

from __future__ import annotations

import hashlib
import math
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from decimal import Decimal
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, TypeAlias

from core.schema.columns import CONTENT_HASH, Contract

if TYPE_CHECKING:  # the command reads this file for names, and numpy is a tenth of a second
    import numpy as np
    import pandas as pd

Numbers: TypeAlias = "np.ndarray[Any, np.dtype[np.int64]]"
Mask: TypeAlias = "np.ndarray[Any, np.dtype[np.bool_]]"
_HEX_DIGITS = 15  # 60 bits: among ten million different contents, two share a code once in 20,000 tables
_NOT_WORD = re.compile(r"[\W_]+")
# White space of Unicode, and marks of no width that no script needs at the end of a word: zero width space, word
# joiner, byte order mark, and the marks of direction. Joiners are letters' business: they stay.
_BLANKS = "".join(filter(str.isspace, map(chr, range(0x3001)))) + "\u200b\u2060\ufeff\u200e\u200f\u061c"
_BLANKS += "".join(map(chr, [*range(0x202A, 0x202F), *range(0x2066, 0x206A)]))


def text_key(text: str) -> str:
    """sha256 of a text, letter case, Unicode composition and white space left out of account."""
    return _sha256(" ".join(unicodedata.normalize("NFKC", text).casefold().split()))


def loose_key(text: str) -> str:
    """sha256 of a text's letters and digits alone: near-copies that differ in punctuation are equal."""
    return _sha256(_NOT_WORD.sub("", unicodedata.normalize("NFKC", text).casefold()))


def row_keys(rows: pd.DataFrame, contract: Contract) -> list[str]:
    """A sha256 of each row's identity: rows of equal key are duplicates, and always on one side of the split.

    Of a text `text_key`, of a file the hash of its content, of anything else its spelling.
    """
    return _keys(rows, contract, text_key)


def loose_keys(rows: pd.DataFrame, contract: Contract) -> list[str]:
    """The same, with texts by `loose_key`; those without a letter or digit stay as they are."""
    return _keys(rows, contract, lambda text: text_key(text) if (found := loose_key(text)) == _WORDLESS else found)


def _keys(rows: pd.DataFrame, contract: Contract, of_text: Callable[[str], str]) -> list[str]:
    parts = []
    for name in contract.identity:
        kind = contract.columns[name].kind
        if kind == "media":
            parts.append(rows[CONTENT_HASH].fillna("").astype(str))
        elif name in rows:
            values = rows[name].fillna("").astype(str)
            parts.append(values.map(of_text) if kind == "text" else values)
    if len(parts) == 1 and contract.columns[contract.identity[0]].kind in ("text", "media"):
        return list(parts[0])
    return [_sha256("\0".join(values)) for values in zip(*parts, strict=True)]


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def codes(keys: Iterable[str]) -> Numbers:
    """The head of each hexadecimal hash as an integer."""
    import numpy as np

    return np.array([int(key[:_HEX_DIGITS], 16) for key in keys], dtype=np.int64)


def repeated(values: Numbers) -> Numbers:
    """The values that stand there more than once, ascending."""
    import numpy as np

    ordered = np.sort(values)
    return np.unique(ordered[1:][ordered[1:] == ordered[:-1]])


def among(values: Numbers, some: Numbers) -> Mask:
    """Whether each value is one of some, which ascend. np.isin takes several times the memory of many values."""
    import numpy as np

    if not len(some):
        return np.zeros(len(values), dtype=bool)
    at = np.searchsorted(some, values)
    at[at == len(some)] = 0
    found: Mask = some[at] == values
    return found


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


def alike_warning(names: Iterable[str]) -> str:
    """What a person is told of one group that alike() found."""
    return (
        f"warning: the labels {' and '.join(map(repr, names))} differ in letter case, width or blanks only, and are "
        "different labels. Write them alike in the source if they mean the same."
    )


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


_WORDLESS = loose_key("")  # texts of signs and emoji alone are not all the same text
