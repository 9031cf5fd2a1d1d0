"""The reader long_text: a book in pieces that add up to it, numbered in its order."""

from __future__ import annotations

from pathlib import Path

from core.schema.data import Data
from pipelines.sources._files import Files, Record
from pipelines.sources._opening import MAX_CHARS
from pipelines.sources.readers.published import long_text
from pipelines.tasks import find_task


def records(folder: Path) -> list[Record]:
    contract = find_task("causal_language_modeling").contract
    read = long_text.read(Files(folder), data=Data(source=str(folder)), contract=contract)
    return [record for table in read for record in table.records]


def test_the_pieces_of_a_text_are_its_paragraphs_and_add_up_to_it(tmp_path: Path) -> None:
    verse = "".join(f"A line of verse that has number {at} in it,\n" for at in range(10)) + "\n"
    prose = "A sentence of a letter without a blank line.\r\n" * 100
    (tmp_path / "one.txt").write_text(verse * 12, newline="")
    (tmp_path / "two.txt").write_text(prose + "The end", newline="")
    found = records(tmp_path)
    texts = [record.values["text"] for record in found]
    assert "".join(texts) == verse * 12 + prose.replace("\r\n", "\n") + "The end"
    assert [record.values["piece"] for record in found] == list(range(len(found)))
    assert all(text.endswith("\n\n") for text in texts[:4]), "a piece ends where a paragraph does"
    assert max(map(len, texts)) < long_text.MOST_CHARS + 100
    assert [found[1].place, found[4].place] == ["one.txt:34", "two.txt:1"]


def test_what_is_no_text_is_a_fault_and_blank_lines_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(
        b"good\n" + b"\xff\n" * 1100 + b"x" * (MAX_CHARS + 9) + b"\n" + b"\n" * 2100 + b"end\n"
    )
    found = records(tmp_path)
    assert next(record.fault for record in found if record.fault) == "not UTF-8 (byte 5)"
    assert any("at most" in (record.fault or "") for record in found)
    assert any(record.left_out for record in found)
    assert found[-1].values["text"].strip() == "end"
    numbered = [record.values["piece"] for record in found if "piece" in record.values]
    assert numbered == list(range(len(numbered)))
