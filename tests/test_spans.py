"""Labelled spans as a table keeps them, and the tags that they are made of."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.cells.spans import Span, entities, listed, of_tags, told, written

TEXT = "Ann lives in New York ."
NEW_YORK = {"start": 13, "end": 21, "label": "place"}
WORDS = st.text(st.characters(blacklist_categories=("Z", "C")), min_size=1, max_size=6)


def spelt(start: int, end: int, label: str) -> str:
    return f'{{"start":{start},"end":{end},"label":"{label}"}}'


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ([], "[]"),
        ("[]", "[]"),
        ([NEW_YORK, {"start": 0, "end": 3, "label": "person"}], f"[{spelt(0, 3, 'person')},{spelt(13, 21, 'place')}]"),
        (json.dumps([NEW_YORK], indent=2), f"[{spelt(13, 21, 'place')}]"),
        ([{**NEW_YORK, "score": 0.5, "text": "New York"}], f"[{spelt(13, 21, 'place')}]"),
        ([{"start": 12, "end": 22, "label": "place"}], f"[{spelt(13, 21, 'place')}]"),
    ],
)
def test_spans_are_kept_sorted_and_compact_without_white_space_at_their_ends(value: Any, cell: str) -> None:
    assert told(value, TEXT) == (cell, None)


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ("[{]", "not JSON"),
        ("New York", "not JSON"),
        ("{}", r"not a list of spans but \{\}"),
        (3, "not a list of spans but 3"),
        (["B-place"], "'B-place' is no span"),
        ([{"start": 0, "end": 3}], "the label of .* is no text"),
        ([{"start": 0, "end": 3, "label": " "}], "the label of .* is no text"),
        ([{"start": 0, "end": 3, "label": 7}], "the label of .* is no text"),
        ([{"start": "0", "end": 3, "label": "a"}], "the start of .* is no whole number"),
        ([{"start": True, "end": 3, "label": "a"}], "the start of .* is no whole number"),
        ([{"start": 0, "end": 2.5, "label": "a"}], "the end of .* is no whole number"),
        ([{"start": 3, "end": 3, "label": "a"}], "cuts nothing out"),
        ([{"start": 4, "end": 3, "label": "a"}], "cuts nothing out"),
        ([{"start": -1, "end": 3, "label": "a"}], "cuts nothing out"),
        ([{"start": 3, "end": 4, "label": "a"}], "white space only"),
        ([{"start": 20, "end": 24, "label": "a"}], "ends behind the text's 23 characters"),
        ([NEW_YORK, {"start": 17, "end": 23, "label": "a"}], "overlap"),
        ([NEW_YORK, NEW_YORK], "overlap"),
        ("[" * 100_000, "recursion"),
    ],
)
def test_what_is_no_list_of_spans_is_told(value: Any, fault: str) -> None:
    _, wrong = told(value, TEXT)
    assert wrong is not None
    with pytest.raises(AssertionError, match=f"(?s){fault}"):
        raise AssertionError(wrong)


def test_no_spans_are_not_the_same_as_unknown_ones() -> None:
    assert told(None, TEXT) == (None, None)


def test_of_a_text_that_cannot_be_read_only_the_form_is_looked_at() -> None:
    assert told([{"start": 100, "end": 103, "label": "a"}], None)[1] is None


# Worked out by hand; the third column is what the tags mean.
TAGS = [
    ("IOB1", "I-p O I-l I-l B-l O", [(0, 1, "p"), (2, 4, "l"), (4, 5, "l")]),
    ("IOB2", "B-p O B-l I-l B-l O", [(0, 1, "p"), (2, 4, "l"), (4, 5, "l")]),
    ("BIOES", "S-p O B-l E-l S-l O", [(0, 1, "p"), (2, 4, "l"), (4, 5, "l")]),
    ("BILOU", "U-p O B-l L-l U-l O", [(0, 1, "p"), (2, 4, "l"), (4, 5, "l")]),
    ("BIOES, three words", "B-p I-p E-p", [(0, 3, "p")]),
    ("BIOES, side by side", "B-p E-p B-p E-p", [(0, 2, "p"), (2, 4, "p")]),
    ("IOB1, other labels side by side", "I-p I-l", [(0, 1, "p"), (1, 2, "l")]),
    ("a label with a hyphen", "B-creative-work I-creative-work", [(0, 2, "creative-work")]),
    ("I of another label opens one", "B-p I-l I-l", [(0, 1, "p"), (1, 3, "l")]),
    ("E behind O opens and closes one", "O E-p I-p", [(1, 2, "p"), (2, 3, "p")]),
]


@pytest.mark.parametrize(("tags", "found"), [case[1:] for case in TAGS], ids=[case[0] for case in TAGS])
def test_tags_of_every_scheme_are_entities(tags: str, found: list[tuple[int, int, str]]) -> None:
    assert entities(tags.split()) == [Span(*each) for each in found]


def test_tokens_and_tags_are_one_text_and_its_spans() -> None:
    text, spans = of_tags(["Ann", "likes", "New", "York"], ["B-p", "O", "B-l", "I-l"])
    assert text == "Ann likes New York"
    assert [(text[span.start : span.end], span.label) for span in spans] == [("Ann", "p"), ("New York", "l")]


@pytest.mark.parametrize(
    ("tokens", "tags", "fault"),
    [
        (["a", "b"], ["O"], "2 tokens and 1 tags"),
        (["a", " "], ["O", "O"], "token 2: ' ' is no word"),
        (["a", 5], ["O", "O"], "token 2: 5 is no word"),
        (["a"], ["B_p"], "token 1: 'B_p' is no tag"),
        (["a"], ["B-"], "token 1: 'B-' is no tag"),
        (["a"], ["X-p"], "token 1: 'X-p' is no tag"),
        (["a"], [0], "token 1: 0 is no tag"),
    ],
)
def test_bad_tokens_and_tags_are_refused_with_their_number(tokens: list[Any], tags: list[Any], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        of_tags(tokens, tags)


@given(st.lists(st.tuples(WORDS, st.sampled_from(["O", "B-a", "I-a", "B-b-c", "S-b-c", "E-a"])), min_size=1))
def test_spans_of_tags_come_back_from_a_cell(words: list[tuple[str, str]]) -> None:
    text, spans = of_tags([word for word, _ in words], [tag for _, tag in words])
    cell, wrong = told(written(spans), text)
    assert wrong is None
    assert cell == written(spans)
    assert listed(cell) == spans
    assert len(spans) == len(entities([tag for _, tag in words]))
