"""PDFs made by reportlab: reading order, words, fields, fonts, and what is told of pages without text."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from PIL import Image
from reportlab.lib.utils import ImageReader
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.cidfonts import UnicodeCIDFont
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import SimpleDocTemplate, Table

from core.schema.columns import DOCUMENTS
from core.schema.data import Data
from pipelines.sources._files import local
from pipelines.sources.parsers import Unreadable, pdf
from pipelines.sources.parsers.pdf_chars import Char, _lam_alef
from pipelines.sources.parsers.pdf_layout import whole_words
from pipelines.sources.readers import folders

LEFT = (
    "The crane on the north quay was", "tested in March. The engineers saw", "that the turning ring had worn by",
    "four millimetres and must be new", "before the winter season begins.",
)  # fmt: skip
RIGHT = (
    "Ticket sales for the tram rose by", "twelve per cent over the year. The", "town therefore plans a second line",
    "for the western hill, to be built", "by the works at Oakley.",
)  # fmt: skip


def made(draw: Callable[[Canvas], None]) -> bytes:
    out = io.BytesIO()
    canvas = Canvas(out, pagesize=(600, 800))
    canvas.setFont("Helvetica", 10)
    draw(canvas)
    canvas.save()
    return out.getvalue()


def text_of(draw: Callable[[Canvas], None]) -> str:
    return pdf.parse(made(draw)).text.removesuffix("\n\f")


def put(canvas: Canvas, lines: Sequence[str], x: float = 60, y: float = 700, step: float = 14) -> None:
    for at, line in enumerate(lines):
        canvas.drawString(x, y - at * step, line)


# --- reading order


@pytest.mark.parametrize("turned", [0, 90, 180, 270])
@pytest.mark.parametrize("shown", [0, 90, 180, 270])
def test_lines_keep_their_order_however_text_and_page_are_turned(turned: int, shown: int) -> None:
    def draw(canvas: Canvas) -> None:
        canvas.setPageRotation(shown)
        canvas.translate(300, 400)
        canvas.rotate(turned)
        put(canvas, LEFT, -200, 100)

    assert text_of(draw) == "\n".join(LEFT)


@pytest.mark.parametrize("lower", [0, 4], ids=["level", "one side lower"])
def test_columns_drawn_row_by_row_are_read_one_after_the_other(lower: int) -> None:
    def draw(canvas: Canvas) -> None:
        for at, (left, right) in enumerate(zip(LEFT, RIGHT, strict=True)):
            canvas.drawString(50, 700 - 14 * at, left)
            canvas.drawString(320, 700 - 14 * at - lower, right)

    assert text_of(draw) == "\n".join([*LEFT, *RIGHT])


def test_three_columns() -> None:
    columns = [
        ["Rain fell for nine", "days on the hills and", "the stream at Rook", "rose by two metres."],
        ["The ferry could not", "land, so the post was", "carried over the old", "rope bridge instead."],
        ["Schools opened in", "time, for the bakers", "of the valley had kept", "the road free of ice."],
    ]

    def draw(canvas: Canvas) -> None:
        for row in range(4):
            for at, column in enumerate(columns):
                canvas.drawString(50 + 170 * at, 700 - 14 * row, column[row])

    assert text_of(draw) == "\n".join(line for column in columns for line in column)


def test_a_table_keeps_its_rows_and_a_tab_parts_its_cells() -> None:
    rows = [["Part", "Price", "Shelf"], *([f"bolt {n:03}", f"{n}.50", f"Shelf {n % 7}"] for n in range(60))]
    out = io.BytesIO()
    SimpleDocTemplate(out).build([Table(rows)])
    lines = pdf.parse(out.getvalue()).text.replace("\f", "").split("\n")
    assert [line for line in lines if line] == ["\t".join(row) for row in rows]


def test_text_at_the_side_is_a_line_of_its_own() -> None:
    def draw(canvas: Canvas) -> None:
        put(canvas, LEFT)
        canvas.saveState()
        canvas.translate(30, 300)
        canvas.rotate(90)
        canvas.drawString(0, 0, "Draft of the council")
        canvas.restoreState()

    assert text_of(draw) == "\n".join([*LEFT, "Draft of the council"])


# --- words and figures


def test_a_hyphen_of_its_own_stays_and_a_broken_word_is_whole() -> None:
    lines = [
        "The part XJ-", "4410 of the exam-", "ple is a well-", "known one: the well-known COVID-", "19 years, 2019-",
        "2020, and the North-", "South line.",
    ]  # fmt: skip
    joined = "The part XJ-4410 of the example is a well-known one: the well-known COVID-19 years, 2019-2020, "
    assert text_of(lambda canvas: put(canvas, lines)) == joined + "and the North-South line."


def test_soft_hyphens_and_a_dash_at_the_end_of_a_line() -> None:
    assert whole_words("Stra\xadßen\xad\nbahn, a dash -\nand more") == "Straßenbahn, a dash -\nand more"


def test_bold_that_was_printed_twice_stands_once() -> None:
    def draw(canvas: Canvas) -> None:
        put(canvas, ["All off: a balloon offer", "Then a line."])
        put(canvas, ["All off: a balloon offer"], x=60.4)

    assert text_of(draw) == "All off: a balloon offer\nThen a line."


def test_raised_figures_make_no_other_number() -> None:
    def draw(canvas: Canvas) -> None:
        text = canvas.beginText(60, 700)
        for word, rise in (
            ("10", 0),
            ("6", 4),
            (" litres", 0),
            ("3", 4),
            (" of H", 0),
            ("2", -2),
            ("O on 45 m", 0),
            ("2", 4),
        ):
            text.setRise(rise)
            text.setFont("Helvetica", 6 if rise else 10)
            text.textOut(word)
        canvas.drawText(text)

    assert text_of(draw) == "10^6 litres^3 of H2O on 45 m^2"


def test_lam_and_alef_of_one_sign_stand_in_the_order_of_speech() -> None:
    place = (10.0, 0.0, 16.0, 12.0)
    found = _lam_alef([Char("خ", 16, 0, 20, 12), Char("ا", *place), Char("ل", *place), Char("ل", 4, 0, 9, 12)])
    assert "".join(char.text for char in found) == "خلال"


# --- fields, comments, fonts


def test_what_was_filled_in_stands_behind_its_label() -> None:
    def draw(canvas: Canvas) -> None:
        put(canvas, ["Owner:", "Insured:", "Colour:", "Paid:"], step=40)
        form = canvas.acroForm
        form.textfield(name="owner", value="Ilse Tannhof", x=160, y=692, width=200, height=20)
        form.checkbox(name="insured", checked=True, x=160, y=655, size=16)
        form.choice(name="colour", value="teal", options=["teal", "ochre"], x=160, y=612, width=100, height=20)
        form.checkbox(name="paid", checked=False, x=160, y=575, size=16)

    assert text_of(draw).split("\n") == ["Owner:\tIlse Tannhof", "Insured:\t[x]", "Colour:\tteal", "Paid:\t[ ]"]


def test_a_comment_is_text() -> None:
    def draw(canvas: Canvas) -> None:
        put(canvas, ["The gate is open."])
        canvas.textAnnotation("Ask Brunhild.", (300, 690, 320, 710))
        canvas.freeTextAnnotation("Closed on 3 May", (60, 600, 200, 630))

    assert text_of(draw) == "The gate is open. Ask Brunhild.\nClosed on 3 May"


@pytest.mark.parametrize(
    ("font", "text"),
    [
        ("STSong-Light", "河水在夜里上涨。"),
        ("HeiseiMin-W3", "夜の間に川が増水した。"),
        ("HYSMyeongJo-Medium", "강물이 밤에 불어났다."),
    ],
)
def test_a_font_that_is_not_embedded_is_read_by_its_encoding(font: str, text: str) -> None:
    def draw(canvas: Canvas) -> None:
        put(canvas, ["Flood report"])
        pdfmetrics.registerFont(UnicodeCIDFont(font))
        canvas.setFont(font, 12)
        canvas.drawString(60, 600, text)

    assert text in text_of(draw)


# --- what is not there


def scanned(canvas: Canvas, stamp: str = "") -> None:
    canvas.drawImage(ImageReader(Image.new("RGB", (60, 80), "gray")), 0, 0, 600, 800)
    canvas.drawString(60, 30, stamp)
    canvas.showPage()
    canvas.setFont("Helvetica", 10)


def half(canvas: Canvas) -> None:
    put(canvas, ["First page of the minutes."])
    canvas.showPage()
    canvas.setFont("Helvetica", 10)
    scanned(canvas)
    canvas.showPage()  # an empty page is no loss
    canvas.setFont("Helvetica", 10)
    scanned(canvas, "Scanned by Foo")
    put(canvas, ["Last page of the minutes."])


def test_pages_that_are_pictures_are_named(tmp_path: Path) -> None:
    told = "2 of 5 pages are pictures without text, which need OCR first: 2, 4"
    assert pdf.parse(made(half)).unread == told
    (tmp_path / "minutes.pdf").write_bytes(made(half))
    (tmp_path / "whole.pdf").write_bytes(made(lambda canvas: put(canvas, LEFT)))
    (table,) = folders.read(local(tmp_path, named="x"), data=Data(source="x"), contract=DOCUMENTS)
    assert {record.place: record.values.get("unread") for record in table.records} == {
        "minutes.pdf": told, "whole.pdf": None,
    }  # fmt: skip


def test_a_scan_is_refused() -> None:
    def draw(canvas: Canvas) -> None:
        scanned(canvas)
        scanned(canvas)

    with pytest.raises(Unreadable, match="no text on any of its 3 pages"):
        pdf.parse(made(draw))


@pytest.mark.parametrize("title", ["(anonymous)", "untitled", "Microsoft Word - draft3.doc"])
def test_a_title_that_says_nothing_is_none(title: str) -> None:
    def draw(canvas: Canvas) -> None:
        canvas.setTitle(title)
        put(canvas, ["x"])

    assert pdf.parse(made(draw)).title == ""
