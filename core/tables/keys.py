"""When two rows count as the same example."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from core.schema.columns import CONTENT_HASH, Contract

if TYPE_CHECKING:
    import pandas as pd

Numbers = np.ndarray[Any, np.dtype[np.int64]]
Mask = np.ndarray[Any, np.dtype[np.bool_]]
_HEX_DIGITS = 15  # 60 bits: among ten million different contents, two share a code once in 20,000 tables
_NOT_WORD = re.compile(r"[\W_]+")


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
    return np.array([int(key[:_HEX_DIGITS], 16) for key in keys], dtype=np.int64)


_WORDLESS = loose_key("")  # texts of signs and emoji alone are not all the same text
