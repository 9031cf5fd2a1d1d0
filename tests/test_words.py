"""Counting by words against the tokenizer itself, over any text."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.bases import resolve
from pipelines.search.embedder import Reader, load_reader
from pipelines.words import Words, cuts_at_white_space
from tests.small_index import MODEL

TRIES = int(os.environ.get("TEST_TRIES", "60"))
READER = load_reader(resolve(MODEL, Path()).folder)
WORDS = Words(READER)
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


@given(
    st.lists(st.one_of(st.sampled_from([*ODD, " ", "\n", "it's", "Ünder"]), st.text(max_size=6)), max_size=12).map(
        "".join
    )
)
@settings(max_examples=TRIES, deadline=None)
def test_as_many_tokens_as_the_tokenizer_counts(text: str) -> None:
    WORDS.learn([text])
    assert WORDS.lengths([text, text + " again"]) == READER.lengths([text, text + " again"])
    assert WORDS.lengths([text], special=False) == READER.lengths([text], special=False)


def test_what_was_not_learnt_is_tokenised() -> None:
    texts = ["nobody has seen these", "x" * 500, ""]
    assert Words(READER).lengths(texts) == READER.lengths(texts)


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        ({"type": "WhitespaceSplit"}, True),
        ({"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, {"type": "Metaspace"}]}, True),
        ({"type": "ByteLevel"}, False),
        (None, False),
    ],
)
def test_other_tokenizers(before: object, expected: bool) -> None:
    assert cuts_at_white_space({"pre_tokenizer": before, "normalizer": None}) is expected
    assert not cuts_at_white_space({"pre_tokenizer": before, "normalizer": {"type": "Precompiled"}})


def test_a_tokenizer_that_reaches_across_white_space_is_asked_for_every_text() -> None:
    from tokenizers import Tokenizer, models

    pair = Tokenizer(models.WordLevel({"a b": 0, "?": 1}, unk_token="?"))  # no pre-tokenizer: the whole text is a word
    words = Words(Reader(pair, 64))
    words.learn(["a b"])
    assert not cuts_at_white_space(json.loads(pair.to_str()))
    assert words.lengths(["a b", "a c d"]) == [1, 1]
