"""The words of a text by rules 1, for questions to releases whose terms were made by them (November 2026 and before).

Every mark (a vowel sign, a soft hyphen) parts a word there, and Korean words are whole. Nothing new is made by them.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from itertools import pairwise

_LONGEST = 64
_SPACELESS = (
    "\u0e01-\u0e4e\u0e81-\u0ecd\u1000-\u109f\u1780-\u17d3\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003fffd"
)
_RUN = re.compile(rf"(?P<spaceless>[{_SPACELESS}]+)|(?:(?![{_SPACELESS}])\w){{2,}}")


def words(text: str) -> Iterator[str]:
    """The words, before they are stemmed; of scripts without spaces, each pair of neighbours."""
    for run in _RUN.finditer(unicodedata.normalize("NFKC", text).casefold()):
        if run["spaceless"]:
            yield from [one + two for one, two in pairwise(run[0])] or [run[0]]
        else:
            yield run[0][:_LONGEST]
