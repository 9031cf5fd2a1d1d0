"""When two contents count as the same."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterable
from typing import Any

import numpy as np

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


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def codes(keys: Iterable[str]) -> Numbers:
    """The head of each hexadecimal hash as an integer."""
    return np.array([int(key[:_HEX_DIGITS], 16) for key in keys], dtype=np.int64)
