"""Texts of somebody's data where people read them: one line, unmistakable, and no Markdown."""

from __future__ import annotations

import string

import pytest
from bs4 import BeautifulSoup
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from core.tables.spelling import LONGEST, cell, code, prose, some, spelled, spelled_apart

MARKDOWN = MarkdownIt("commonmark").enable("table")
TEXTS = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from("|\\`*_[]<>$~&\n \"'#-"), max_size=20)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("pos", "pos"),
        ("$_{x}^2$ \\ <b>", "$_{x}^2$ \\ <b>"),
        ("日本語", "日本語"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("", '""'),
        (" a", '" a"'),
        ("two\nlines\t\\", '"two\\nlines\\t\\\\"'),
        ('"quoted"', '"\\"quoted\\""'),
        ("\u202eback\x1b[2J", '"\\u202eback\\u001b[2J"'),
        ("nb\u00a0sp", '"nb\\u00a0sp"'),
        ("\U000e0041", '"\\U000e0041"'),
    ],
)
def test_what_cannot_be_seen_is_spelled_in_quotes(text: str, shown: str) -> None:
    assert spelled(text) == shown


def test_of_a_long_text_both_ends_stand_and_two_that_come_out_alike_are_told_apart() -> None:
    long = "a" * 5000 + "b"
    assert len(spelled(long)) == LONGEST and spelled(long).startswith("aa") and spelled(long).endswith("ab")
    alike = [long, f"a{long}", "other"]
    found = spelled_apart(alike, 20)
    assert found[2] == "other" and found[0].endswith("(1)") and found[1].endswith("(2)") and len(set(found)) == 3


def test_letters_without_a_picture_are_spelled_by_their_numbers() -> None:
    assert spelled("a語𝄞", drawn=str.isascii) == '"a\\u8a9e\\U0001d11e"'


def test_of_many_texts_some_are_named() -> None:
    assert some(["b", "a"]) == "b, a"
    assert some([str(at) for at in range(1000)]).endswith("18, 19 and 980 more")


@given(TEXTS, TEXTS)
def test_a_cell_is_one_cell_and_reads_as_the_text_is_spelled(one: str, two: str) -> None:
    html = MARKDOWN.render(f"| a | b |\n|---|---|\n| {cell(one)} | {cell(two)} |\n")
    found = [each.get_text() for each in BeautifulSoup(html, "html.parser").find_all("td")]
    assert len(found) == 2
    for text, read in zip((one, two), found, strict=True):
        shown = spelled(text)
        assert read == (shown if "\\|" not in shown else spelled(text, drawn=lambda letter: letter != "|"))


@given(TEXTS)
def test_prose_and_code_hold_no_tags_links_or_emphasis(text: str) -> None:
    for written in (f"so: {prose(text)}", f"so: {code(text)}"):
        tree = BeautifulSoup(MARKDOWN.render(written), "html.parser")
        assert not tree.find_all(["a", "b", "em", "strong", "img", "table", "h1", "h2", "li"])


@given(st.text(string.ascii_letters + string.digits, min_size=1, max_size=20))
def test_words_stand_as_they_are(text: str) -> None:
    assert cell(text) == code(text) == prose(text) == text
