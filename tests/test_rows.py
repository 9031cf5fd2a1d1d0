"""Tables as they come: quotes that nothing closes, other delimiters, odd heads, JSON arrays, sheets, odd file names."""

from __future__ import annotations

import datetime
import io
import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.errors import BadData, BadRequest
from core.schema.columns import DOCUMENTS, Column, Contract
from core.schema.data import Data
from flows.terminal.inputs import Read, read_inputs
from pipelines.sources._files import Files, Record, local
from pipelines.sources._parsing import Parsers
from pipelines.sources.readers import holds_documents, reader_file, tables

TEXTS = Contract({"text": Column("text"), "label": Column("category")}, inputs=("text",), targets=("label",))
ROWS = [f"a text of row {number},ask" for number in range(60)]
Cells = list[tuple[Any, Any]]


def read(path: Path, content: str | bytes | None = None, *, contract: Contract = TEXTS, **data: Any) -> Found:
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    section = Data(source=str(path), **data)
    reader, files = reader_file(section.source, section.reader), Files(path.parent, (path,))
    assert reader is not None
    found, notes = list[Record](), list[str]()
    for table in tables(reader, files, data=section, contract=contract):
        found += table.records
        notes += table.notes
    return Found(found, notes)


class Found:
    """What a reader made of a file."""

    def __init__(self, records: list[Record], notes: list[str]) -> None:
        self.records, self.notes = records, notes
        self.rows: list[Mapping[str, Any]] = [each.values for each in records if not each.fault and not each.left_out]
        self.faults = {each.place.rpartition(":")[2]: each.fault for each in records if each.fault}
        self.left_out = [each.left_out for each in records if each.left_out]

    @property
    def cells(self) -> Cells:
        return [(row.get("text"), row.get("label")) for row in self.rows]


def lines(*rows: str, head: str = "text,label") -> str:
    return "\n".join([head, *rows]) + "\n"


# --- quotes


@pytest.mark.parametrize(
    ("number", "row", "bad"),
    [
        (20, '"a text of row 20,ask', {22}),  # nothing closes it
        (20, 'a text of row 20,"ask', {22}),
        (20, '"a text of "row" 20,ask', {22}),
        (20, 'a text, of row 20,"ask', {22}),
        (59, '"a text of row 59,ask', {61}),
    ],
)
def test_an_open_quote_costs_its_own_row(tmp_path: Path, number: int, row: str, bad: set[int]) -> None:
    found = read(tmp_path / "a.csv", lines(*ROWS[:number], row, *ROWS[number + 1 :]))
    assert {int(line) for line in found.faults} == bad and len(found.rows) == 59


@pytest.mark.parametrize(
    ("later", "bad"),
    [
        ('"a text, quoted",ask', {22}),
        ('", or so it goes",ask', {22}),
        ('a text,"ask, or so"', {22}),
        ('a text of row 40,"', {22, 42}),  # both quotes are stray, and csv finds sound what lies between them
        ('a text of row 40"', {22, 42}),
    ],
)
def test_a_quote_that_another_row_closes_far_below_costs_no_row_between(
    tmp_path: Path, later: str, bad: set[int]
) -> None:
    first = 'a text of row 20,"' if later.endswith(',"') else '"a text of row 20,ask'
    found = read(tmp_path / "a.csv", lines(*ROWS[:20], first, *ROWS[21:40], later, *ROWS[41:]))
    assert {int(line) for line in found.faults} == bad
    assert [text for text, _ in found.cells if text.startswith("a text of row")] == [
        row.partition(",")[0] for at, row in enumerate(ROWS) if at not in (20, 40)
    ]


def test_texts_of_many_lines_stay_whole(tmp_path: Path) -> None:
    texts = [
        "\n".join(f"Dear all, this is line {line}" for line in range(200)),
        "name,age\nbob,3",
        'She said "yes",\nand left,\nat once, too,\nby train, alone,\nto Rome, Italy',
        "\n\n\n",
        "12 Main St\nSpringfield, IL\nUSA, Earth\nMilky Way, north",
    ]
    rows = [f'"{text.replace(chr(34), 2 * chr(34))}",ask' for text in texts for _ in range(5)]
    found = read(tmp_path / "a.csv", lines(*rows))
    assert not found.faults and [text for text, _ in found.cells] == [text for text in texts for _ in range(5)]


def test_lines_of_a_broken_text_are_bad_rows_each_and_none_becomes_a_row(tmp_path: Path) -> None:
    broken = ['"He said "hi" to', "me, and went", 'home",ask']
    found = read(tmp_path / "a.csv", lines(*ROWS[:5], *broken, *ROWS[5:]))
    assert set(found.faults) == {"7", "8", "9"} and found.cells == [tuple(row.split(",")) for row in ROWS]


def test_in_one_column_single_lines_are_told_from_long_texts(tmp_path: Path) -> None:
    only = Contract({"text": Column("text")}, inputs=("text",))
    single = [f"a text of row {number}" for number in range(300)]
    found = read(tmp_path / "a.csv", lines(*single[:20], '"open', *single[20:], head="text"), contract=only)
    assert set(found.faults) == {"22"} and len(found.rows) == 300
    closed = [*single[:20], '"open', *single[20:200], 'closed"', *single[200:]]
    found = read(tmp_path / "a.csv", lines(*closed, head="text"), contract=only)
    assert len(found.rows) + len(found.faults) == 302 and len(found.rows) >= 300
    long = [f'"{chr(10).join(single)}"'] * 12
    assert len(read(tmp_path / "a.csv", lines(*long, head="text"), contract=only).rows) == 12


# --- heads and delimiters


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_another_delimiter_is_told_by_the_needed_columns(tmp_path: Path, delimiter: str) -> None:
    found = read(tmp_path / "a.csv", f"text{delimiter}label{delimiter}n\nbig, red{delimiter}ask{delimiter}1,5\n")
    assert found.cells == [("big, red", "ask")] and found.notes == [f"a.csv: its fields are separated by {delimiter!r}"]
    given = read(tmp_path / "b.csv", "text^label\nbig, red^ask\n", delimiter="^")
    assert given.cells == [("big, red", "ask")] and not given.notes
    assert read(tmp_path / "c.csv", "sep=;\ntext;label\nbig, red;ask\n").cells == [("big, red", "ask")]


def test_a_comma_stays_the_delimiter_where_the_columns_are_there(tmp_path: Path) -> None:
    found = read(tmp_path / "a.csv", "text,label,a;b;c;d\nx;y,ask,1;2;3;4\n")
    assert found.rows == [{"text": "x;y", "label": "ask", "a;b;c;d": "1;2;3;4"}] and not found.notes


@pytest.mark.parametrize("wrong", ["", "ab", '"', "\n"])
def test_a_delimiter_is_one_character(wrong: str) -> None:
    with pytest.raises(ValueError, match="delimiter"):
        Data(source="a.csv", delimiter=wrong)


def test_columns_that_cannot_be_named_are_left_out_and_said(tmp_path: Path) -> None:
    found = read(tmp_path / "a.csv", ",text,n,n,label,\n0,x,1,2,ask,\n")
    assert found.rows == [{"text": "x", "label": "ask"}]
    assert "without a name are left out: number 1, number 6" in found.notes[0] and "'n'" in found.notes[1]
    with pytest.raises(BadRequest, match=r"b.csv:1: column 'label' stands there twice"):
        read(tmp_path / "b.csv", "text,label,label\nx,1,2\n")
    pq.write_table(
        pa.Table.from_arrays([pa.array(["x"]), pa.array([1]), pa.array([2])], ["text", "n", "n"]),
        tmp_path / "c.parquet",
    )
    only = Contract({"text": Column("text")}, inputs=("text",))
    assert read(tmp_path / "c.parquet", contract=only).rows == [{"text": "x"}]
    found = read(tmp_path / "d.jsonl", '{"text": "x", "label": "ask", "": 1, "n": 1, "n": 2}\n{"text": 1, "text": 2}\n')
    assert found.rows == [{"text": "x", "label": "ask"}] and len(found.notes) == 2
    assert found.faults == {"2": "'text' stands there twice"}


def test_marks_and_line_ends(tmp_path: Path) -> None:
    assert read(tmp_path / "a.csv", b'\xef\xbb\xbf"text","label"\r\n"x","ask"\r\n').cells == [("x", "ask")]
    assert read(tmp_path / "b.csv", "text,label\rx,ask\ry,buy\r").cells == [("x", "ask"), ("y", "buy")]
    found = read(tmp_path / "c.csv", "text,label\nx\ry,ask\nz,buy\n")
    assert found.cells == [("z", "buy")] and "carriage return" in str(found.faults["2"])
    found = read(tmp_path / "d.csv", b"text,label\nx\0y,ask\n" + b"\0" * 500 + b"\nz,buy\n")
    assert found.cells == [("z", "buy")] and "NUL" in str(found.faults["2"])
    with pytest.raises(BadRequest, match="UTF-16 perhaps"):
        read(tmp_path / "e.csv", "text,label\nx,ask\n".encode("utf-16-le"))
    joined = read(tmp_path / "f.csv", b"\ntext,label\nx,ask\n\xef\xbb\xbftext,label\n,\n  \ny,buy\n\n")
    assert joined.cells == [("x", "ask"), ("y", "buy")]
    assert joined.left_out == ["header again", "blank", "blank", "blank"]


# --- JSON


@pytest.mark.parametrize(
    "content",
    [
        '[{"text": "x", "label": "ask", "m": {}},\n {"text": "y", "label": "buy"}]',
        '{"text": "x", "label": "ask"}\n\n{"text": "y", "label": "buy"}\n',
        '{\n "text": "x",\n "label": "ask"\n}\n{"text": "y",\n "label": "buy"}',
        '\ufeff[{"text": "x", "label": "ask"}, {"text": "y", "label": "buy"}]\n',
    ],
)
def test_json_files_of_every_form(tmp_path: Path, content: str) -> None:
    assert read(tmp_path / "a.json", content).cells == [("x", "ask"), ("y", "buy")]


def test_a_json_array_that_is_large_or_broken(tmp_path: Path) -> None:
    many = [{"text": f"a text {'ü' * 40} {number}", "label": "ask", "n": number * 1000} for number in range(5000)]
    assert read(tmp_path / "a.json", json.dumps(many, ensure_ascii=False)).rows == many
    assert read(tmp_path / "b.json", json.dumps([*many[:2], 3, None])).faults.keys() == {"1"}
    for content, says in (('[{"text": "x"} {', "expecting ','"), ('[{"text": "x"}', "not closed"), ("[[", "Expecting")):
        with pytest.raises(BadRequest, match=rf"c.json:1: not JSON \(.*{says}"):
            read(tmp_path / "c.json", content)


# --- sheets and Parquet


def book(path: Path, **sheets: Sequence[Sequence[Any]]) -> openpyxl.Workbook:
    made = openpyxl.Workbook()
    made.remove(made.active)
    for name, rows in sheets.items():
        sheet = made.create_sheet(name)
        for row in rows:
            sheet.append(row)
    made.save(path)
    return made


def test_cells_of_a_sheet_keep_their_values(tmp_path: Path) -> None:
    day = datetime.date(2026, 3, 1)
    rows: list[list[Any]] = [
        [None, "text", "label", "when", "n"],
        [1, "00123", 3.0, day, 0.1], [2, "1e5", 1, None, 12], [None] * 5, [3, 2024, "x", None, "12"],
    ]  # fmt: skip
    book(tmp_path / "a.xlsx", First=rows, Other=[["a"], [1]], Empty=[])
    found = read(tmp_path / "a.xlsx")
    assert [(each["text"], each["label"]) for each in found.rows] == [("00123", 3), ("1e5", 1), ("2024", "x")]
    assert isinstance(found.rows[0]["label"], int)
    assert [each["n"] for each in found.rows] == [0.1, 12, "12"] and found.rows[0]["when"] == day
    assert found.left_out == ["blank"] and found.records[0].place == "a.xlsx:First:2"
    assert "without a name" in found.notes[0] and "Other, Empty" in found.notes[1]


def test_a_number_that_a_sheet_cannot_hold_is_a_fault_where_it_is_an_id(tmp_path: Path) -> None:
    book(tmp_path / "a.xlsx", A=[["text", "label", "n"], [12345678901234567890, "x", 1e20], ["y", "x", 1e20]])
    found = read(tmp_path / "a.xlsx")
    assert list(found.faults) == ["2"] and found.rows[0]["n"] == 1e20


def test_every_sheet_with_the_columns_is_read_and_merged_cells_share_their_value(tmp_path: Path) -> None:
    made = book(
        tmp_path / "a.xlsx", A=[["text", "label"], ["x", "ask"], ["y"], ["z"]], B=[["label", "text"], ["buy", "w"]]
    )
    made["A"].merge_cells("B2:B4")
    made["A"].merge_cells("D2:D4")  # of empty cells, right of all that hold something
    made["B"].sheet_state = "visible"
    made.save(tmp_path / "a.xlsx")
    assert read(tmp_path / "a.xlsx").cells == [("x", "ask"), ("y", "ask"), ("z", "ask"), ("w", "buy")]


@pytest.mark.parametrize("content", [b"PK\x03\x04 torn", b"text,label\nx,ask\n"])
def test_what_is_no_workbook_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(BadRequest, match=r"a.xlsx: not a workbook"):
        read(tmp_path / "a.xlsx", content)
    with pytest.raises(BadData, match="empty"):
        read(tmp_path / "a.xlsx", b"")


def test_types_of_parquet(tmp_path: Path) -> None:
    columns = {
        "text": pa.array(["x", "y"]).dictionary_encode(),
        "label": pa.array([Decimal("1"), Decimal("2")], pa.decimal128(5, 0)),
        "price": pa.array([Decimal("1.50"), None], pa.decimal128(5, 2)),
        "at": pa.array([1, 10**9], pa.timestamp("ns")),
        "far": pa.array([10**13, 0], pa.timestamp("s")),
        "tags": pa.array([["a"], []]), "empty": pa.array([{}, {}], pa.struct([])),
    }  # fmt: skip
    del columns["empty"]  # Parquet has no objects without names
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    found = read(tmp_path / "a.parquet")
    assert found.cells == [("x", 1), ("y", 2)] and found.rows[0]["price"] == Decimal("1.50")
    assert found.rows[0]["at"] == "1970-01-01T00:00:00.000000001" and found.rows[1]["at"] == datetime.datetime(
        1970, 1, 1, 0, 0, 1
    )
    assert found.rows[0]["far"] == "10000000000000000 ms after 1970-01-01" and found.rows[0]["tags"] == ["a"]


# --- names


@pytest.mark.parametrize(
    "name",
    ["Orders (final) #2.csv", "50% off?.csv", "a%2Fb.csv", "[old] é.csv", "e\u0301.csv", "日本 語.csv", "a&b;c=d.csv"],
)
def test_a_files_name_is_taken_as_it_is(tmp_path: Path, name: str) -> None:
    from pipelines.sources import find_source

    assert read(tmp_path / name, lines("x,ask")).cells == [("x", "ask")]
    data = Data(source=name)
    fetched = find_source(name).fetch(data, tmp_path, downloads=tmp_path, identity={})
    assert isinstance(fetched, Files) and [each.name for each in fetched] == [name]
    address = (tmp_path / name).as_uri()
    again = find_source(address).fetch(Data(source=address), tmp_path, downloads=tmp_path, identity={})
    assert isinstance(again, Files) and [each.name for each in again] == [name] and reader_file(address, None)


def test_a_name_composed_in_another_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "e\u0301.csv").write_text("text\n")
    with pytest.raises(BadRequest, match=r"no such file.* is there, its accents composed in another way"):
        local(tmp_path / "\u00e9.csv", named="\u00e9.csv")


def test_an_address_is_read_by_its_path() -> None:
    for address in (
        "https://a/b/rows.csv?x=1#y",
        "https://a/b/rows%231.csv",
        "s3://a/rows.csv?versionId=1",
        "s3://a/#1.csv",
    ):
        found = reader_file(address, None)
        assert found is not None and found.stem == "csv"


# --- predict


def predicted(path: Path, *, contract: Contract = TEXTS, **data: Any) -> list[Any]:
    section = Read(Data(source="", **data), contract)
    return read_inputs([str(path)], columns=["text"], media=False, stdin=io.StringIO(), trained_on=lambda: section)


def test_predict_reads_with_the_recipes_columns_delimiter_and_encoding(tmp_path: Path) -> None:
    told: dict[str, Any] = {"columns": {"text": "Größe", "label": "l"}, "encoding": "latin-1", "delimiter": "^"}
    (tmp_path / "a.csv").write_bytes("Größe^l\nein, zwei^x\n".encode("latin-1"))
    assert predicted(tmp_path / "a.csv", **told) == ["ein, zwei"]
    (tmp_path / "b.csv").write_bytes("n^Größe\n1^vier\n".encode("latin-1"))  # nobody has labels yet
    assert predicted(tmp_path / "b.csv", **told) == ["vier"]
    (tmp_path / "c.csv").write_bytes("text^n\nfünf^1\n".encode("latin-1"))
    assert predicted(tmp_path / "c.csv", **told) == ["fünf"]
    (tmp_path / "d.csv").write_text("text,label\na, and b,x\n")
    with pytest.raises(BadRequest, match=r"d.csv:2: 3 fields where the header has 2"):
        predicted(tmp_path / "d.csv")


def test_predict_takes_every_kind_of_table(tmp_path: Path) -> None:
    book(tmp_path / "a.xlsx", A=[["label", "text"], ["x", "00123"], ["y", 7]])
    (tmp_path / "b.json").write_text('[{"text": "00123"}, {"text": "7"}]')
    (tmp_path / "c.csv").write_bytes(b"\xef\xbb\xbflabel;text\r\nx;00123\r\n\r\ny;7\r\n")
    pq.write_table(pa.table({"text": ["00123", "7"]}), tmp_path / "d.parquet")
    for path in sorted(tmp_path.iterdir()):
        assert predicted(path) == ["00123", "7"], path


# --- among documents


def test_tables_among_documents_have_the_same_reader(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("Name;Preis\nApfel;3,50\n", encoding="utf-8")
    book(tmp_path / "b.xlsx", A=[["text"], ["one"]], B=[["k", "v"], ["x", 2]])
    files, data, found = Files(tmp_path), Data(source="."), dict[str, list[str | None]]()
    with Parsers() as parsers:
        for each in files:
            notes = list[str]()
            found[each.name] = [row.values["text"] for row in parsers.rows(each, files.folder, data, notes)]
    assert found == {"a.csv": ["Name: Apfel\nPreis: 3,50"], "b.xlsx": ["one", "k: x\nv: 2"]}
    assert holds_documents("a.xlsx") and not holds_documents("a.json") and DOCUMENTS.inputs == ("text",)
