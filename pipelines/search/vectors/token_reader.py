"""A model's tokens without its weights, for cutting and counting.

Counted by words: each distinct word that was learnt is tokenised once, instead of every text twice. It is exact for
tokenizers that cut at white space before all else (BERT's, and those that begin with WhitespaceSplit): a text then has
as many tokens as its words have together. For any other, every text is tokenised.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import BadRequest
from core.schema.lock import BaseIdentity
from core.weights.pooling import max_tokens_of
from core.workspace import Job
from pipelines.bases import Resolved, located, locked

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_LONGEST = 40  # characters of a word that is remembered; a clause of Chinese is no word
_AT_ONCE = 512  # texts
_MOST = 300_000  # words: some 30 MB
# White space to Python that BERT's normalizer takes away, so that what stands around it is one word.
_GLUE = re.compile(r"(?<=\S)[\x0b\x0c\x1c-\x1f\x85]+(?=\S)")


@dataclass(frozen=True)
class Reader:
    """The embedder's tokenizer: what `chunk` counts with."""

    tokenizer: Tokenizer
    max_tokens: int  # special tokens included; the model reads no further
    _known: dict[str, int] = field(default_factory=dict, repr=False, compare=False)  # tokens of words

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Start and end of each token in the text."""
        return list(self.tokenizer.encode(text, add_special_tokens=False).offsets)

    @property
    def special(self) -> int:
        return int(self.tokenizer.num_special_tokens_to_add(False))

    def learn(self, texts: Iterable[str]) -> None:
        """Tokenise the words of these texts that are new, all in one call."""
        if not self._additive:
            return
        if len(self._known) > _MOST:
            self._known.clear()
        words = {word for text in texts for word in text.split()} - self._known.keys()
        new = sorted(word for word in words if len(word) <= _LONGEST)
        self._known.update(zip(new, self._tokenised(new), strict=True))

    def lengths(self, texts: Sequence[str], *, special: bool = True) -> list[int]:
        """Tokens of each text; special: with the tokens that the model wants around it."""
        found = [self._sum(text) for text in texts]
        counted = self._tokenised([text for text, length in zip(texts, found, strict=True) if length is None])
        around = self.special if special else 0
        return [(next(counted) if length is None else length) + around for length in found]

    @cached_property
    def _additive(self) -> bool:
        return cuts_at_white_space(self.tokenizer)

    def _tokenised(self, texts: Sequence[str]) -> Iterator[int]:
        for first in range(0, len(texts), _AT_ONCE):  # of ten megabytes of text, the tokens take gigabytes
            batch = list(texts[first : first + _AT_ONCE])
            yield from map(len, self.tokenizer.encode_batch_fast(batch, add_special_tokens=False))

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


def locked_base(job: Job) -> Resolved:
    """The embedder's folder, by the index's lock. Raises BadRequest when its weights are not there or others."""
    return locked(*_base(job))


def named_base(job: Job) -> Resolved:
    """What `locked_base` returns, the weights not hashed: for those that read none of them."""
    reference, identity, root = _base(job)
    return Resolved(located(reference, identity, root), identity.sha256, identity.version)


def _base(job: Job) -> tuple[str, BaseIdentity, Path]:
    reference = job.settings["embed"]["model"]
    return reference, BaseIdentity(**job.settings["bases"][reference]), job.workspace.root


def load_reader(folder: Path) -> Reader:
    """The tokenizer of a model's folder, without its weights. Raises BadRequest when the folder has none."""
    from tokenizers import Tokenizer

    path = folder / "tokenizer.json"
    if not path.is_file():
        raise BadRequest(
            f"{folder} has no tokenizer.json, so it cannot embed texts. Name a sentence-transformers model."
        )
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_truncation()  # the file may carry limits of its own: all-MiniLM-L6-v2's cuts at 128
    tokenizer.no_padding()
    return Reader(tokenizer, max_tokens_of(folder))
