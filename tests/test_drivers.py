"""One graph, two drivers: what one has done, the other finds done; and a change re-runs exactly what depends on it."""

from __future__ import annotations

import ast
import io
import json
import re
import shutil
import subprocess
import sys
import threading
import tokenize
from collections.abc import Callable
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from core.closure import BOUNDARY
from core.workspace import Workspace as Places
from flows.catalog.stale_code import with_files
from flows.graph.graph import Graph, behind, select
from tests.conftest import TINY_RECIPE, Workspace, film_rows, make_tiny
from tests.prefect_server import with_server

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("warm_children")]

STAGES = ["settings", "collect", "validate", "preprocess", "train", "evaluate", "register"]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory):
    """Two clones of one state: the first driven by headrace, the second by DVC."""
    folder = tmp_path_factory.mktemp("drivers")
    by_headrace, by_dvc = make_tiny(folder / "a"), make_tiny(folder / "b")
    by_headrace.env |= with_server()
    done = by_headrace.headrace("run")
    assert done.returncode == 0, done.stdout + done.stderr
    done = by_dvc.dvc("repro")
    assert done.returncode == 0, done.stdout + done.stderr
    yield by_headrace, by_dvc
    for made in (by_headrace, by_dvc):
        made.headrace("stop")


def entries(workspace: Workspace) -> dict[str, object]:
    stages = YAML(typ="safe").load(workspace.path("dvc.lock").read_text())["stages"]
    return {name: stages[name] for name in stages if name.split("@")[0] in STAGES[:5]}


def ran(done: subprocess.CompletedProcess[str]) -> list[str]:
    """The stages that a `dvc repro` ran."""
    assert done.returncode == 0, done.stdout + done.stderr
    return re.findall(r"Running stage '(\w+)@tiny'", done.stdout)


def test_two_clones_two_drivers_one_lock(pair) -> None:
    by_headrace, by_dvc = pair
    assert len(entries(by_headrace)) == 5
    assert entries(by_headrace) == entries(by_dvc)
    metrics = [json.loads(made.path("data/models/tiny/evaluation/metrics.json").read_text()) for made in pair]
    assert metrics[0] == metrics[1]


def test_what_one_driver_did_the_other_finds_done(pair) -> None:
    by_headrace, by_dvc = pair
    assert ran(by_headrace.dvc("repro")) == []
    assert "up to date" in by_headrace.dvc("status").stdout
    done = by_dvc.headrace("run", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["nothing_to_do"] is True


def edit(path: str, change: Callable[[str], str]) -> Callable[[Workspace], None]:
    def do(workspace: Workspace) -> None:
        old = workspace.path(path).read_text()
        assert change(old) != old
        workspace.write(path, change(old))

    return do


def more_epochs(old: str) -> str:
    return old.replace("epochs: 1", "epochs: 2")


COMMENT = "\n# changed\n"
LATER = ["validate", "preprocess", "train", "evaluate", "register"]


def comment(path: str) -> Callable[[Workspace], None]:
    return edit(path, lambda old: old + COMMENT)


# What is edited -> which stages go stale by it, in the graph's order.
CHANGES = {
    "a row": (lambda workspace: workspace.write_rows(film_rows(242)), STAGES),
    "the title": (edit("recipes/tiny.yaml", lambda old: old.replace("title: tiny", "title: Tiny!")), ["settings"]),
    "a training key": (edit("recipes/tiny.yaml", more_epochs), ["settings", "train", "evaluate", "register"]),
    "a gate": (
        edit("recipes/tiny.yaml", lambda old: old + "gates: {accuracy: {at_least: 0.01}}\n"), ["settings", "register"],
    ),
    "a schedule": (edit("recipes/tiny.yaml", lambda old: old + "schedule: {cron: '0 3 * * *'}\n"), ["settings"]),
    "the task": (comment("pipelines/tasks/text/text_classification.py"), ["settings", *LATER]),
    "what tasks share": (comment("pipelines/tasks/parts/classification.py"), ["settings", *LATER]),
    "another task": (comment("pipelines/tasks/image/image_classification.py"), []),
    "a stage": (comment("pipelines/evaluate/evaluate.py"), ["evaluate", "register"]),  # serving.json: latency
    "the source": (comment("pipelines/sources/files.py"), ["settings", "collect", *LATER]),
    "another source": (comment("pipelines/sources/sql.py"), ["settings"]),
    "the reader": (comment("pipelines/sources/readers/csv.py"), ["settings", "collect", *LATER]),
    "an error's words": (comment("core/errors.py"), []),
    "a link to a page": (comment("flows/promotion/approval_run.py"), []),
    "the registry's client": (comment("registry/store/connection.py"), ["register"]),
    "the OpenVINO graph": (comment("pipelines/search/vectors/bert.py"), []),
    "a file nobody runs": (lambda workspace: workspace.write("pipelines/notes.py", "NOTE = 1\n"), []),
}  # fmt: skip


# What an edit, `code` and `settings` move, put back after each.
MOVED = ("rows.csv", "recipes/tiny.yaml", "dvc.lock", "data/code.json", "data/models/tiny/settings.json")


@pytest.mark.parametrize("kind", CHANGES)
def test_a_change_makes_stale_exactly_what_depends_on_it(pair, kind: str) -> None:
    """Both drivers ask this one graph; `headrace status` and the run name the file."""
    workspace = pair[1]
    before = {path: path.read_bytes() for path in map(workspace.path, MOVED)}
    workspace.git("add", "-A")
    change, expected = CHANGES[kind]
    change(workspace)
    graph = Graph(workspace.root)
    own = [node.address for node in select(graph.nodes, "recipe", ["tiny"])]
    said = with_files(Places(workspace.root), own, graph.stale(own))
    named = {at.partition("@")[0] for at, whys in said.items() if any(".py changed" in why for why in whys)}
    graph.reproduce("code")
    found = ["settings"] if graph.reproduce("settings@tiny") == "ran" else []
    assert found == [stage for stage in expected if stage == "settings"]
    graph = Graph(workspace.root)
    later = behind(graph.nodes, graph.stale(own))
    assert [*found, *(node.stage for node in graph.nodes if node.address in later)] == expected
    if kind in ("the task", "what tasks share", "a stage", "the registry's client"):
        assert named == set(expected) - ({"register"} if kind == "a stage" else set())
    else:
        assert named <= {"settings"}
    for path, content in before.items():
        path.write_bytes(content)
    workspace.git("checkout", "--", "core", "pipelines", "registry", "flows")
    workspace.path("pipelines/notes.py").unlink(missing_ok=True)


def test_after_all_of_them_nothing_is_stale(pair) -> None:
    assert "up to date" in pair[1].dvc("status").stdout


def test_words_and_waiting_move_no_byte(pair) -> None:
    """BOUNDARY: with every message in these modules changed no stage is stale but `register`, and all make the same."""
    workspace = pair[0]
    timings = ("serving.json", "registered.json", "manifest.json")  # the last one holds the first one's hash

    def made() -> dict[str, str]:
        found = workspace.hashes("data/models/tiny")
        return {name: sha256 for name, sha256 in found.items() if not name.endswith(timings)}

    before, changed = made(), 0
    for each in BOUNDARY:
        place = workspace.path(each)
        for file in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            text = file.read_text()
            file.write_text(reworded(text))
            changed += file.read_text() != text
    assert changed >= len(BOUNDARY), "nothing was changed, so nothing was shown"
    assert ran(workspace.dvc("repro", "register@tiny")) == ["register"], "what the registry holds is its output"
    assert ran(workspace.dvc("repro", "--force", "evaluate@tiny")) == STAGES[:-1]
    assert made() == before


def reworded(code: str) -> str:
    """Python code in which every string of a `raise`, `print`, `say` or `tell` ends with a tilde more."""
    lines = code.splitlines(keepends=True)
    spans = [
        (node.lineno, node.end_lineno or node.lineno)
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.Raise)
        or (isinstance(node, ast.Call) and getattr(node.func, "id", None) in ("print", "say", "tell"))
    ]
    strings = [
        token
        for token in tokenize.generate_tokens(io.StringIO(code).readline)
        if token.type == tokenize.STRING and any(first <= token.start[0] <= last for first, last in spans)
    ]
    for token in reversed(strings):
        line, at = token.end
        if not token.string.endswith('"""'):
            lines[line - 1] = f"{lines[line - 1][: at - 1]}~{lines[line - 1][at - 1 :]}"
    return "".join(lines)


def test_other_base_weights_rerun_what_reads_them(pair) -> None:
    from safetensors.torch import load_file, save_file

    workspace = pair[1]
    shutil.copytree(workspace.path("data/models/tiny/model"), workspace.path("base"))
    start = TINY_RECIPE.index("  base:")
    rest = TINY_RECIPE[TINY_RECIPE.index("training:") :]
    workspace.write("recipes/tiny.yaml", TINY_RECIPE[:start] + "  base: ./base\n  method: lora\n" + rest)
    assert workspace.headrace("lock").returncode == 0
    assert ran(workspace.dvc("repro"))[0] == "settings"
    file = workspace.path("base/model.safetensors")
    save_file({name: weight * 1.01 for name, weight in load_file(file).items()}, file, {"format": "pt"})
    assert workspace.headrace("lock").returncode == 0
    assert ran(workspace.dvc("repro")) == ["settings", "preprocess", "train", "evaluate", "register"]
    version = json.loads(workspace.path("data/models/tiny/registered.json").read_text())["version"]
    for needless in ("data/models/tiny/base", "data/models/tiny/model"):
        shutil.rmtree(workspace.path(needless))
    workspace.path("base").rename(workspace.path("away"))
    done = workspace.headrace("predict", f"tiny/{version}", "a warm film", "--json")  # adapters, and the base in var/
    assert done.returncode == 0, done.stderr
    workspace.path("away").rename(workspace.path("base"))


def test_an_experiment_registers_nothing(pair) -> None:
    workspace = pair[1]
    receipt = workspace.path("data/models/tiny/registered.json").read_text()
    before = json.loads(workspace.headrace("status", "--json").stdout)
    workspace.git("add", "-A")
    workspace.git("-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "before the experiment")
    done = workspace.dvc("exp", "run", "--temp", "-S", "recipes/tiny.yaml:training.epochs=3")
    assert done.returncode == 0, done.stdout + done.stderr
    shown = workspace.dvc("exp", "show", "--csv").stdout
    assert "accuracy" in shown
    assert workspace.path("data/models/tiny/registered.json").read_text() == receipt
    after = json.loads(workspace.headrace("status", "--json").stdout)
    assert {**after, "disk": None} == {**before, "disk": None}  # what it made stands in DVC's cache


def test_eight_at_once(tmp_path: Path) -> None:
    """None does a stage twice, none corrupts another, the runs wait rather than fail, one new version."""
    workspace = make_tiny(tmp_path / "workspace")
    workspace.env |= with_server()
    try:
        results: list[subprocess.CompletedProcess[str]] = []
        commands = [("flows.cli", "run", "--json")] * 7 + [("dvc", "repro")]

        def start(command: tuple[str, ...]) -> None:
            results.append(workspace.run(sys.executable, "-m", *command, timeout=550))

        threads = [threading.Thread(target=start, args=(command,)) for command in commands]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        runs = [done for done in results if "--json" in done.args]
        assert len(runs) == 7
        for done in runs:
            assert done.returncode == 0, done.stdout + done.stderr
        (bare,) = (done for done in results if "--json" not in done.args)
        assert bare.returncode == 0 or "busy" in bare.stderr, bare.stderr
        did = [
            stage["address"] for done in runs for stage in json.loads(done.stdout)["stages"] if stage["state"] == "ran"
        ]
        did += [f"{stage}@tiny" for stage in re.findall(r"Running stage '(\w+)@tiny'", bare.stdout)]
        assert sorted(did) == sorted(f"{stage}@tiny" for stage in STAGES)
        assert "up to date" in workspace.dvc("status").stdout
        receipt = json.loads(workspace.path("data/models/tiny/registered.json").read_text())
        assert str(receipt["version"]) == "1"
    finally:
        workspace.headrace("stop")
        shutil.rmtree(workspace.root)
