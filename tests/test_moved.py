"""A workspace that was moved, renamed or copied goes on where it lies now, whatever its path is made of."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from core.workspace import Workspace
from flows.servers import local
from flows.servers.local import Server
from registry.store.connection import artifacts, as_default, connect, database, experiment_id
from registry.store.moved import at_home, bring_home
from registry.store.names import local_folder

ODD = ["a b", "a#b", "a%20b", "a?b=c", "größe 日本", "mlflow/artifacts/x"]


def kept(var: Path, name: str) -> str:
    """The id of a run with a file in it, and of a version."""
    client = connect(var)
    run = client.create_run(experiment_id(client, "films", var))
    (file := var.parent / name).write_text(name)
    client.log_artifact(run.info.run_id, str(file), "evidence")
    model = client.create_logged_model(run.info.experiment_id, name, run.info.run_id)
    client.log_model_artifacts(model.model_id, str(file.parent / "model"))
    client.create_registered_model(name)
    with as_default(client):
        client.create_model_version(name, f"models:/{model.model_id}", run.info.run_id, model_id=model.model_id)
    return str(run.info.run_id)


def places(var: Path) -> set[str]:
    """Every place of files that MLflow's database names."""
    columns = {"experiments": "artifact_location", "runs": "artifact_uri", "logged_models": "artifact_location"}
    with closing(sqlite3.connect(database(var))) as store:
        return {place for table, column in columns.items()
                for (place,) in store.execute(f"SELECT {column} FROM {table}")}  # fmt: skip


def file_of(run: str, var: Path, name: str) -> Path:
    """Where the file lies, as we and as MLflow find it."""
    place = connect(var).get_run(run).info.artifact_uri
    folder = local_folder(place, var)
    assert folder is not None
    assert Path(connect(var).download_artifacts(run, f"evidence/{name}")).read_text() == name
    assert (folder / "evidence" / name).read_text() == name
    return folder / "evidence" / name


@pytest.mark.parametrize("odd", ODD)
def test_the_store_goes_on_in_a_place_with_an_odd_name(odd: str, tmp_path: Path) -> None:
    """Made there, moved, and copied: the copy writes nothing into the original."""
    first, second, copy = tmp_path / odd, tmp_path / f"{odd} moved", tmp_path / f"{odd} copied"
    (first / "model").mkdir(parents=True)
    (first / "model" / "weights").write_text("1")
    run = kept(first / "var", "one")
    first.rename(second)
    assert file_of(run, second / "var", "one").is_relative_to(second)
    other = kept(second / "var", "two")
    assert not first.exists()
    shutil.copytree(second, copy)
    before = sorted(second.rglob("*"))
    third = kept(copy / "var", "three")
    for known, name in ((run, "one"), (other, "two"), (third, "three")):
        assert file_of(known, copy / "var", name).is_relative_to(copy)
    assert sorted(second.rglob("*")) == before
    for root in (second, copy):
        assert all(place.startswith(f"{artifacts(root / 'var').as_uri()}/") for place in places(root / "var"))


def test_a_workspace_by_a_link_is_the_workspace(tmp_path: Path) -> None:
    (tmp_path / "real" / "model").mkdir(parents=True)
    (tmp_path / "real" / "model" / "weights").write_text("1")
    (tmp_path / "link").symlink_to("real")
    run = kept(tmp_path / "link" / "var", "one")
    assert file_of(run, tmp_path / "real" / "var", "one") == file_of(run, tmp_path / "link" / "var", "one")


@pytest.mark.parametrize(
    ("place", "found"),
    [
        ("file:///old/w/var/mlflow/artifacts/films/1/artifacts", "file:///new/films/1/artifacts"),
        ("/old/w/var/mlflow/artifacts/0", "file:///new/0"),
        ("file:///a/mlflow/artifacts/w/var/mlflow/artifacts/mlflow/models/m/artifacts", "file:///new/mlflow/models/m/artifacts"),
        ("file:///old/var/mlflow/artifacts", "file:///new"),
        ("file:///new/films/1/artifacts", "file:///new/films/1/artifacts"),
        ("s3://bucket/mlflow/artifacts/1", "s3://bucket/mlflow/artifacts/1"),
        ("file:///srv/elsewhere/1", "file:///srv/elsewhere/1"),
        (None, None),
    ],
)  # fmt: skip
def test_what_lay_in_a_workspace_lies_in_this_one_and_all_else_where_it_did(
    place: str | None, found: str | None
) -> None:
    assert at_home(place, here="file:///new") == found


def test_ten_thousand_runs_are_looked_at_in_no_time_and_written_in_one_go(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "db")) as store, store:
        columns = {"experiments": "artifact_location", "logged_models": "artifact_location"}
        columns |= {"runs": "artifact_uri", "model_versions": "storage_location"}
        for table, column in columns.items():
            store.execute(f"CREATE TABLE {table} ({column} TEXT)")
        rows = [(f"file:///old/mlflow/artifacts/{number}",) for number in range(10_000)]
        store.executemany("INSERT INTO runs VALUES (?)", rows)
    bring_home(tmp_path / "db", "file:///new")
    with closing(sqlite3.connect(tmp_path / "db")) as store:
        assert store.execute("SELECT count(*) FROM runs WHERE artifact_uri LIKE 'file:///new/%'").fetchone() == (
            10_000,
        )


def started(workspace: Workspace) -> tuple[subprocess.Popen[bytes], Server]:
    """A process that stands for the local Prefect server of a workspace: it listens, and serves nothing."""
    code = (
        "import socket, sys; s = socket.socket(); s.bind(('127.0.0.1', 0)); s.listen(); "
        "print(s.getsockname()[1], flush=True); sys.stdin.read()"
    )
    folder = workspace.var / "prefect"
    folder.mkdir(parents=True, exist_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(workspace.root)], cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    server = Server(process.pid, psutil.Process(process.pid).create_time(), int(process.stdout.readline()), key="k")
    local.announce(workspace, "prefect", server)
    return process, server


def test_a_copy_leaves_the_servers_of_the_original_alone(tmp_path: Path) -> None:
    original, copy = Workspace(tmp_path / "original"), Workspace(tmp_path / "copy")
    process, server = started(original)
    try:
        shutil.copytree(original.root, copy.root)
        assert local.running(original, "prefect") == server
        assert local.running(copy, "prefect") is None
        assert local.end(copy, "prefect") is False
        assert not local.record(copy, "prefect").exists()
        assert process.poll() is None
    finally:
        assert local.end(original, "prefect") is True
        process.wait()


def test_a_server_of_before_the_move_is_ended_not_asked(tmp_path: Path) -> None:
    """It opens its files by the path that it was told, where another workspace may lie now."""
    before, after = Workspace(tmp_path / "before"), Workspace(tmp_path / "after")
    process, _ = started(before)
    before.root.rename(after.root)
    assert local.running(after, "prefect") is None
    assert local.end(after, "prefect") is True
    process.wait()
