"""The reader conll: sentences of tagged tokens as rows, and every way a line can be wrong."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from core.cells.spans import listed
from core.errors import BadRequest
from core.schema.columns import Column, Contract
from core.schema.data import Data
from pipelines.sources._files import Files, Record
from pipelines.sources._opening import MAX_CHARS
from pipelines.sources.readers import reader_file
from pipelines.sources.readers.published import conll

CONTRACT = Contract({"text": Column("text"), "spans": Column("spans")}, inputs=("text",), targets=("spans",))
Entity = tuple[str, str]


def records(tmp_path: Path, content: str | bytes, *, name: str = "rows.conll", encoding: str = "utf-8") -> list[Record]:
    path = tmp_path / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    data = Data(source=name, encoding=encoding)
    return [
        each for table in conll.read(Files(tmp_path, (path,)), data=data, contract=CONTRACT) for each in table.records
    ]


def entities(record: Record) -> list[Entity]:
    text = record.values["text"]
    return [(text[span.start : span.end], span.label) for span in listed(record.values["spans"])]


WANTED = [("Ann", "per"), ("New York", "loc"), ("Rome", "loc")]


@pytest.mark.parametrize(
    "tags",
    [
        "I-per O I-loc I-loc B-loc",
        "B-per O B-loc I-loc B-loc",
        "S-per O B-loc E-loc S-loc",
        "U-per O B-loc L-loc U-loc",
    ],
    ids=["IOB1", "IOB2", "BIOES", "BILOU"],
)
@pytest.mark.parametrize("separator", [" ", "\t", " NNP I-NP "], ids=["space", "tab", "columns between"])
@pytest.mark.parametrize("end", ["\n", "\r\n"], ids=["LF", "CRLF"])
def test_a_sentence_is_a_row_whatever_the_scheme(tmp_path: Path, tags: str, separator: str, end: str) -> None:
    words = zip(["Ann", "likes", "New", "York", "Rome"], tags.split(), strict=True)
    (row,) = records(tmp_path, end.join(f"{word}{separator}{tag}" for word, tag in words))
    assert row.fault is None
    assert row.values["text"] == "Ann likes New York Rome"
    assert entities(row) == WANTED
    assert row.place == "rows.conll:1"


def test_blank_lines_white_space_and_docstart_end_a_sentence(tmp_path: Path) -> None:
    text = "-DOCSTART- -X- -X- O\n\na O\n\t\nb O\n \n\n\nc O\n-DOCSTART- O\nd O"
    rows = records(tmp_path, text)
    assert [(row.values["text"], row.place) for row in rows] == [
        ("a", "rows.conll:3"), ("b", "rows.conll:5"), ("c", "rows.conll:9"), ("d", "rows.conll:11")
    ]  # fmt: skip
    assert [row.values["spans"] for row in rows] == ["[]"] * 4


def test_a_file_may_be_packed_have_a_byte_order_mark_and_no_last_line_end(tmp_path: Path) -> None:
    (row,) = records(tmp_path, gzip.compress(b"\xef\xbb\xbfAnn\tB-per"), name="rows.conll.gz")
    assert entities(row) == [("Ann", "per")]


def test_a_tab_lets_a_token_have_spaces(tmp_path: Path) -> None:
    (row,) = records(tmp_path, "New York\tB-loc\n!\tO\n")
    assert entities(row) == [("New York", "loc")]
    assert row.values["text"] == "New York !"


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        ("alone", "line 2: one column, where a token and a tag are meant"),
        ("\tB-per", "line 2: '' is no word"),
        ("word\t", "line 2: '' is no tag"),
        ("word B_per", "line 2: 'B_per' is no tag (allowed: O, and B-, I-, E-, S-, L- or U- before a label)"),
        ("word o", "line 2: 'o' is no tag"),
        ("word B-", "line 2: 'B-' is no tag"),
        ("# a comment", "line 2: 'comment' is no tag"),
    ],
)
def test_a_bad_line_makes_its_sentence_a_bad_row(tmp_path: Path, line: str, fault: str) -> None:
    first, second = records(tmp_path, f"a O\n{line}\nb nonsense\n\nc O\n")
    assert first.fault is not None and first.fault.startswith(fault)
    assert first.place == "rows.conll:1"
    assert first.raw == f"a O\n{line}", "what stood there is kept up to the first bad line"
    assert second.values["text"] == "c"


def test_bytes_of_another_encoding_are_told(tmp_path: Path) -> None:
    latin = "Zoë B-per\n\nb O\n".encode("latin-1")
    bad, good = records(tmp_path, latin)
    assert bad.fault == "line 1: not UTF-8 (byte 2)"
    assert good.fault is None
    (row, _) = records(tmp_path, latin, encoding="latin-1")
    assert entities(row) == [("Zoë", "per")]


def test_a_file_without_blank_lines_does_not_fill_the_memory(tmp_path: Path) -> None:
    line = f"{'a' * 1000} O\n"
    (row,) = records(tmp_path, line * (MAX_CHARS // len(line) + 200))
    assert row.fault is not None and "no blank line ends it" in row.fault
    assert row.raw is not None and len(row.raw) < 1.01 * MAX_CHARS


def test_a_line_beyond_all_measure_is_told_and_the_next_sentence_is_read(tmp_path: Path) -> None:
    bad, good = records(tmp_path, f"{'a' * (MAX_CHARS + 1)} O\n\nb O\n")
    assert bad.fault is not None and "a line of 10,485,764 characters" in bad.fault
    assert good.values["text"] == "b"


def test_the_reader_goes_by_the_name_and_refuses_a_web_page(tmp_path: Path) -> None:
    file = reader_file("rows.conll.gz", None)
    assert file is not None and file.stem == "conll"
    with pytest.raises(BadRequest, match="an HTML page where data was expected"):
        records(tmp_path, "<!DOCTYPE html><html>")
