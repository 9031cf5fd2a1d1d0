"""What a row leaves behind, found in files of every kind, and taken out of those that stay."""

from __future__ import annotations

import base64
import gzip
import html
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.workspace import Workspace
from flows.forget.redact import redact, scrub_database
from flows.forget.row_copies import Traces, of_row
from flows.forget.swept_files import Sweep

TEXT = 'Anna Kolbe of Ulm said: "it was rather long",\nand left. Für immer, she wrote to anna.kolbe@example.org.'
COMMON = "All rights reserved by the publisher of this text."


def row(text: str, row_id: str = "7", **more: Any) -> dict[str, Any]:
    return {"row_id": row_id, "content_hash": "c", "place": "rows.csv:7", "fault": None, "text": text, **more}


def table(*texts: str) -> pa.Table:
    return pa.Table.from_pylist([row(text, str(at)) for at, text in enumerate(texts)])


@pytest.fixture
def traces() -> Traces:
    return of_row(row(f"{TEXT} {COMMON}"), table("another text", f"a third one. {COMMON}"), media=None)


def test_pieces_are_those_that_no_other_row_has(traces: Traces) -> None:
    assert {"Anna Kolbe of Ulm said:", "it was rather long", "and left. Für immer, she"} <= traces.texts
    assert not [piece for piece in traces.texts if piece in COMMON]
    assert {"Anna", "Kolbe"} - traces.words == {"Anna"}  # four letters: no word to search for
    assert "rights" not in traces.words
    assert of_row(row("brilliant"), table("other"), media=None).texts == frozenset()  # a vocabulary may have it


@pytest.mark.parametrize(
    "written",
    [
        TEXT, json.dumps({"said": TEXT}), json.dumps({"said": TEXT}, ensure_ascii=False), repr(TEXT), html.escape(TEXT),
        TEXT.replace('"', '""'), f"{repr(TEXT)[:40]}... (9,000 characters)",
        "... Für immer, she wrote to anna.kolbe@example.",
    ],
)  # fmt: skip
def test_text_is_found_however_it_is_written(tmp_path: Path, traces: Traces, written: str) -> None:
    file, packed = tmp_path / "x.log", tmp_path / "x.gz"
    file.write_text(f"x{written}y")
    packed.write_bytes(gzip.compress(f"{'x' * (1 << 22)}{written}y".encode()))
    assert (traces.in_file(file), traces.in_file(packed)) == ("text", "text")
    assert redact(file, traces)
    assert traces.in_file(file) is None
    file.write_text("Anna wrote.")
    assert traces.in_file(file) is None


def test_tables_are_asked_by_id(tmp_path: Path, traces: Traces) -> None:
    def held(name: str, rows: list[dict[str, Any]], metadata: dict[bytes, bytes] | None = None) -> str | None:
        file = tmp_path / name
        pq.write_table(pa.Table.from_pylist(rows).replace_schema_metadata(metadata), file)
        return traces.in_file(file)

    assert held("a", [row(TEXT), row("other", "8")]) == "row"
    assert held("b", [row(TEXT, "8")]) == "other"  # by another id
    assert held("c", [{"row_id": "7", "predicted": "pos"}], {b"headrace": b"{}"}) == "said"
    assert held("d", [{"row_id": "8", "predicted": TEXT}], {b"headrace": b"{}"}) == "text"
    assert held("e", [{"review": TEXT}]) == "text"  # a source of the user's
    assert held("f", [{"row_id": "8", "text": "other"}]) is None
    known = traces | Traces(documents=frozenset({"d/7.txt"}), keys=frozenset({"k7"}))
    pq.write_table(pa.table({"key": ["k6", "k7"], "vector": [[1.0], [2.0]]}), tmp_path / "g")
    pq.write_table(pa.table({"document": ["d/7.txt"], "text": ["no"]}), tmp_path / "h")
    assert (known.in_file(tmp_path / "g"), known.in_file(tmp_path / "h")) == ("row", "row")
    with (
        pa.OSFile(str(tmp_path / "i"), "wb") as file,
        pa.ipc.new_file(file, pa.schema([("row_id", pa.string())])) as out,
    ):
        out.write_table(pa.table({"row_id": ["7"]}))
    assert traces.in_file(tmp_path / "i") == "row"


def test_a_picture_is_found_as_a_file_and_in_base64(tmp_path: Path) -> None:
    picture = tmp_path / "one.png"
    picture.write_bytes(b"\x89PNG" + bytes(range(256)) * 4)
    found = of_row(row("", path="media/one.png"), table("x"), media=picture)
    assert found.in_file(picture) == "row"
    example = tmp_path / "input_example.json"
    example.write_text(json.dumps({"data": [[base64.b64encode(picture.read_bytes()).decode()], ["other"]]}))
    assert found.in_file(example) == "text"
    assert redact(example, found)
    assert json.loads(example.read_text()) == {"data": [["(forgotten)"], ["other"]]}


def test_a_database_is_rewritten_with_what_it_deleted(tmp_path: Path, traces: Traces) -> None:
    file = tmp_path / "prefect.db"
    with closing(sqlite3.connect(file, isolation_level=None)) as store:
        store.execute("PRAGMA journal_mode = WAL")
        store.execute("CREATE TABLE state (id TEXT PRIMARY KEY, data JSON, times INTEGER)")
        rows = [("a", json.dumps({"message": TEXT, "other": "stays"}), 3), ("b", TEXT, 1), ("c", "stays", 2)]
        store.executemany("INSERT INTO state VALUES (?, ?, ?)", rows)
        store.execute("DELETE FROM state WHERE id = 'b'")
        assert traces.in_file(file) or traces.in_file(file.with_name("prefect.db-wal"))
        scrub_database(file, traces)
        found = store.execute("SELECT * FROM state ORDER BY id").fetchall()
    assert json.loads(found[0][1]) == {"message": "(forgotten)", "other": "stays"}
    assert found[1] == ("c", "stays", 2)
    assert not [path for path in tmp_path.iterdir() if path.stat().st_size and traces.in_file(path)]


@pytest.mark.parametrize(
    ("place", "action", "target"),
    [
        ("data/models/a/validated/quarantine.parquet", "remove", "data/models/a/validated"),
        ("data/models/a/evaluation/report.md", "remove", "data/models/a/evaluation/report.md"),
        ("data/models/a/model/tokenizer.json", "keep", "data/models/a/model/tokenizer.json"),
        ("var/mlflow/artifacts/a/models/m-1/artifacts/input_example.json", "rewrite", None),
        ("var/mlflow/artifacts/a/models/m-1/artifacts/artifacts/model/vocab.txt", "keep", None),
        ("var/mlflow/mlflow.db-wal", "scrub", "var/mlflow/mlflow.db"),
        ("var/downloads/0f/rows.csv", "remove", "var/downloads/0f"),
        ("var/logs/stages/validate@a.log", "remove", "var/logs/stages/validate@a.log"),
        ("var/qdrant/docs/0123456789abcdef/segments/x", "keep", None),
        ("var/prefect/storage/result", "remove", "var/prefect/storage/result"),
        ("var/features/0f.safetensors", "remove", "var/features/0f.safetensors"),
        ("var/mlflow/downloads/m-1/MLmodel", "rewrite", None),
        ("var/locks/gc.lock", "keep", None),  # who holds it would hold a file without a name
        ("var/keys.yaml", "keep", None),  # without it, this machine may ask without a key
        ("var/boot.json", "remove", None),
        ("var/nobody/knows/it", "remove", "var/nobody/knows"),
        ("rows.csv", "keep", "rows.csv"),
    ],
)
def test_what_becomes_of_a_file_is_decided_by_where_it_lies(
    tmp_path: Path, traces: Traces, place: str, action: str, target: str | None
) -> None:
    file = tmp_path / place
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(TEXT)
    ((path, fate),) = Sweep(Workspace(tmp_path), tmp_path / ".dvc/cache/files/md5").look(traces)
    assert (path, fate.action, fate.target) == (file, action, tmp_path / (target or place))
    assert bool(fate.why) == (action == "keep")
