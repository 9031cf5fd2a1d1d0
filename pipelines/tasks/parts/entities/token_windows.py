"""Texts as windows of tokens that an encoder can take, the words in them, and tags of words <-> spans of the text.

A word is what carries one tag: a run of letters and digits, or a sign of its own, cut further where the tokenizer cuts.
Its first sub-token stands for it. Where a text has more tokens than fit, windows overlap, and nothing of it is lost.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

from core.cells.spans import Span, entities

if TYPE_CHECKING:
    import pyarrow as pa
    from tokenizers import Encoding, Tokenizer

OVERLAP = 4  # a window shares one part in so many with the next
OUTSIDE = "O"
NO_TAG = -100  # of tokens that stand for no word; torch's cross-entropy leaves it out

Bounds = tuple[int, int]  # the first character of a word, and that after its last


@dataclass(frozen=True)
class Window:
    """A part of a text. of: which text. ids: its tokens, special ones included. firsts: where in ids a word begins."""

    of: int
    ids: Sequence[int]
    firsts: Sequence[int]
    bounds: Sequence[Bounds]


@dataclass(frozen=True)
class Tagged:
    """What a model says of a word: its tag, and how probable that is."""

    bounds: Bounds
    tag: str
    confidence: float


def overlapping(tokenizer: Tokenizer, *, max_tokens: int) -> Tokenizer:
    """The tokenizer, set so that a longer text becomes several windows; once, before threads share it."""
    room = max_tokens - tokenizer.num_special_tokens_to_add(is_pair=False)
    tokenizer.enable_truncation(max_tokens, stride=room // OVERLAP)
    return tokenizer


def windows(tokenizer: Tokenizer, texts: Sequence[str]) -> list[Window]:
    """The windows of each text in turn, at least one a text. tokenizer: from overlapping()."""
    return [
        Window(at, part.ids, *_words(part, text))
        for at, (text, encoding) in enumerate(zip(texts, tokenizer.encode_batch(list(texts)), strict=True))
        for part in (encoding, *encoding.overflowing)
    ]


def tag_names(labels: Sequence[str]) -> list[str]:
    """The tags of the labels, numbered as the model numbers them."""
    return [OUTSIDE, *(f"{part}-{label}" for label in labels for part in "BI")]


def word_tags(window: Window, spans: Sequence[Span], names: Sequence[str]) -> list[int]:
    """The number of each word's tag; NO_TAG for a label that is none of `names`, such as one that no training row has.

    spans: sorted, as tables keep them. A word that a span holds in part only belongs to it.
    """
    numbers = {name: number for number, name in enumerate(names)}
    ends = [span.end for span in spans]
    tags, before = [], None
    for at, (start, end) in enumerate(window.bounds):
        following = bisect_right(ends, start)
        span = spans[following] if following < len(spans) and spans[following].start < end else None
        if span is None:
            tags.append(numbers[OUTSIDE])
        else:
            begins = span != before and (start <= span.start or at > 0)  # else the window cuts it
            tags.append(numbers.get(f"{'B' if begins else 'I'}-{span.label}", NO_TAG))
        before = span
    return tags


def encoded(parts: Sequence[Window], spans: Sequence[Sequence[Span]], names: Sequence[str]) -> pa.Table:
    """A row a window, with a tag for each token that begins a word. spans: of each text; names: of the tags."""
    import pyarrow as pa

    tags = [token_tags(each, word_tags(each, spans[each.of], names)) for each in parts]
    return pa.table(
        {
            "of": pa.array([each.of for each in parts], pa.int64()),
            "input_ids": pa.array([each.ids for each in parts], pa.list_(pa.int32())),
            "length": pa.array([len(each.ids) for each in parts], pa.int32()),
            "labels": pa.array(tags, pa.list_(pa.int32())),
        }
    )


def token_tags(window: Window, tags: Sequence[int]) -> list[int]:
    """One number a token: that of the word which it begins, else NO_TAG."""
    numbers = [NO_TAG] * len(window.ids)
    for at, tag in zip(window.firsts, tags, strict=True):
        numbers[at] = tag
    return numbers


def spans_of_texts(
    parts: Sequence[Window], words: Sequence[Sequence[Tagged]], texts: int
) -> Iterator[list[tuple[Span, float]]]:
    """The spans of each of `texts` texts, and how sure each is. words: what a model says of each window's."""
    told: list[list[Sequence[Tagged]]] = [[] for _ in range(texts)]
    for part, said in zip(parts, words, strict=True):
        told[part.of].append(said)
    return (list(spans_of(whole(each))) for each in told)


def whole(parts: Sequence[Sequence[Tagged]]) -> list[Tagged]:
    """What the windows of one text say of its words, one word once: of an overlap, each half as its own window says.

    So each word is told by the window that sees more of what stands around it.
    """
    found, cut = list(parts[0]), 0
    for before, part in pairwise(parts):
        there = {word.bounds for word in before}
        shared = [word.bounds for word in part if word.bounds in there]
        if shared:
            cut = shared[len(shared) // 2][0]
            while found and found[-1].bounds[0] >= cut:
                found.pop()
        elif found:  # a word longer than an overlap goes on in this window
            start, cut = found[-1].bounds
            end = next((word.bounds[1] for word in part if word.bounds[0] < cut < word.bounds[1]), cut)
            found[-1] = replace(found[-1], bounds=(start, end))
        found += [word for word in part if word.bounds[0] >= cut]
    return found


def spans_of(words: Sequence[Tagged]) -> Iterator[tuple[Span, float]]:
    """The spans that the words' tags stand for, and how sure each is: the mean over its words.

    Tags that no annotator would write (I-x where nothing of x is open) begin a span, as conlleval counts them.
    """
    for first, after, label in entities([word.tag for word in words]):
        sure = sum(word.confidence for word in words[first:after]) / (after - first)
        yield Span(words[first].bounds[0], words[after - 1].bounds[1], label), sure


def _words(part: Encoding, text: str) -> tuple[list[int], list[Bounds]]:
    firsts: list[int] = []
    bounds: list[Bounds] = []
    last = None  # the tokenizer's own word
    for at, ((start, end), word, special) in enumerate(
        zip(part.offsets, part.word_ids, part.special_tokens_mask, strict=True)
    ):
        start += len(text[start:end]) - len(text[start:end].lstrip())  # byte-level tokens bring the space before them
        if special or start >= end:
            continue
        if bounds and word == last and not _apart(text, start, bounds[-1][1]):
            bounds[-1] = (bounds[-1][0], max(end, bounds[-1][1]))
        else:
            firsts.append(at)
            bounds.append((start, end))
        last = word
    return firsts, bounds


def _apart(text: str, start: int, end: int) -> bool:
    """Whether a word ends at `end` and another begins at `start`."""
    return start > end or (start == end and not (text[start - 1].isalnum() and text[start].isalnum()))
