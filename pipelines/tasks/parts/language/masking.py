"""Texts as windows of tokens, and which of a window's tokens are hidden from a masked language model.

In training they are drawn anew for each batch (masked_lm.py). Where a text is scored, each token is hidden once,
a share of them at a time, and the tokens themselves decide which together: equal texts have equal scores.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from core.tables.keys import codes

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Array = np.ndarray[Any, np.dtype[Any]]
_DRAWN_BYTES = 4  # a token


@dataclass(frozen=True)
class Window:
    """A part of a text. of: which text. ids: its tokens, special ones included."""

    of: int
    ids: Array


@dataclass(frozen=True)
class Hidden:
    """A window with some of its tokens hidden. of: which window. places: where in ids. true: what stood there."""

    of: int
    ids: Array
    places: Array
    true: Array


@dataclass(frozen=True)
class Masks:
    """mask: the token that hides another. special: tokens that are never hidden. share: of the others, at once.

    vocabulary: how many tokens there are.
    """

    mask: int
    special: Array
    share: float
    vocabulary: int

    def may_hide(self, ids: Array) -> Array:
        """Whether each token may be hidden; ids of any shape."""
        return ~np.isin(ids, self.special)

    def hidden(self, windows: Sequence[Window], asked: Collection[int] = ()) -> Iterator[Hidden]:
        """Each window several times, such that each token that may be hidden is so exactly once.

        asked: texts that have masks already; their windows come once, with these masks alone.
        """
        for at, window in enumerate(windows):
            masked = [np.flatnonzero(window.ids == self.mask)]
            for places in masked if window.of in asked else self._groups(window.ids):
                if len(places):
                    ids = window.ids.copy()
                    ids[places] = self.mask
                    yield Hidden(at, ids, places, window.ids[places])

    def first(self, ids: Array) -> Array:
        """The places that are hidden together first; none where no token may be hidden."""
        return next(iter(self._groups(ids)), np.empty(0, np.int64))

    def _groups(self, ids: Array) -> list[Array]:
        """Places that are hidden together, ascending. In the order of a hash, so they lie as if they were drawn."""
        places = np.flatnonzero(self.may_hide(ids))
        if not len(places):
            return []
        content = np.asarray(ids, "<i4").tobytes()
        drawn = np.frombuffer(hashlib.shake_256(content).digest(_DRAWN_BYTES * len(places)), "<u4")
        size = at_once(len(places), self.share)
        order = places[np.argsort(drawn, kind="stable")]
        return [np.sort(order[start : start + size]) for start in range(0, len(order), size)]


def at_once(count: int, share: float) -> int:
    """How many of `count` tokens are hidden together: the share of them, and at least one."""
    return max(1, round(share * count))


def masks_of(tokenizer: Tokenizer, mask: str, share: float) -> Masks:
    """mask: the tokenizer's mask token."""
    special = [number for number, token in tokenizer.get_added_tokens_decoder().items() if token.special]
    number = tokenizer.token_to_id(mask)
    assert number is not None
    return Masks(number, np.array(sorted({*special, number})), share, tokenizer.get_vocab_size())


def windows(tokenizer: Tokenizer, texts: Sequence[str]) -> list[Window]:
    """The windows of each text in turn, one behind the other; at least one a text.

    tokenizer: cuts texts at the length of a window.
    """
    return [
        Window(at, np.array(part.ids, np.int32))
        for at, encoding in enumerate(tokenizer.encode_batch(list(texts)))
        for part in (encoding, *encoding.overflowing)
    ]


def texts_of(hidden: Sequence[Hidden], windows: Sequence[Window]) -> Array:
    """Which text each hidden token is of."""
    texts = np.array([windows[each.of].of for each in hidden], np.int64)
    return np.repeat(texts, [len(each.places) for each in hidden])


def tokenizer_code(file: Path) -> int:
    """A number of the tokenizer in a file: figures a token are comparable where it is the same."""
    return int(codes([hashlib.sha256(file.read_bytes()).hexdigest()])[0])
