"""Headings are text, quotes know their page, and no word of a document is lost."""

from __future__ import annotations

import io
from typing import Any
from xml.sax.saxutils import escape

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reportlab.lib.styles import getSampleStyleSheet
from reportlab.platypus import Flowable, PageBreak, Paragraph, SimpleDocTemplate, Table

from pipelines.chunk.documents import Document
from pipelines.search.ask.citations import check, cite
from pipelines.search.ask.query import Passage
from pipelines.search.text.passages import embedded, passages
from pipelines.search.text.quotable import quotable
from pipelines.search.text.sections import below_headings, heading_lines, sections
from pipelines.sources.parsers import markdown, pdf, without_invisible
from tests.test_passages import Letters

READER: Any = Letters()


def found(text: str, **options: Any) -> list[Passage]:
    """Passages as a search gives them."""
    document = Document("a", text, "", "a")
    cut = passages(text, READER, tokens=120, overlap=20, **options)
    assert max((one.tokens for one in cut), default=0) <= 120
    return [
        Passage(one.text(text), 1.0, "a", "a", one.heading, at, document.page(one.start)) for at, one in enumerate(cut)
    ]


# --- headings


def test_a_heading_is_text_and_is_embedded_once() -> None:
    text = "# Guide\n\n## Install ##\n\nRun it.\n\n## Emergency number 6620\n\n## Closed on 24 December\n"
    made = found(text, markdown=True)
    assert [(one.heading, one.text) for one in made] == [
        ("Guide > Install", "# Guide\n\n## Install ##\n\nRun it."),
        ("Guide > Emergency number 6620", "## Emergency number 6620"),
        ("Guide > Closed on 24 December", "## Closed on 24 December"),
    ]
    assert [embedded(one.heading, one.text) for one in made] == [
        "Guide > Install\nRun it.", "Guide > Emergency number 6620", "Guide > Closed on 24 December",
    ]  # fmt: skip
    quoted = [[one.text[start:end] for start, end in quotable(one.heading, one.text)] for one in made]
    assert quoted == [["Guide", "Install", "Run it."], ["Emergency number 6620"], ["Closed on 24 December"]]


def test_commonmark_says_what_a_heading_is() -> None:
    text = (
        "---\ntitle: no heading\n---\n# C#\n\n``` on one line ```\n\nCare of sails\n===\n\nFresh water.\n\nPort\n---\n"
        "```\n# no\n```\n"
        "> # quoted\n\n    # code\n\n#hashtag\n\n## F# ##\n\n- # in a list\n"
    )
    assert [(each.heading, text[each.start : each.end].strip()) for each in sections(text, markdown=True)] == [
        ("", "---\ntitle: no heading\n---"),
        ("C#", "``` on one line ```"),
        ("Care of sails", "Fresh water."),
        ("Care of sails > Port", "```\n# no\n```\n> # quoted\n\n    # code\n\n#hashtag"),
        ("Care of sails > F#", "- # in a list"),
    ]


def test_a_first_line_can_be_quoted_though_it_is_the_title() -> None:
    note = "PIN of the tool shed is 4417\nThe spare key hangs by the door."
    (one,) = found(note)
    assert (one.heading, one.text) == ("PIN of the tool shed is 4417", note)
    said = check("The PIN of the tool shed is 4417", [1], [one])
    assert said.citations[0].quote == "PIN of the tool shed is 4417"  # type: ignore[union-attr]


def test_a_title_from_elsewhere_that_begins_the_text_stands_there_once() -> None:
    (one,) = found("The flood\n\nIt rained.", title="The flood")
    assert (one.text, embedded(one.heading, one.text)) == ("The flood\n\nIt rained.", "The flood\nIt rained.")
    (other,) = found("It rained.", title="The flood")
    assert (other.text, embedded(other.heading, other.text)) == ("It rained.", "The flood\nIt rained.")


def test_heading_lines_are_those_that_the_heading_says() -> None:
    assert heading_lines("A > B", "# A\n\nB\n---\nText") == [(2, 3), (5, 6)]
    assert below_headings("A > B", "# A\n\nB\n---\nText") == "Text"
    assert below_headings("Install", "Install it by hand.") == "Install it by hand."


# --- pages


def test_a_quote_has_the_page_on_which_it_begins() -> None:
    slides = [
        "Town transport\nPlans for the year\n1",
        "Buses\nThe night bus starts on 2 April.\n2",
        "Bicycles\nRacks stand\n3",
    ]
    (one,) = found("".join(f"{slide}\n\f" for slide in slides))
    said = check("The night bus starts on 2 April.", [], [one])
    assert [each.page for each in said.citations] == [2]  # type: ignore[union-attr]
    assert found("No pages here.")[0].page is None


def test_a_sentence_ends_where_its_page_does_unless_it_goes_on() -> None:
    text = "One line\n\fAnother line\n\fgoes on here.\n\fNext."
    assert [text[start:end] for start, end in quotable("", text)] == [
        "One line",
        "Another line\n\fgoes on here.",
        "Next.",
    ]


@pytest.mark.parametrize("mark", ["\u00ad", "\u200b", "\u2060", "\ufeff"])
def test_marks_that_nobody_sees_part_no_word(mark: str) -> None:
    assert without_invisible(f"Stra{mark}ßen{mark}bahn") == "Straßenbahn"
    assert without_invisible("ภาษา\u200bไทย") == "ภาษา\u200bไทย"


# --- any document

WORD = st.from_regex(r"[A-Z]?[a-z]{2,9}|[1-9][0-9]{0,3}", fullmatch=True)
SENTENCE = st.lists(WORD, min_size=1, max_size=12).map(lambda words: " ".join(words).capitalize() + ".")
ROW = st.tuples(WORD, WORD, WORD)
BLOCK = st.one_of(
    st.tuples(st.just("heading"), st.integers(1, 4), st.lists(WORD, min_size=1, max_size=5).map(" ".join)),
    st.tuples(st.just("text"), st.just(0), st.lists(SENTENCE, min_size=1, max_size=8).map(" ".join)),
    st.tuples(st.just("code"), st.just(0), st.lists(SENTENCE, min_size=1, max_size=8).map("\n".join)),
    st.tuples(st.just("list"), st.just(0), st.lists(SENTENCE, min_size=1, max_size=5).map("\n- ".join)),
    st.tuples(st.just("table"), st.just(0), st.lists(ROW, min_size=2, max_size=14)),
)
BLOCKS: Any = st.lists(BLOCK, min_size=1, max_size=8)


def in_markdown(kind: str, depth: int, said: Any) -> str:
    if kind == "table":
        head, *rows = (f"| {' | '.join(row)} |" for row in said)
        return "\n".join([head, "|---|---|---|", *rows])
    written: dict[str, str] = {
        "heading": f"{'#' * depth} {said}",
        "text": said,
        "code": f"```\n{said}\n```",
        "list": f"- {said}",
    }
    return written[kind]


def rows_of(blocks: Any) -> list[tuple[str, ...]]:
    return [row for kind, _, said in blocks if kind == "table" for row in said]


@pytest.mark.slow
@settings(max_examples=30, deadline=None)
@given(BLOCKS)
def test_every_word_of_markdown_stands_in_a_passage_and_no_row_is_torn(blocks: Any) -> None:
    text = markdown.of_text("\n\n".join(in_markdown(*block) for block in blocks)).text
    made = found(text, markdown=True)
    words = {word for one in made for word in one.text.split()}
    assert set(text.split()) <= words
    lines = {line for one in made for line in one.text.split("\n")}
    assert {f"| {' | '.join(row)} |" for row in rows_of(blocks)} <= lines
    torn = [line for line in lines if line.count("|") not in (0, 4)]
    assert not torn
    quotes_stand_on_their_page(made, [text])


def flowables(blocks: Any) -> list[Flowable]:
    style = getSampleStyleSheet()
    made: list[Flowable] = []
    for kind, depth, said in blocks:
        if kind == "table":
            made.append(Table([list(row) for row in said]))
        else:
            made += [
                Paragraph(escape(line), style["Heading1" if kind == "heading" else "Normal"])
                for line in said.split("\n")
            ]
        if depth == 1:
            made.append(PageBreak())
    return made


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(BLOCKS)
def test_every_word_of_a_pdf_stands_in_a_passage_and_no_row_is_torn(blocks: Any) -> None:
    out = io.BytesIO()
    SimpleDocTemplate(out).build(flowables(blocks))
    text = pdf.parse(out.getvalue()).text
    made = found(text)
    words = {word for one in made for word in one.text.split()}
    wanted = {word for kind, _, said in blocks if kind != "table" for word in said.split()}
    assert wanted | {cell for row in rows_of(blocks) for cell in row} <= words | {
        word.removeprefix("-") for word in words
    }
    lines = {" ".join(line.split()) for one in made for line in one.text.replace("\f", "\n").split("\n")}
    assert {" ".join(row) for row in rows_of(blocks)} <= lines
    quotes_stand_on_their_page(made, text.split("\f"))


def quotes_stand_on_their_page(made: list[Passage], pages: list[str]) -> None:
    for number, one in enumerate(made, start=1):
        for start, end in quotable(one.heading, one.text):
            quote = cite(number, made, start, end)
            assert quote.quote.split("\f")[0].strip() in pages[(quote.page or 1) - 1]
