"""Cutting documents. Token counts are held against transformers' own tokenizer."""

from __future__ import annotations

import random
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from pipelines.bases import resolve
from pipelines.passages import embedded, passages, sections
from pipelines.search.embedder import load_reader
from tests.small_index import MODEL, STORY

FOLDER = resolve(MODEL, Path()).folder


@pytest.fixture(scope="module")
def reader() -> Any:
    return load_reader(FOLDER)


@pytest.fixture(scope="module")
def reference() -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(FOLDER)


def long_text(sentences: int) -> str:
    things = ("bridge", "mill", "market", "harbour", "school", "orchard", "chapel")
    parts = [
        f"In year {1800 + n} the {things[n % 7]} number {n * 7919 % 1000} was repaired again." for n in range(sentences)
    ]
    return "\n\n".join(" ".join(parts[at : at + 9]) for at in range(0, sentences, 9))


@pytest.mark.parametrize(
    "text",
    [
        "The flood of 1953\n\n" + STORY * 20,
        "One sentence without end " + "and another clause of it " * 200,
        "Unbroken\n\n" + "x" * 4000,
        "洪水来了。村里没有人见过这样的洪水。" * 60,
        "Mixed £5m “quotes” ﬁ \u200b\u00a0 spaces. " * 80,
    ],
)
def test_no_passage_is_longer_than_the_limit_and_no_letter_is_lost(reader: Any, reference: Any, text: Any) -> None:
    found = passages(text, reader, tokens=64, overlap=12)
    for one in found:
        ids = reference(embedded(one.heading, text[one.start : one.end]))["input_ids"]
        assert one.tokens == len(ids) <= 64
    covered = {place for one in found for place in range(one.start, one.end)}
    body = text.index("\n\n") if found[0].heading else 0
    assert all(place in covered for place, letter in enumerate(text) if place >= body and not letter.isspace())
    assert [one.start for one in found] == sorted(one.start for one in found)


def test_passages_begin_and_end_with_sentences(reader: Any) -> None:
    text = STORY * 20
    for one in passages(text, reader, tokens=64, overlap=12):
        part = text[one.start : one.end]
        assert part[0] in "TBN"
        assert part[-1] == "."


def test_a_long_sentence_is_cut_between_words(reader: Any) -> None:
    words = ["hippopotamus", "wandering", "quietly", "downstream"] * 100
    found = passages(" ".join(words), reader, tokens=32, overlap=8)
    text = " ".join(words)
    assert len(found) > 10
    assert {word for one in found for word in text[one.start : one.end].split()} == set(words)


def test_neighbours_share_whole_sentences_up_to_the_overlap(reader: Any) -> None:
    text = long_text(60)
    found = passages(text, reader, tokens=64, overlap=30)
    shared = [text[later.start : earlier.end] for earlier, later in pairwise(found)]
    assert any(shared)
    for part in filter(None, shared):
        assert part.startswith("In year")
        assert part.endswith("again.")
        assert reader.lengths([part], special=False)[0] <= 30
    none = passages(text, reader, tokens=64, overlap=0)
    assert all(a.end <= b.start for a, b in pairwise(none))


def test_an_edit_moves_the_cuts_near_it_and_no_others(reader: Any) -> None:
    """Sentences of equal length: cuts that count from the start would all move by one, up to the end."""
    words = (
        "river",
        "house",
        "road",
        "field",
        "tree",
        "stone",
        "horse",
        "bird",
        "boat",
        "wall",
        "door",
        "gate",
        "hill",
    )
    pick = random.Random(5).choice
    lines = [f"The {pick(words)} and the {pick(words)} saw the {pick(words)} again." for _ in range(400)]
    assert len(set(reader.lengths(lines))) == 1
    changed = []
    for at in (20, 90, 160):
        text, edited = (
            " ".join(lines),
            " ".join([*lines[:at], "The night and the day saw the moon again.", *lines[at:]]),
        )
        before = {text[one.start : one.end] for one in passages(text, reader, tokens=64, overlap=12)}
        after = {edited[one.start : one.end] for one in passages(edited, reader, tokens=64, overlap=12)}
        assert len(before) > 60
        changed.append(len(after - before))
    assert min(changed) >= 1
    assert max(changed) <= 15


@pytest.mark.parametrize(
    ("text", "heading"),
    [
        ("Mobile networks seek boost\n\nThird-generation networks need it.", "Mobile networks seek boost"),
        ("Is it over?\nNobody knows.", "Is it over?"),
        ("The river rose in the night.\n\nBy morning it fell.", ""),
        ("A line that is far too long to be a title " * 4 + "\n\nMore.", ""),
        ("Only one line", ""),
    ],
)
def test_a_first_line_that_looks_like_a_title_is_the_heading(text: Any, heading: Any) -> None:
    (found,) = sections(text)
    assert found.heading == heading
    assert text[found.start : found.end].strip() == (text.partition("\n")[2].strip() if heading else text)


def test_a_title_that_is_known_stands_once() -> None:
    assert [(s.heading, s.start) for s in sections("The flood\n\nIt rained.", title="The flood")] == [("The flood", 10)]
    assert [(s.heading, s.start) for s in sections("It rained.", title="The flood")] == [("The flood", 0)]


def test_markdown_headings() -> None:
    install = "## Install ##\nRun it.\n\n```sh\n# not a heading\n```\n"
    text = f"# Guide\nIntro.\n\n{install}### Linux\nApt.\n## Empty\n## Use\nGo.\n"
    assert [(s.heading, text[s.start : s.end].strip()) for s in sections(text, markdown=True)] == [
        ("Guide", "Intro."),
        ("Guide > Install", "Run it.\n\n```sh\n# not a heading\n```"),
        ("Guide > Install > Linux", "Apt."),
        ("Guide > Use", "Go."),
    ]


def test_a_long_heading_leaves_room_for_the_text(reader: Any) -> None:
    text = "word " * 19 + "word\n\n" + STORY * 5
    found = passages(text, reader, tokens=32, overlap=0)
    assert found[0].heading == " ".join(["word"] * 8)
    assert all(one.tokens <= 32 for one in found)


@pytest.mark.parametrize("text", ["", "  \n \n"])
def test_nothing_gives_nothing(reader: Any, text: Any) -> None:
    assert passages(text, reader, tokens=64, overlap=12) == []
