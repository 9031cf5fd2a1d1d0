"""Tables, logs, code and settings are cut at the ends of rows; a piece of a table begins with its head row."""

from __future__ import annotations

from typing import Any

import pytest

from pipelines.search.text.passages import Passage, passages
from pipelines.search.text.quotable import quotable
from pipelines.search.text.row_blocks import row_blocks
from pipelines.search.text.sections import sections
from tests.test_passages import Letters

READER: Any = Letters()

MARKDOWN = [
    "| Part | Price | Shelf |",
    "|---|---:|---|",
    *(f"| bolt {n:03} | {n}.50 | Shelf {n % 7}. Top |" for n in range(40)),
]
CSV = ["Part;Price;Shelf", *(f"bolt {n:03};{n},50;Shelf {n % 7}. Top" for n in range(40))]
TABS = ["Part\tPrice\tShelf", *(f"bolt {n:03}\t{n}.50\tShelf {n % 7}. Top" for n in range(40))]
FIXED = ["Part       Price   Shelf", *(f"bolt {n:03}  {n:>6}   Shelf {n % 7}. Top" for n in range(40))]
BOXED = ["| Part | Price |", "+------+-------+", *(f"| b {n:02} | {n:>4}. |" for n in range(40))]
LOG = [f"2026-03-01 10:00:{n:02} ERROR disk {n}. Full now\n  at f({n})\n  at g()" for n in range(40)]
CODE = ["import os", *(f'print("Line {n}. More of it")' for n in range(40))]
INI = ["[server]", *(f"key{n} = Value {n}. More" for n in range(40))]
FENCE = ["```", *(f"step {n}. Go on" for n in range(40)), "```"]


def cut(text: str, **options: Any) -> tuple[list[Passage], list[str]]:
    found = passages(text, READER, tokens=150, overlap=30, **options)
    assert max(one.tokens for one in found) <= 150
    return found, [one.text(text) for one in found]


@pytest.mark.parametrize(
    ("rows", "head"),
    [(MARKDOWN, "\n".join(MARKDOWN[:2])), (CSV, CSV[0]), (TABS, TABS[0]), (FIXED, FIXED[0]),
     (BOXED, "\n".join(BOXED[:2])), (LOG, None), (CODE, None), (INI, INI[0]), (FENCE, None)],
    ids=["Markdown", "semicolons", "tabs", "columns", "bars", "log", "code", "ini", "fence"],
)  # fmt: skip
@pytest.mark.parametrize(
    "around", [("", ""), ("A sentence before it.\n\n", "\n\nOne behind it. And more.")], ids=["alone", "in text"]
)
def test_no_row_is_torn_and_each_piece_has_the_head(rows: list[str], head: str | None, around: tuple[str, str]) -> None:
    text = around[0] + "\n".join(rows) + around[1]
    found, texts = cut(text)
    assert len(texts) > 5
    data = rows[len(head.split("\n")) if head else 0 :]
    for row in data:
        assert any(row in each for each in texts), row
    for each in texts:
        rest = each.replace(around[0].strip() or "\0", "").replace("One behind it. And more.", "")
        left = [line for line in rest.split("\n") if line.strip() and not any(line in row.split("\n") for row in rows)]
        assert not left
    if head:
        inside = [each for each in texts if any(row in each for row in data)]
        assert all(head in each for each in inside)
        assert sum(one.head is not None for one in found) >= len(inside) - 1


def test_a_row_longer_than_a_passage_is_cut_between_its_cells() -> None:
    cells = [f"cell {n:02} of the long row here" for n in range(30)]
    text = "| A | B |\n|---|---|\n| 1 | 2 |\n| " + " | ".join(cells) + " |"
    _, texts = cut(text)
    for cell in cells:
        assert any(cell in each for each in texts)
    assert all(each.startswith("| A | B |\n|---|---|") for each in texts)


def test_prose_is_no_table() -> None:
    for text in (
        "The river rose, as it does, in May, they say,\nand fell, as ever, by noon, and all,\nwho saw it, were glad, "
        "it was,\nover.",
        "- one; two\n- three; four\n- five",
        "First line of it\nSecond line of it\n\nThird: a line.",
        "Dear Ann,\nthe bank (the old one) is\nshut; we go on.\nYours",
    ):
        assert row_blocks(text) == []


def test_lines_without_a_time_belong_to_the_record_above() -> None:
    text = "\n".join(LOG[:3])
    (block,) = row_blocks(text)
    assert [text[start:end] for start, end in block.rows] == LOG[:3]


def test_each_section_of_settings_has_its_own_head() -> None:
    text = "[one]\na = 1\n\nb = 2\n[two]\nc = 3\n"
    assert [(text[slice(*block.head)], len(block.rows)) for block in row_blocks(text) if block.head] == [
        ("[one]", 3), ("[two]", 2),
    ]  # fmt: skip


def test_rows_are_quoted_one_by_one_and_the_line_below_the_head_never() -> None:
    text = "Prices.\n\n| Part | Price |\n|---|---|\n| bolt | 2 |\n| nut | 3 |\n\nMore. Of it."
    assert [text[start:end] for start, end in quotable("", text)] == [
        "Prices.", "| Part | Price |", "| bolt | 2 |", "| nut | 3 |", "More.", "Of it.",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "# not a heading\n\nx = 1\ny = 2", "import os\nprint(os)\n", "[server]\nhost = a\nport = 1", "\n".join(CSV[:3]),
        "2026-03-01 10:00:00 start\n2026-03-01 10:00:01 go\n2026-03-01 10:00:02 end", "# 17 votes\nwere cast.",
    ],
)  # fmt: skip
def test_code_tables_logs_and_settings_have_no_title(text: str) -> None:
    assert [section.heading for section in sections(text)] == [""]
