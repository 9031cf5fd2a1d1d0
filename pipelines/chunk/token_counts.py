"""Counting tokens by words: each distinct word of a corpus is tokenised once, instead of every text twice.

It is exact for tokenizers that cut at white space before all else (BERT's, and those that begin with WhitespaceSplit):
a text then has as many tokens as its words have together. For any other, every text is tokenised.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from pipelines.search.text.sentences import Span

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from pipelines.search.vectors.token_reader import Reader

_LONGEST = 40  # characters of a word that is remembered; a clause of Chinese is no word
_AT_ONCE = 512  # texts
_MOST = 300_000  # words: some 30 MB
# White space to Python that BERT's normalizer takes away, so that what stands around it is one word.
_GLUE = re.compile(r"(?<=\S)[\x0b\x0c\x1c-\x1f\x85]+(?=\S)")


class Words:
    """The embedder's tokenizer, which remembers how many tokens a word has."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._additive = cuts_at_white_space(reader.tokenizer)
        self._known: dict[str, int] = {}
        self.special = reader.special

    def spans(self, text: str) -> list[Span]:
        """Start and end of each token in the text."""
        return self._reader.spans(text)

    def learn(self, texts: Iterable[str]) -> None:
        """Tokenise the words of these texts that are new, all in one call."""
        if not self._additive:
            return
        if len(self._known) > _MOST:
            self._known.clear()
        words = {word for text in texts for word in text.split()} - self._known.keys()
        new = sorted(word for word in words if len(word) <= _LONGEST)
        self._known.update(zip(new, self._reader.lengths(new, special=False), strict=True))

    def lengths(self, texts: Sequence[str], *, special: bool = True) -> list[int]:
        """Tokens of each text; special: with the tokens that the model wants around it."""
        found = [self._sum(text) for text in texts]
        if unknown := [text for text, length in zip(texts, found, strict=True) if length is None]:
            counted = self._tokenised(unknown)
            found = [next(counted) if length is None else length for length in found]
        around = self.special if special else 0
        return [length + around for length in found if length is not None]

    def _tokenised(self, texts: Sequence[str]) -> Iterator[int]:
        for first in range(0, len(texts), _AT_ONCE):  # of ten megabytes of text, the tokens take gigabytes
            yield from self._reader.lengths(texts[first : first + _AT_ONCE], special=False)

    def _sum(self, text: str) -> int | None:
        """None: the text must be tokenised."""
        try:
            found = sum(map(self._known.__getitem__, text.split()))
        except KeyError:
            return None
        return None if not self._additive or _GLUE.search(text) else found


def cuts_at_white_space(tokenizer: Tokenizer) -> bool:
    """Whether no token of this tokenizer reaches across white space."""
    first = _said(tokenizer.pre_tokenizer)
    if first.get("type") == "Sequence":
        first = next(iter(first["pretokenizers"]), {})
    normal = _said(tokenizer.normalizer)
    added = any(re.search(r"\s", token.content) for token in tokenizer.get_added_tokens_decoder().values())
    return (
        first.get("type") in ("BertPreTokenizer", "WhitespaceSplit")
        and normal.get("type", "BertNormalizer") == "BertNormalizer"
        and not added
    )


def _said(part: Any) -> Mapping[str, Any]:
    """A part of a tokenizer as tokenizer.json has it; all of that would be read with a vocabulary of megabytes."""
    found: Mapping[str, Any] = json.loads(part.__getstate__()) if part else {}
    return found
