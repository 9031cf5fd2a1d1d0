"""Cutting documents. Token counts are held against transformers' own tokenizer."""

from __future__ import annotations

import random
import unicodedata
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from pipelines.bases import resolve
from pipelines.search.text.passages import embedded, passages
from pipelines.search.text.sections import sections
from pipelines.search.vectors.token_reader import load_reader
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


class Letters:
    """The tokenizer of an embedder that knows every letter."""

    special = 2

    def lengths(self, texts: list[str], *, special: bool = True) -> list[int]:
        return [len(text) + (2 if special else 0) for text in texts]

    def spans(self, text: str) -> list[tuple[int, int]]:
        return [(at, at + 1) for at in range(len(text))]


THAI = "แม่น้ำเอ่อล้นในตอนกลางคืน พอรุ่งเช้าทุ่งนาด้านล่างก็จมอยู่ใต้น้ำ ไม่มีใครในหมู่บ้านเคยเห็นน้ำท่วมเช่นนี้มาก่อน "
CHINESE = "河水在夜里上涨，第二天早上，低处的田地都被淹没了，村里没有人见过这样的洪水，"
JAPANESE = "夜の間に川が増水し、朝には下の畑が水に浸かっていて、村の誰もそのような洪水を見たことがなく、"


@pytest.mark.parametrize(
    "text", [THAI * 9, THAI.replace(" ", "") * 9, CHINESE * 9, JAPANESE * 9, "河水在夜里上涨" * 60]
)
@pytest.mark.parametrize("letters", [True, False], ids=["letters", "MiniLM"])
def test_text_without_a_border_is_cut_where_nothing_is_torn(reader: Any, text: str, letters: bool) -> None:
    counts: Any = Letters() if letters else reader
    found = passages(text, counts, tokens=64, overlap=12)
    parts = [text[one.start : one.end] for one in found]
    assert len(found) > 1
    assert "".join(parts).replace(" ", "") == text.replace(" ", "")
    assert max(one.tokens for one in found) <= 64
    assert not [part for part in parts if unicodedata.category(part[0])[0] == "M" or part[0] in "，、"]
    assert not [part for part in parts if part[-1] in "เแโใไ"]


@pytest.mark.parametrize(("text", "ends"), [(CHINESE * 9, "，"), (JAPANESE * 9, "、")])
def test_a_long_sentence_is_cut_behind_a_clause(reader: Any, text: str, ends: str) -> None:
    found = passages(text, reader, tokens=64, overlap=12)
    assert {text[one.end - 1] for one in found} == {ends}


def test_letters_that_the_embedder_does_not_know_are_cut_by_their_number(reader: Any) -> None:
    found = passages("ก" * 4000, reader, tokens=64, overlap=0)
    assert max(one.end - one.start for one in found) <= 620
    assert sum(one.end - one.start for one in found) == 4000


def test_an_edit_in_a_text_without_borders_moves_the_cuts_near_it(reader: Any) -> None:
    pick = random.Random(3).choice
    text = "".join(pick("河水夜里上涨第二天早低处的田地都被淹没了村有人见过这样洪") for _ in range(3000))
    before, after = (
        {whole[one.start : one.end] for one in passages(whole, reader, tokens=64, overlap=12)}
        for whole in (text, text[:100] + "船" + text[100:])
    )
    assert len(before) > 50
    assert 1 <= len(after - before) <= 6


def test_lines_that_were_broken_have_no_title() -> None:
    assert [s.heading for s in sections("The river rose in the night and\nfell by noon. All was well.")] == [""]
    assert [s.heading for s in sections("The flood\nThe river rose. All was well.")] == ["The flood"]


def test_a_long_heading_without_spaces_is_shortened(reader: Any) -> None:
    found = passages("洪水" * 30 + "\n\n" + STORY, reader, tokens=64, overlap=0)
    assert found[0].heading == "洪水" * 8


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
        ("Guide > Empty", ""),
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
