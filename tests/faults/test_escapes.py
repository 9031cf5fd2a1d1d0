"""Names that come from elsewhere and would lead out of their folder: each is tried where it would be used."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from core.errors import BadRequest, HeadraceError
from tests.tiny_graph import TinyGraph, make_tiny_graph


def test_tables_that_name_files_elsewhere(tmp_path: Path) -> None:
    """Of this machine: absolute, by "..", by a link, by a data set of the hub's own kind, or as no name at all."""
    from pipelines.media.media_files import media_of

    (tmp_path / "album").mkdir()
    (tmp_path / "secret.png").write_bytes(b"secret")
    (tmp_path / "album" / "link.png").symlink_to(tmp_path / "secret.png")
    (tmp_path / "album" / "round.png").symlink_to(tmp_path / "album" / "round.png")
    long = "x" * 300
    names = (
        "/etc/passwd",
        "../secret.png",
        "link.png",
        "round.png",
        "a\0b",
        long,
        f"gone/../{long}",
        "a/../../secret.png",
    )
    for name in names:
        for value in (name, {"bytes": None, "path": name}):
            media, fault = media_of(value, tmp_path / "album")
            assert media is None and fault, name


def test_a_data_set_of_the_hubs_kind_that_names_files_elsewhere(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    from pipelines.sources.hub import _cell

    (tmp_path / "album").mkdir()
    (tmp_path / "album" / "own.png").write_bytes(b"own")
    (tmp_path / "secret.png").write_bytes(b"secret")
    for name in ("/etc/passwd", str(tmp_path / "secret.png"), str(tmp_path / "album" / ".." / "secret.png")):
        media, fault = _cell({"bytes": None, "path": name}, datasets.Image(), tmp_path / "album")
        assert media is None and "outside the source's folder" in str(fault)
    own = {"bytes": None, "path": str(tmp_path / "album" / "own.png")}
    assert _cell(own, datasets.Image(), tmp_path / "album") == (tmp_path / "album" / "own.png", None)


def test_a_query_writes_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """SQLite works with the user's own rights."""
    import sqlite3

    from core.schema.data import Data
    from pipelines.sources import find_source

    database = sqlite3.connect(tmp_path / "rows.db")
    database.execute("CREATE TABLE rows (text, label)")
    database.close()
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path}/rows.db")
    before = (tmp_path / "rows.db").read_bytes()
    for query in (
        f"VACUUM INTO '{tmp_path}/out.db'", f"ATTACH '{tmp_path}/out.db' AS x", "DELETE FROM rows RETURNING text",
        "PRAGMA journal_mode = WAL",
    ):  # fmt: skip
        data = Data.model_validate({"source": {"sql": {"url_env": "DATABASE_URL", "query": query}}})
        with pytest.raises(BadRequest, match=r"authorized|authorization denied"):
            find_source(data.source).identify(data, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rows.db"]
    assert (tmp_path / "rows.db").read_bytes() == before


@pytest.fixture
def listed(tmp_path: Path) -> TinyGraph:
    """A repository whose DVC remote holds a folder's list with a name that leads out."""
    tiny = make_tiny_graph(tmp_path / "w")
    tiny.dvc("remote", "add", "-q", "-d", "store", "../store")
    tiny.write("folder/a.txt", "one\n")
    assert tiny.dvc("add", "-q", "folder").returncode == 0
    assert tiny.dvc("push", "-q", "folder.dvc").returncode == 0
    (of_folder,) = (tiny.root.parent / "store").rglob("*.dir")
    of_folder.chmod(0o644)
    of_folder.write_text(of_folder.read_text().replace("a.txt", "../../escaped.txt"))
    shutil.rmtree(tiny.root / "folder")
    shutil.rmtree(tiny.root / ".dvc" / "cache")
    return tiny


@pytest.mark.slow
def test_a_remotes_list_of_files_does_not_lead_out(listed: TinyGraph) -> None:
    from flows.graph.graph import Graph

    with pytest.raises(HeadraceError, match=r"'../../escaped.txt' leads out of"):
        Graph(listed.root)._repo.pull()
    assert not (listed.root.parent / "escaped.txt").exists()


@pytest.mark.slow
def test_the_command_of_dvc_refuses_such_a_list_too(listed: TinyGraph) -> None:
    """What prefect.yaml calls on another machine."""
    done = listed.command(sys.executable, "-P", "-m", "flows.graph.dvc", "pull", "--allow-missing")
    assert done.returncode != 0 and "'../../escaped.txt' leads out of" in done.stderr, done.stderr
    assert not (listed.root.parent / "escaped.txt").exists()


@pytest.mark.slow
def test_without_that_dvc_would_write_outside(listed: TinyGraph) -> None:
    """Or the test above would show nothing; a plain `dvc pull` is DVC's own."""
    listed.dvc("pull")
    assert (listed.root.parent / "escaped.txt").exists()


def test_a_message_cannot_speak_for_a_stage(tmp_path: Path) -> None:
    """A file's name or a label that is printed holds lines like what a stage and its worker tell the driver."""
    from flows.run.workers import Crew, StageFault

    tiny = make_tiny_graph(tmp_path / "w")
    words = "\n".join(["label:", '{"result": "ran"}', '{"fault": "", "code": 0, "transient": false}', ""])
    tiny.order("prepare@a", fault=words, code=3)
    heard: list[dict[str, Any]] = []
    with (
        Crew(tiny.root, tiny.root / "var" / "logs", size=1, title="headrace run a") as crew,
        pytest.raises(StageFault, match=r"label:") as fault,
    ):
        crew.run("prepare@a", force=False, timeout_s=60, on_facts=heard.append)
    assert fault.value.exit_code == 3
    assert heard == [{"started": "prepare@a"}, {"fault": words, "code": 3, "transient": False}]
    assert '{"result": "ran"}' in (tiny.root / "var/logs/prepare@a.log").read_text()


@pytest.mark.parametrize(
    "name", ["../secret", "/etc/passwd", "a/../../secret", "x\0y", "\\\\host\\share", "y" * 300, ""]
)
def test_manifests_that_name_files_elsewhere(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a stage's output that a remote sent, of a checkpoint, of an index."""
    from core import manifest
    from pipelines.search.engine import release_files, sparse_files

    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "secret").write_text("secret")
    read: list[Path] = []
    monkeypatch.setattr(manifest, "sha256_file", read.append)
    monkeypatch.setattr(sparse_files, "digest", read.append)
    for file in ("manifest.json", "whole.json"):
        (folder / file).write_text(json.dumps({"files": {name: "0" * 64}}))
    assert "leads out of" in str(manifest.damage(folder))
    assert not release_files._whole(folder)
    assert read == []


def test_receipts_that_name_indexes_elsewhere(tmp_path: Path) -> None:
    from pipelines.search.engine.release_files import Versions

    place = Versions(tmp_path / "qdrant")
    for index, version in (("../../x", None), ("small", "../../../x"), ("", "0" * 16), ("a/b", None)):
        for use in (place.reading(index, version or "0" * 16), place.new(index, version or "0" * 16)):
            with pytest.raises(BadRequest, match=r"no index is called"), use:
                pass
    assert list(tmp_path.iterdir()) == []
