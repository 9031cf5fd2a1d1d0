"""A version made again: from what was kept and nobody altered, through a DVC that writes nowhere else, as it was."""

from __future__ import annotations

import ast
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from core.errors import BadData, BadRequest, HeadraceError
from flows.catalog.params import put, read_entries
from flows.graph.dvc import own_programs_first, write_yaml
from flows.graph.graph import Graph
from flows.lineage.clone import apply, commit_of
from flows.lineage.reproduce import reproduce
from flows.lineage.trace import trace
from pipelines.evidence.evidence import BUNDLE, review
from registry.store import signing, versions
from registry.store.connection import connect, database
from registry.version.evidence_files import FILES, LOCK, SETTINGS, Altered
from tests.conftest import ROOT
from tests.remade_world import NASTY, RemadeWorld, make_remade_world
from tests.tiny_graph import TinyGraph, make_tiny_graph

pytestmark = pytest.mark.slow

ELSEWHERE = "/usr/bin:/bin"  # a PATH without this Python


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory) -> RemadeWorld:
    world = make_remade_world(tmp_path_factory.mktemp("remade") / "world")
    world.run(where={"title": NASTY}, base=None)
    world.register()
    return world


@pytest.fixture
def world(registered: RemadeWorld, tmp_path: Path) -> Iterator[RemadeWorld]:
    """What was registered, put back after a test that alters it."""
    files, store = registered.root / "var/mlflow/artifacts", database(registered.workspace.var)
    shutil.copytree(files, tmp_path / "before")
    _copy(store, tmp_path / "before.db")
    yield registered
    registered.git("checkout", "-q", "--", ".")
    shutil.rmtree(files)
    shutil.copytree(tmp_path / "before", files)
    _copy(tmp_path / "before.db", store)


def _copy(store: Path, to: Path) -> None:
    """Into the file that is there: this process has it open."""
    with closing(sqlite3.connect(store)) as old, closing(sqlite3.connect(to)) as new:
        old.backup(new)


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in (signing.KEY, signing.PASSPHRASE, signing.TRUSTED):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture(autouse=True)
def another_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The temporary folder, where clones lie, is another file system than the workspace: no file can be linked."""
    others = [
        place
        for place in ("/dev/shm", "/tmp")
        if Path(place).exists() and Path(place).stat().st_dev != tmp_path.stat().st_dev
    ]
    monkeypatch.setattr(tempfile, "tempdir", others[0] if others else None)


def test_equal_with_python_nowhere_on_path_and_values_that_yaml_breaks(
    world: RemadeWorld, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """dvc.lock of the clone is read by every stage and written by each; the workspace's password stays there."""
    (world.root / ".dvc" / "config.local").write_text("['remote \"far\"']\n    url = http://bob:SECRETPW@host/x\n")
    monkeypatch.setenv("PATH", ELSEWHERE)
    try:
        done = reproduce(world.workspace, "films", "1", keep=tmp_path / "kept")
    finally:
        (world.root / ".dvc" / "config.local").unlink()
    assert done.equal, done.differences
    lock = YAML(typ="safe").load(tmp_path / "kept/workspace/dvc.lock")["stages"]["train@films"]
    assert lock["params"]["data/models/films/settings.json"]["data"]["where"]["title"] == NASTY
    assert not [path for path in (tmp_path / "kept").rglob("*") if path.is_file() and b"SECRETPW" in path.read_bytes()]


def test_a_remotes_list_of_files_does_not_lead_out_of_the_clone(world: RemadeWorld, tmp_path: Path) -> None:
    """The remote is a folder that somebody else may write to, and the rows are no more in this cache."""
    world.dvc("remote", "add", "-q", "--local", "-d", "store", str(tmp_path / "store"))
    assert world.dvc("push", "-q").returncode == 0
    cache = world.root / ".dvc" / "cache"
    cache.rename(tmp_path / "cache")
    try:
        for listing in (tmp_path / "store").rglob("*.dir"):
            listing.chmod(0o644)
            listing.write_text(listing.read_text().replace("rows.txt", "../../../../../escaped.txt"))
        with pytest.raises(HeadraceError, match=r"escaped.txt' leads out of"):
            reproduce(world.workspace, "films", "1", keep=tmp_path / "kept")
        assert not list(tmp_path.rglob("*escaped*"))
    finally:
        shutil.rmtree(cache, ignore_errors=True)
        (tmp_path / "cache").rename(cache)
        (world.root / ".dvc" / "config.local").unlink()


def test_every_altered_file_of_the_evidence_is_named(world: RemadeWorld) -> None:
    """By lineage (exit code 1), by promotion, and by reproduce before anything is run."""
    var, version = world.workspace.var, world.version
    sound = world.kept(BUNDLE)
    names = YAML(typ="safe").load(sound.read_text())[FILES]
    made_of = {"recipe.yaml", "recipe.lock", SETTINGS, LOCK, "metrics.json"}
    assert made_of | {"predictions.parquet", "plots/confusion.json", "report.md"} <= set(names)
    assert trace(world.workspace, "films", "1").faults == []
    assert review(version, None, var).passed
    for name in [*names, BUNDLE]:
        file = world.kept(name)
        before = file.read_bytes()
        file.write_bytes(before + b" ")
        assert any(name in node.why for node in trace(world.workspace, "films", "1").faults), name
        refused = str(review(version, None, var).reasons[0])
        assert name in refused or (name == BUNDLE and "its evidence was edited" in refused), refused
        if name in made_of | {BUNDLE}:
            with pytest.raises(Altered, match=rf"films/1: {name} (was altered|was edited)"):
                reproduce(world.workspace, "films", "1")
        file.write_bytes(before)
    world.kept("recipe.lock").rename(sound.parent / "away")
    with pytest.raises(Altered, match=r"films/1: recipe.lock is missing"):
        reproduce(world.workspace, "films", "1")
    (sound.parent / "away").rename(sound.parent / "recipe.lock")
    assert trace(world.workspace, "films", "1").faults == []


PATCH = """\
diff --git a/flows/step.py b/flows/step.py
--- a/flows/step.py
+++ b/flows/step.py
@@ -1,2 +1,3 @@
+open({marker!r}, "a").write("ran")
 import json, pathlib, shutil, sys
 stage, made = sys.argv[1], pathlib.Path({made!r})
"""


def change_step(world: RemadeWorld, marker: Path) -> None:
    """What no commit has: code that says that it ran, with an escape sequence in it."""
    step = world.root / "flows/step.py"
    step.write_text(f"open({str(marker)!r}, 'a').write('\x1b[2J')\n{step.read_text()}")


def test_a_patch_that_nobody_signed_is_shown_and_runs_only_when_asked(
    world: RemadeWorld, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    marker = tmp_path / "marker"
    change_step(world, marker)
    world.register()
    with pytest.raises(BadRequest, match=r"shown above(.|\n)*Nothing was run(.|\n)*--apply-patch"):
        reproduce(world.workspace, "films", "1")
    shown = capsys.readouterr().err
    assert f"+open('{marker}'" in shown and "\x1b" not in shown
    assert not marker.exists()
    assert reproduce(world.workspace, "films", "1", apply_patch=True).equal
    assert marker.exists()
    with world.kept("code.patch").open("a") as file:
        file.write("\n")
    with pytest.raises(Altered, match=r"films/1: code.patch was altered"):
        reproduce(world.workspace, "films", "1", apply_patch=True)


def test_a_patch_that_was_put_there_is_no_part_of_the_version(world: RemadeWorld, tmp_path: Path) -> None:
    """Registered from a clean tree; an earlier registration may have left one, too."""
    marker = tmp_path / "marker"
    (world.kept(BUNDLE).parent / "code.patch").write_text(PATCH.format(marker=str(marker), made=str(world.made)))
    assert reproduce(world.workspace, "films", "1", apply_patch=True).equal
    assert not marker.exists()


def test_what_a_trusted_key_signed_is_run_and_an_altered_patch_is_not(
    world: RemadeWorld, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("model_signing", reason="pip install 'headrace[signing]'")
    from tests.test_signing import write_key

    write_key(tmp_path, "ours")
    monkeypatch.setenv(signing.TRUSTED, str(tmp_path / "ours.pub"))
    monkeypatch.setenv(signing.KEY, str(tmp_path / "ours.pem"))
    monkeypatch.setattr("registry.version.register_version.is_own", lambda *_: True)
    marker = tmp_path / "marker"
    change_step(world, marker)
    world.register()
    with world.kept("code.patch").open("a") as file:
        file.write(PATCH)
    with pytest.raises(Altered, match=r"films/1: code.patch was altered"):
        reproduce(world.workspace, "films", "1")
    forged = world.kept(BUNDLE)
    forged.write_text(forged.read_text().replace('"asked": 1', '"asked": 2'))
    with pytest.raises(BadData, match=r"evidence.sig"):
        reproduce(world.workspace, "films", "1")
    assert not marker.exists()
    world.register()
    assert reproduce(world.workspace, "films", "1").equal
    assert marker.exists()


def test_a_version_of_an_earlier_headrace_goes_on(
    world: RemadeWorld, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Its evidence.json names no files: what it does name is compared, and of the rest it is said."""
    world.register(lambda told: told.pop(FILES))
    var = world.workspace.var
    assert review(world.version, None, var).passed
    (node,) = [each for each in trace(world.workspace, "films", "1").nodes if each.kind == "evidence"]
    assert node.state == "verified" and "an earlier Headrace registered it" in node.why
    assert reproduce(world.workspace, "films", "1").equal
    assert "there is a hash of settings.json and dvc-lock.json" in capsys.readouterr().err
    (world.kept(BUNDLE).parent / "code.patch").write_text(PATCH.format(marker="/dev/null", made=str(world.made)))
    with pytest.raises(BadRequest, match=r"--apply-patch"):
        reproduce(world.workspace, "films", "1")
    with world.kept(SETTINGS).open("a") as file:
        file.write(" ")
    with pytest.raises(Altered, match=r"settings.json was altered"):
        reproduce(world.workspace, "films", "1")


def test_a_base_of_the_registry_is_found_in_the_clone_too(world: RemadeWorld, tmp_path: Path) -> None:
    """And what the clone logs does not come into the workspace's store."""
    before = connect(world.workspace.var).search_experiments()
    identity: dict[str, Any] = {"sha256": "0" * 64, "version": "1"}

    def change() -> None:
        from core.atomic_files import read_json, write_json

        settings = read_json(world.job.folder / SETTINGS)
        settings["data"]["base"], settings["bases"] = "1", {"models:/films@champion": identity}
        write_json(world.job.folder / SETTINGS, settings)

    kept = (world.job.folder / SETTINGS).read_text()
    try:
        change()
        world.register()
        assert reproduce(world.workspace, "films", "1").equal
    finally:
        (world.job.folder / SETTINGS).write_text(kept)
    assert (world.made / "base.txt").read_text() == "1"
    assert len(connect(world.workspace.var).search_experiments()) == len(before)


def test_the_commit_is_the_one_of_the_evidence(world: RemadeWorld) -> None:
    version = world.version
    told = YAML(typ="safe").load(world.kept(BUNDLE).read_text())
    assert commit_of(version, told) == commit_of(version, None) == version.tags["code_commit"]
    connect(world.workspace.var).set_model_version_tag("films", "1", "code_commit", "f" * 40)
    with pytest.raises(Altered, match=r"its evidence names the commit .*, its tag f{40}"):
        reproduce(world.workspace, "films", "1")
    (code,) = [node for node in trace(world.workspace, "films", "1").nodes if node.kind == "code"]
    assert code.state == "mismatch"
    for name in ("--orphan=x", "HEAD", "none", "main", "abc"):
        option = versions.Version(**{**vars(version), "tags": {"code_commit": name}})
        with pytest.raises(BadRequest, match=r"is no commit of git's"):
            commit_of(option, None)


NEW = "diff --git a/{0} b/{0}\nnew file mode {1}\n--- /dev/null\n+++ b/{0}\n@@ -0,0 +1 @@\n+{2}\n"
QUOTED = """\
diff --git "a/recipes/\\303\\274.yaml" "b/recipes/\\303\\274.yaml"
new file mode 100644
--- /dev/null
+++ "b/recipes/\\303\\274.yaml"
@@ -0,0 +1 @@
+y
"""
MOVED = "diff --git a/{0} b/{1}\nsimilarity index 100%\n{2} from {0}\n{2} to {1}\n"
STRANGE = {
    **{name: NEW.format(name, "100644", "x") for name in (
        "sitecustomize.py", ".git/hooks/post-checkout", ".GIT/config", ".dvc/config", ".dvc/config.local", "../out.py",
        "flows/../../out.py", "flows/../sitecustomize.py", "flows/.dvc/config", "flows/.git/config", "recipes/x.sh",
        "recipes", "recipes/../../x.yaml", ".gitattributes", "data/x.py",
    )},
    "/tmp/out.py": "--- /dev/null\n+++ /tmp/out.py\n@@ -0,0 +1 @@\n+x\n",
    "a link": NEW.format("flows/link", "120000", "/etc"),
    "through a link": NEW.format("flows/link", "120000", "..") + NEW.format("flows/link/out.py", "100644", "x"),
    "a copy of what lies outside": MOVED.format("../secret", "flows/secret.py", "copy"),
    "a copy of a quoted name": MOVED.format('"../\\163ecret"', "flows/secret.py", "copy"),
    "a move from elsewhere": MOVED.format("rows.txt", "flows/rows.py", "rename"),
    "no patch at all": "x",
}  # fmt: skip


def test_a_patch_changes_code_and_recipes_only(tmp_path: Path) -> None:
    tiny = make_tiny_graph(tmp_path / "w")
    tiny.write("flows/own.py", "one\n")
    tiny.write("rows.txt", "rows\n")
    (tmp_path / "secret").write_text("secret\n")
    tiny.git("add", "-A")
    tiny.git("commit", "-qm", "code")
    before = tiny.git("status", "--porcelain", "--ignored")
    for what, text in STRANGE.items():
        (tmp_path / "code.patch").write_text(text)
        with pytest.raises(BadRequest, match=r"may change code and recipes|git apply|It may not lead anywhere"):
            apply(tmp_path / "code.patch", tiny.root)
        assert what == "a link" or tiny.git("status", "--porcelain", "--ignored") == before, what
        tiny.git("clean", "-qfd", "flows")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["code.patch", "secret", "w"]
    fine = NEW.format("flows/new one.py", "100644", "x") + QUOTED
    (tmp_path / "code.patch").write_text(fine + MOVED.format("flows/own.py", "flows/renamed.py", "rename"))
    apply(tmp_path / "code.patch", tiny.root)
    assert (tiny.root / "recipes/ü.yaml").is_file() and (tiny.root / "flows/renamed.py").is_file()


def test_a_stage_finds_python_wherever_headrace_was_started(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In the process that asks for it (`headrace forget`), too."""
    tiny = make_tiny_graph(tmp_path / "w")
    monkeypatch.setenv("PATH", ELSEWHERE)
    assert Graph(tiny.root).reproduce("prepare@a") == "ran"
    own = str(Path(sys.executable).parent)
    assert own_programs_first({"PATH": f"/bin:{own}:/usr/bin"}) == f"{own}:/bin:/usr/bin"
    assert own_programs_first({}).startswith(f"{own}:")


def test_yaml_that_dvc_rewrites_holds_any_value(tmp_path: Path) -> None:
    """dvc.lock; and params.yaml, also one in JSON, where a new value stands in flow style."""
    from dvc.utils.serialize import load_yaml, modify_yaml

    document = {"stages": {f"s{at}": {"value": each, "list": [each], f"k{each}": 1} for at, each in enumerate(NASTY)}}
    write_yaml(tmp_path / "dvc.lock", document)
    with modify_yaml(tmp_path / "dvc.lock") as data:
        data["schema"] = "2.0"
    assert load_yaml(tmp_path / "dvc.lock") == {**document, "schema": "2.0"}
    tiny: TinyGraph = make_tiny_graph(tmp_path / "w")
    for at, each in enumerate(NASTY):
        put(tiny.workspace, "recipe", f"r{at}", {"task": "none", "watch": each})
        put(tiny.workspace, "recipe", "a", {"watch": each})
        found = load_yaml(tiny.root / "params.yaml")["recipes"]
        assert (found[f"r{at}"]["watch"], found["a"]["watch"]) == (each, each)
    assert len(read_entries(tiny.workspace)["recipe"]) == 1 + len(NASTY)


def test_dvc_is_started_nowhere_else() -> None:
    """By its name or as a module; and its repositories are opened in one place, after the guard."""
    files = [path for top in ("flows", "pipelines", "registry", "serving") for path in (ROOT / top).rglob("*.py")]
    assert len(files) > 150
    for path in files:
        place = path.relative_to(ROOT).as_posix()
        for node in ast.walk(ast.parse(path.read_text())):
            words = [each.value for each in _items(node) if isinstance(each, ast.Constant)]
            started = words[:1] == ["dvc"] or ("-m", "dvc") in pairwise(words)
            assert not started or (isinstance(node, ast.Call) and "getLogger" in ast.unparse(node.func)), place
            if isinstance(node, ast.ImportFrom) and node.module in ("dvc.repo", "dvc.cli", "dvc.api"):
                names = {each.name for each in node.names}
                assert names == {"lock_repo"} or place in ("flows/graph/graph.py", "flows/graph/dvc.py"), place
    commands = [line.split()[:1] for line in (ROOT / "prefect.yaml").read_text().splitlines()]
    assert ["dvc"] not in commands


def _items(node: ast.AST) -> list[ast.expr]:
    if isinstance(node, ast.List | ast.Tuple):
        return node.elts
    return node.args if isinstance(node, ast.Call) else []
