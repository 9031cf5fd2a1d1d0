"""Random pages and Word files: every word and every number of them stands in the text, in its row and its order."""

from __future__ import annotations

import html as escaping
import io
import re
from collections.abc import Callable

import docx as word
import pytest
from docx.document import Document
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.sources.parsers import docx, html

EXAMPLES = 25  # a Word file takes a tenth of a second to be made and read
WORDS = st.one_of(
    st.text("abcdefghijklmnop", min_size=3, max_size=8),
    st.integers(0, 10**6).map(str),
    st.decimals(0, 1000, places=2).map(str),
    st.sampled_from(
        ["Straße", "naïve", "漢字", "слово", "كلمة", "C#", "a|b", "x*y*z", "snake_case", "1,000", "<b>", "&amp;"]
    ),
)
LINES = st.lists(WORDS, min_size=1, max_size=8).map(" ".join)
TABLES = st.integers(1, 4).flatmap(
    lambda columns: st.lists(st.lists(LINES, min_size=columns, max_size=columns), min_size=2, max_size=5)
)
BLOCKS = st.lists(
    st.one_of(
        st.tuples(st.just("p"), LINES),
        st.tuples(st.just("h2"), LINES),
        st.tuples(st.just("list"), st.lists(LINES, min_size=1, max_size=4)),
        st.tuples(st.just("table"), TABLES),
        st.tuples(st.just("box"), LINES),
    ),
    min_size=1,
    max_size=8,
)
Block = tuple[str, str | list[str] | list[list[str]]]


def tokens(text: str) -> list[str]:
    """Words and numbers, without Markdown's marks."""
    return re.findall(r"\w+(?:[.,]\d+)*", re.sub(r"(?m)^\s*(?:\d+\.|-|#+)\s|\\", " ", text))


def said(blocks: list[Block]) -> list[str]:
    return [token for _, inside in blocks for line in flat(inside) for token in tokens("x " + line)[1:]]


def flat(inside: str | list[str] | list[list[str]]) -> list[str]:
    if isinstance(inside, str):
        return [inside]
    return [line for each in inside for line in (each if isinstance(each, list) else [each])]


def page(blocks: list[Block], around: str) -> str:
    """A page of some blocks, in an element or two that pages wrap their text in."""

    def write(kind: str, inside: str | list[str] | list[list[str]]) -> str:
        lines = [escaping.escape(line) for line in flat(inside)]
        if kind == "table":
            assert isinstance(inside, list)
            wide = len(inside[0])
            rows = (lines[at : at + wide] for at in range(0, len(lines), wide))
            return f"<table>{''.join('<tr>' + ''.join(f'<td>{cell}' for cell in row) for row in rows)}</table>"
        if kind == "list":
            return f"<ul>{''.join(f'<li>{line}' for line in lines)}</ul>"
        name = "aside" if kind == "box" else kind
        return f"<{name}>{lines[0]}</{name}>"

    inside = "".join(write(*block) for block in blocks)
    return around.format(inside)


@pytest.mark.slow
@settings(max_examples=4 * EXAMPLES, deadline=None)
@given(
    BLOCKS,
    st.sampled_from(
        ["{}", "<main>{}</main>", "<div><div>{}", "<header>{}", "<article>{}</article><footer></footer>",
         "<body><header><div></div>{}</header>", "<form>{}</form>", "<section hidden=until-found>{}</section>"]
    ),
)  # fmt: skip
def test_every_word_of_a_page_is_kept(blocks: list[Block], around: str) -> None:
    found = html.parse(page(blocks, around).encode(), "utf-8").text
    assert tokens_of(found) == said(blocks)
    for kind, inside in blocks:
        if kind == "table":
            rows_stand_whole(found, inside)


@pytest.mark.slow
@settings(max_examples=EXAMPLES, deadline=None)
@given(BLOCKS)
def test_every_word_of_a_word_file_is_kept(blocks: list[Block]) -> None:
    document = word.Document()
    for kind, inside in blocks:
        WRITERS[kind](document, inside)
    made = io.BytesIO()
    document.save(made)
    found = docx.parse(made.getvalue()).text
    assert tokens_of(found) == said(blocks)
    for kind, inside in blocks:
        if kind == "table":
            rows_stand_whole(found, inside)


def tokens_of(text: str) -> list[str]:
    return tokens("\n".join(re.sub(r"^\|(?: --- \|)+$", "", line) for line in text.split("\n")))


def rows_stand_whole(text: str, rows: str | list[str] | list[list[str]]) -> None:
    lines = [tokens(line) for line in text.split("\n")]
    if isinstance(rows, list) and len(rows[0]) > 1:
        for row in rows:
            assert [token for cell in row for token in tokens("x " + cell)[1:]] in lines


def _table(document: Document, rows: list[list[str]]) -> None:
    table = document.add_table(len(rows), len(rows[0]))
    for number, row in enumerate(rows):
        for column, text in enumerate(row):
            table.cell(number, column).text = text


def _list(document: Document, lines: list[str]) -> None:
    for line in lines:
        document.add_paragraph(line, style="List Bullet")


WRITERS: dict[str, Callable[..., object]] = {
    "p": lambda document, line: document.add_paragraph(line),
    "box": lambda document, line: document.add_paragraph(line, style="Quote"),
    "h2": lambda document, line: document.add_heading(line, 2),
    "list": _list,
    "table": _table,
}
