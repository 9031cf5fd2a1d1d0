"""`headrace forget`: afterwards a search of everything finds what the report names as kept, and nothing else."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import random
import signal
import sqlite3
import stat
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.errors import BadRequest
from core.workspace import Workspace as Place
from flows.forget.forget import forget
from flows.forget.forget_report import Touched, document
from flows.forget.places import heirs
from flows.graph.objects import Objects
from flows.lineage.reproduce import reproduce
from pipelines.evidence.evidence import review
from pipelines.search.engine.choice import choose
from pipelines.search.engine.index_receipt import read_receipt
from registry.store import versions
from registry.store.versions import Version
from tests.conftest import TINY_INDEX, Workspace, film_rows, make_tiny
from tests.small_model import ask, trusting

LETTERS = "abcdefghijklmnop"
KILLS = int(os.environ.get("FORGET_KILLS", "1"))


def word(number: int) -> str:
    """A word that no other row has."""
    return "quib" + "".join(LETTERS[int(digit, 16)] for digit in f"{number:04x}")


def content(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


# --- a search that knows nothing of the project -----------------------------------------------------------------------


def readable(path: Path) -> Iterator[bytes]:
    """A file's bytes, and what they stand for where they are packed."""
    data = path.read_bytes()
    yield data
    if data[:4] == b"PAR1":
        yield json.dumps(pq.read_table(path).to_pylist(), default=str).encode()
    elif data[:6] == b"ARROW1":
        yield json.dumps(pa.ipc.open_file(path).read_all().to_pylist(), default=str).encode()
    elif data[:2] == b"\x1f\x8b":
        yield gzip.decompress(data)
    elif ".git/objects" in path.as_posix() and "pack" not in path.parts:
        yield zlib.decompress(data)


def holding(folder: Path, *needles: str) -> set[str]:
    """The files below a folder that have one of these."""
    wanted = [needle.encode() for needle in needles]
    files = (path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix()
        for path in files
        if any(each in found for found in readable(path) for each in wanted)
    }


def is_named(path: str, report: dict[str, Any]) -> bool:
    """Whether a report names a file as kept; copies of one DVC object, here and in a remote, by their hash."""
    kept = [entry["where"] for entry in report["kept"]]
    if path.startswith(".git/objects"):
        return any(where.startswith("git: rows.csv in commits ") for where in kept)
    return path in kept or f"DVC object {''.join(path.split('/')[-2:])}" in kept


# --- the whole of it --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A recipe and an index over rows each of which has a word of its own; run, registered, published, pushed."""
    made = make_tiny(tmp_path_factory.mktemp("forget") / "workspace")
    rows = [{**row, "text": f"{row['text']} {word(at)}"} for at, row in enumerate(film_rows(120))]
    made.write_rows(rows)
    made.write("documents.jsonl", "".join(json.dumps({"id": f"d{at}", "text": r["text"]}) + "\n"
                                          for at, r in enumerate(rows[:8])))  # fmt: skip
    made.write("indexes/docs.yaml", TINY_INDEX)
    made.live(
        recipes={"tiny": {"task": "text_classification", "watch": "rows.csv"}},
        indexes={"docs": {"watch": "documents.jsonl"}},
    )
    assert made.headrace("lock", "docs").returncode == 0
    made.dvc("remote", "add", "-d", "store", str(made.root.parent / "store"))
    done = made.dvc("repro")
    assert done.returncode == 0, done.stderr
    made.git("add", "-A")
    made.git("-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "all of it")
    assert made.dvc("push").returncode == 0
    return made


@pytest.mark.timeout(1500)
@pytest.mark.slow
def test_a_search_finds_what_the_report_names_and_nothing_else(
    trained: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, var, remote = trained.root, trained.root / "var", trained.root.parent / "store"
    split = splits(root)
    documents = [json.loads(line)["text"] for line in (root / "documents.jsonl").read_text().splitlines()]
    text = next(each for each in documents if split.get(content(each)) == "train")
    plant(root, text)
    assert len(holding(root, text)) > 15
    assert holding(remote, text)

    first = report = forgotten(trained, text)
    assert leftovers(root, report, text) == set()
    assert leftovers(remote, report, text) == set()
    assert "run the same again" not in json.dumps(report)
    kept = {entry["where"]: entry["why"] for entry in report["kept"]}
    assert {"rows.csv", "documents.jsonl", "weights of tiny/1"} < kept.keys()
    assert holding(root, text) - {path for path in holding(root, text) if path.startswith(".git/")} == {
        "rows.csv", "documents.jsonl"
    }  # fmt: skip
    tags = versions.resolve("tiny", "1", var).tags
    assert (report["versions"][0]["splits"], "trained_on_forgotten" in tags) == (["train"], True)
    assert any(line.startswith("tiny/1: data/models/tiny/prepared, ") for line in report["not_reproducible"])
    ids = set(pq.read_table(root / "data/models/tiny/raw/examples.parquet")["row_id"].to_pylist())
    assert (content(text) in ids, len(ids)) == (False, 119)
    index = Place(root).job("index", "docs")
    assert choose(Place(root)).count("docs", read_receipt(index)["version"]) == 7
    assert text not in (root / "recipes/tiny.forgotten").read_text() + (root / "indexes/docs.forgotten").read_text()
    with pytest.raises(BadRequest, match=r"tiny/1 cannot be made again: `headrace forget` took rows out of its data"):
        reproduce(Place(root), "tiny", "1")

    # One that was judged on it and shows it as its input example; the work is stopped in the middle.
    example = next((var / "mlflow/artifacts").rglob("input_example.json"))
    other = json.loads(example.read_text())["data"][0][0]
    assert split[content(other)] == "test"
    before = review(versions.resolve("tiny", "1", var), None, var)
    with monkeypatch.context() as patch:
        patch.setattr(Objects, "delete", cut_short)
        with pytest.raises(KeyboardInterrupt, match="as Ctrl-C would"):
            forget(Place(root), content(other), dry_run=False)
    assert stat.S_IMODE(next((var / "forgetting").iterdir()).stat().st_mode) == 0o700
    report = document(forget(Place(root), content(other), dry_run=False), dry_run=False)
    assert not any((var / "forgetting").iterdir())
    for place in (root, remote):
        assert leftovers(place, report, other) == set()
        assert leftovers(place, first, text) == set()
    assert "run the same again" not in json.dumps(report)
    assert report["versions"][0]["splits"] == ["test"]
    assert json.loads(example.read_text())["data"][0] == ["(forgotten)"]
    assert review(versions.resolve("tiny", "1", var), None, var) == before, "its evidence holds as it did"
    answers = ask("tiny", ["a moving film"], var, trusting)
    assert answers.version.version == "1"


@pytest.mark.timeout(1500 + 120 * KILLS)
@pytest.mark.slow
def test_what_a_kill_left_the_same_command_finishes(trained: Workspace) -> None:
    """After the walk above, in the same workspace. Rows of every split, some of them documents of the index."""
    root, chance = trained.root, random.Random(11)
    rows = pq.read_table(root / "data/models/tiny/raw/examples.parquet")["text"].to_pylist()
    *victims, whole = chance.sample(rows, KILLS + 1)
    took_s = killed(trained, content(whole), after_s=None)
    for text in victims:
        after_s = chance.uniform(0, took_s)
        killed(trained, content(text), after_s=after_s)
        done = trained.headrace("forget", content(text), "--json")
        assert done.returncode == 0, (after_s, done.stderr)
        for place in (root, root.parent / "store"):
            assert leftovers(place, json.loads(done.stdout), text) == set(), after_s
        assert not any((root / "var/forgetting").iterdir())
    ids = pq.read_table(root / "data/models/tiny/raw/examples.parquet")["row_id"].to_pylist()
    assert sorted(ids) == sorted(content(text) for text in set(rows) - {*victims, whole}), "other rows went too"


def killed(workspace: Workspace, name: str, *, after_s: float | None) -> float:
    """`headrace forget` in a group of its own that is killed then; without, it must end well. Returns its seconds."""
    start = time.monotonic()
    command = [sys.executable, "-m", "flows.cli", "forget", name]
    running = subprocess.Popen(command, cwd=workspace.root, env=workspace.env, start_new_session=True)
    try:
        assert running.wait(after_s) == 0 or after_s is not None
    except subprocess.TimeoutExpired:
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()
    return time.monotonic() - start


def splits(root: Path) -> dict[str, str]:
    rows = pq.read_table(root / "data/models/tiny/prepared/rows.parquet").to_pylist()
    return {row["row_id"]: row["split"] for row in rows}


def forgotten(workspace: Workspace, text: str) -> dict[str, Any]:
    """By the command: what it would do first, which must change nothing."""
    before = workspace.hashes("data")
    planned = document(forget(Place(workspace.root), content(text), dry_run=True), dry_run=True)
    assert workspace.hashes("data") == before
    done = workspace.headrace("forget", content(text), "--json")
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    assert planned["held_by"] == report["held_by"] == ["recipe tiny", "index docs"]
    assert planned["versions"] == report["versions"]
    return report


def cut_short(*_: Any) -> int:
    raise KeyboardInterrupt("as Ctrl-C would")


def leftovers(folder: Path, report: dict[str, Any], text: str) -> set[str]:
    """The files that have a row's text, or the word that only it has, and that the report does not name."""
    return {path for path in holding(folder, text, text.rpartition(" ")[2]) if not is_named(path, report)}


def plant(root: Path, text: str) -> None:
    """Where else a row's text can be: a stage's log, a downloaded copy of the source, a flow run's message, deleted."""
    log = root / "var/logs/stages/validate@tiny.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text(f"text {text!r} is too long (first: rows.csv:3)\n")
    copy = root / "var/downloads/0f0f/rows.csv.gz"
    copy.parent.mkdir(parents=True)
    copy.write_bytes(gzip.compress(f"text,label\n{text},pos\n".encode()))
    (root / ".dvc/tmp/exps/x").mkdir(parents=True)
    (root / ".dvc/tmp/exps/x/rows.csv").write_text(text)
    (root / "var/prefect/prefect.db").unlink(missing_ok=True)
    with closing(sqlite3.connect(root / "var/prefect/prefect.db", isolation_level=None)) as store:
        store.execute("PRAGMA journal_mode = WAL")
        store.execute("CREATE TABLE flow_run_state (id TEXT PRIMARY KEY, data JSON, message TEXT)")
        store.execute(
            "INSERT INTO flow_run_state VALUES ('a', ?, ?)", (json.dumps({"said": text}), f"first: {text}\nx")
        )
        store.execute("INSERT INTO flow_run_state VALUES ('b', '{}', ?)", (text,))
        store.execute("DELETE FROM flow_run_state WHERE id = 'b'")


# --- what was trained from what


def test_versions_that_were_trained_from_a_marked_one_are_marked_too() -> None:
    def version(name: str) -> Version:
        return Version(name, "1", "run", "model", 0, {}, ())

    mother, judged = (Touched(version(n), frozenset({s}), Path()) for n, s in (("mother", "train"), ("judged", "test")))
    bases = [
        (version("mother"), []), (version("child"), [("mother", "1")]), (version("grandchild"), [("child", "1")]),
        (version("other"), [("mother", "2")]), (version("another"), [("judged", "1")]),
    ]  # fmt: skip
    found = list(heirs([mother, judged], bases))
    assert [(each.version.called, sorted(each.splits), each.tags) for each in found] == [
        ("child/1", ["its base, mother/1"], ["trained_on_forgotten"]),
        ("grandchild/1", ["its base, child/1"], ["trained_on_forgotten"]),
    ]
    assert (mother.tags, judged.tags) == (["trained_on_forgotten", "rows_forgotten"], ["rows_forgotten"])
