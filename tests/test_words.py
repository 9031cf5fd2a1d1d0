"""Counting by words against the tokenizer itself, over any text."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

from pipelines.bases import resolve
from pipelines.search.vectors.token_reader import Reader, cuts_at_white_space, load_reader
from tests.small_index import MODEL

TRIES = int(os.environ.get("TEST_TRIES", "60"))
READER = load_reader(resolve(MODEL, Path()).folder)
ODD = [
    "\x0b",
    "\x0c",
    "\x1c",
    "\x1f",
    "\x85",
    "\u2028",
    "\xa0",
    "\u3000",
    "\u200b",
    "\u0301",
    "[SEP]",
    "\n\f",
    "İ",
    "ß",
    "洪水。",
    "x" * 101,
]


def tokenised(texts: list[str], *, special: bool = True) -> list[int]:
    return [len(one) for one in READER.tokenizer.encode_batch_fast(texts, add_special_tokens=special)]


@given(
    st.lists(st.one_of(st.sampled_from([*ODD, " ", "\n", "it's", "Ünder"]), st.text(max_size=6)), max_size=12).map(
        "".join
    )
)
@settings(max_examples=TRIES, deadline=None)
def test_as_many_tokens_as_the_tokenizer_counts(text: str) -> None:
    READER.learn([text])
    assert READER.lengths([text, text + " again"]) == tokenised([text, text + " again"])
    assert READER.lengths([text], special=False) == tokenised([text], special=False)


@pytest.mark.parametrize("between", ["\x0b", "\x0b\x1c", "\x85\x0c\x1f", "\x0b \x1c", " \x0b"])
def test_what_the_normalizer_takes_away_between_two_words(between: str) -> None:
    text = f"İ{between}a"  # joined, they are other tokens
    READER.learn([text])
    assert READER.lengths([text]) == tokenised([text])


def test_what_was_not_learnt_is_tokenised() -> None:
    texts = ["nobody has seen these", "x" * 500, ""]
    assert Reader(READER.tokenizer, 64).lengths(texts) == tokenised(texts)


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        (pre_tokenizers.WhitespaceSplit(), True),
        (pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()]), True),
        (pre_tokenizers.ByteLevel(), False),
        (None, False),
    ],
)
def test_other_tokenizers(before: Any, expected: bool) -> None:
    tokenizer = Tokenizer(models.WordLevel({"?": 0}, unk_token="?"))
    tokenizer.pre_tokenizer = before
    assert cuts_at_white_space(tokenizer) is expected
    tokenizer.normalizer = normalizers.NFC()
    assert not cuts_at_white_space(tokenizer)
    tokenizer.normalizer = None
    tokenizer.add_tokens(["two words"])
    assert not cuts_at_white_space(tokenizer)


def test_a_tokenizer_that_reaches_across_white_space_is_asked_for_every_text() -> None:
    pair = Tokenizer(models.WordLevel({"a b": 0, "?": 1}, unk_token="?"))  # no pre-tokenizer: the whole text is a word
    reader = Reader(pair, 64)
    reader.learn(["a b"])
    assert not cuts_at_white_space(pair)
    assert reader.lengths(["a b", "a c d"]) == [1, 1]
