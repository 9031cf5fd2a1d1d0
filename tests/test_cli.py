"""The command as a person meets it: help, exit codes, one message a mistake, one document with --json."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import pytest
from typer.main import get_command

from flows.cli.command import app, main
from registry.store.connection import connect
from serving.http.api_keys import Keys
from tests.conftest import ROOT, TINY_INDEX, TINY_RECIPE, Workspace, make_tiny
from tests.warm import warm

VERBS = sorted(get_command(app).commands)  # type: ignore[attr-defined]


def test_the_verbs_are_those_of_the_interface() -> None:
    assert VERBS == [
        "answer", "check", "compare", "forget", "gc", "history", "index", "key", "lineage", "lock", "new", "plan",
        "predict", "promote", "query", "reproduce", "retire", "rollback", "run", "schedule", "serve", "show", "status",
        "stop",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def helped() -> dict[str, tuple[str, set[str]]]:
    """What each verb's help prints, and the modules that it loads: a fork each of one interpreter with the command."""
    code = (
        "import contextlib, io, json, os, sys\nfrom flows.cli import main\nimport flows.cli.command\n"
        "for verb in ('', *sys.argv[1:]):\n"
        "    if (pid := os.fork()) == 0:\n"
        "        with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.suppress(SystemExit):\n"
        "            main([*filter(None, [verb]), '--help'])\n"
        "        os.write(1, json.dumps([verb, said.getvalue(), [*sys.modules]]).encode() + b'\\n')\n"
        "        os._exit(0)\n"
        "    os.waitpid(pid, 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, *VERBS], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return {verb: (said, set(modules)) for verb, said, modules in map(json.loads, done.stdout.splitlines())}


@pytest.mark.parametrize("verb", ["", *VERBS])
def test_help_has_an_example_and_loads_nothing_but_the_command(
    verb: str, helped: dict[str, tuple[str, set[str]]]
) -> None:
    said, modules = helped[verb]
    if verb:
        assert f"Example: headrace {verb}" in said
        assert "--json" in said or verb == "schedule"
    ours = {name for name in modules if name.startswith(("core.", "flows.", "pipelines.", "registry.", "serving."))}
    assert {name for name in ours if not name.startswith("flows.cli")} <= {
        "core.addresses", "core.errors", "core.process", "core.process.garbage", "core.terminal", "flows.terminal",
        "flows.terminal.output",
    }  # fmt: skip
    tops = {name.partition(".")[0] for name in modules}
    assert "typer" in tops  # which itself loads pydantic for a verb's parameters
    assert not tops & {"ruamel", "rich", "dvc", "prefect", "mlflow", "numpy", "pandas", "pyarrow", "torch", "asyncio"}


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert (ended.value.code, capsys.readouterr().out) == (0, f"headrace {version('headrace')}\n")


def test_the_shell_is_offered_names_of_the_workspace_and_loads_nothing_large(tmp_path: Path) -> None:
    """By the request that its script makes. A name is offered where the verb takes one of that kind."""
    made = Workspace(tmp_path, {**os.environ, "PYTHONPATH": str(ROOT)})
    made.write("dvc.yaml", "stages: {}\n")
    made.live(recipes={"films": {"task": "x", "watch": "y"}}, indexes={"news": {"watch": "z"}})
    client = connect(tmp_path / "var")
    client.create_registered_model("stars")
    code = (
        "import os, sys\nfrom flows.cli import main\nline = sys.argv[1]\n"
        "word = str(len(line.split()) - (line[-1] != ' '))\n"
        "os.environ |= {'_HEADRACE_COMPLETE': 'complete_bash', 'COMP_WORDS': line, 'COMP_CWORD': word}\n"
        "try:\n    main([])\n"
        "finally:\n    print(sorted({'mlflow', 'torch', 'dvc', 'prefect', 'pandas'} & {*sys.modules}))\n"
    )
    asked = ["headrace run ", "headrace index ", "headrace status f", "headrace predict ", "headrace rollback "]
    offered = [  # not forked by tests/warm, where all is loaded
        subprocess.run([sys.executable, "-c", code, line], cwd=tmp_path, env=made.env, capture_output=True, text=True)
        for line in asked
    ]
    said = [done.stdout.splitlines() for done in offered]
    assert [lines[:-1] for lines in said] == [["films"], ["news"], ["films"], ["stars"], ["stars", "news"]]
    assert {lines[-1] for lines in said} == {"[]"}


def test_what_small_verbs_are_made_of_loads_no_array_library() -> None:
    """`status`, `history`, `promote` and `rollback` take a second; numpy and pyarrow would add a third of one."""
    modules = "flows.catalog.status, flows.promotion.move_champion, flows.promotion.move_release"
    modules += ", pipelines.search.engine.index_receipt, registry.store.overview"
    code = (
        f"import sys, {modules}\nprint(sorted({{'numpy', 'pyarrow', 'pandas', 'torch', 'mlflow'}} & {{*sys.modules}}))"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")


@pytest.mark.parametrize("verb", ["run", "index", "status", "check", "lock", "stop"])
def test_outside_a_workspace(tmp_path: Path, verb: str) -> None:
    env = warm({**os.environ, "PYTHONPATH": str(ROOT)})
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", verb], cwd=tmp_path, env=env, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"headrace: {tmp_path} is not inside a Headrace workspace")
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    """A workspace for what changes nothing in it."""
    made = make_tiny(tmp_path_factory.mktemp("untouched") / "workspace")
    before = made.hashes("recipes") | made.hashes("indexes") | made.hashes("data/models")
    yield made
    assert made.hashes("recipes") | made.hashes("indexes") | made.hashes("data/models") == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "tny"], "no live recipe 'tny'. Did you mean 'tiny'?"),
        (["index", "tiny"], "no live index 'tiny'"),
        (["status", "tny"], "no live recipe or index 'tny'"),
        (["lock", "tny"], "no live recipe or index 'tny'"),
        (["retire", "tny"], "no live recipe or index 'tny'"),
        (["run", "tiny", "--force", "trian"], "--force trian: no such stage. Allowed: settings, collect, "),
        (["new", "other", "--from", "gone.yaml"], "gone.yaml: no such file"),
        (["query", "tiny", "what?"], "no index is named 'tiny'"),
        (["query", "tiny", "what?", "--filter", "x"], "--filter x: must be KEY=VALUE"),
        (["answer", "tiny", "what?"], "no index is named 'tiny'"),
    ],
)
def test_a_mistake_is_one_message_and_exit_2(untouched: Workspace, arguments: list[str], message: str) -> None:
    done = untouched.headrace(*arguments)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_mistake_with_json_is_a_document_too(untouched: Workspace) -> None:
    done = untouched.headrace("status", "tny", "--json")
    assert done.returncode == 2
    error = json.loads(done.stdout)["error"]
    assert error["exit_code"] == 2
    assert f"headrace: {error['message']}\n" == done.stderr


@pytest.mark.parametrize(
    "arguments",
    [["rnu"], ["run", "--frce", "x"], ["new"], ["query"], ["check", "--schema", "x"], ["serve", "--new-key", "x"]],
)
def test_a_command_line_that_is_none(untouched: Workspace, arguments: list[str]) -> None:
    done = untouched.headrace(*arguments)
    assert done.returncode == 2
    assert "Error: " in done.stderr
    assert "Traceback" not in done.stderr


def test_a_recipe_with_mistakes_starts_nothing(tiny: Workspace) -> None:
    tiny.write("recipes/tiny.yaml", TINY_RECIPE.replace("epochs", "epoch").replace("threads: 1", "threads: 0"))
    done = tiny.headrace("run")
    assert done.returncode == 2
    assert [line.partition(": ")[2].partition(":")[0] for line in done.stderr.splitlines()][1:] == ["compute.threads"]
    assert "training.epoch: unknown key. Did you mean 'epochs'?" in done.stderr
    assert not tiny.path("data/models").exists()
    assert not tiny.path("var/servers").exists()


@pytest.mark.slow
def test_from_new_to_retire(workspace: Workspace) -> None:
    workspace.write("documents.jsonl", '{"id": "a", "text": "a text"}\n')
    workspace.write("mine.yaml", TINY_INDEX)
    made = json.loads(workspace.headrace("new", "docs", "--from", "mine.yaml", "--json").stdout)
    files = ["indexes/docs.yaml", "indexes/docs.lock", "params.yaml"]
    assert made == {"name": "docs", "kind": "index", "files": files, "outward": []}
    state = json.loads(workspace.headrace("status", "--json").stdout)
    assert state["recipes"] == []
    assert state["indexes"][0]["stale"]["resolve@docs"] == ["it never ran"]
    assert workspace.headrace("lock").stdout == "nothing moved\n"
    assert workspace.headrace("check").stdout == "no mistakes found\n"
    gone = workspace.headrace("retire", "docs")
    assert "`headrace new docs --from indexes/docs.yaml` brings it back" in gone.stdout
    assert "Nothing is live" in workspace.headrace("status").stdout


def test_a_key_is_shown_once_and_known_from_then_on(tiny: Workspace) -> None:
    made = json.loads(tiny.headrace("key", "ada", "--labels", "staff, board", "--per-minute", "5", "--json").stdout)
    file = tiny.path("var/keys.yaml")
    assert (made["name"], made["file"]) == ("ada", str(file))
    caller = Keys(file, None).caller(made["key"])
    assert (caller.name, caller.access) == ("ada", frozenset({"staff", "board"}))
    assert sorted(caller.rights) == ["answer", "predict", "search"]
    assert made["key"] not in file.read_text()
    again = tiny.headrace("key", "ada")
    assert (again.returncode, again.stdout, "has a key 'ada' already" in again.stderr) == (2, "", True)
    said = tiny.headrace("key", "eve", "--sees-everything", "--rights", "metrics").stdout.splitlines()
    eve = Keys(file, None).caller(said[0])
    assert (eve.access, sorted(eve.rights), "shown this once" in said[1]) == (None, ["metrics"], True)


def test_from_a_folder_below_the_workspace(tiny: Workspace) -> None:
    below = tiny.path("recipes")
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", "check", "tiny"], cwd=below, env=tiny.env, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, "no mistakes found\n")


def test_lock_says_what_moved(tiny: Workspace) -> None:
    tiny.write("recipes/tiny.lock", "source: {kind: http, etag: abc}\nbases: {}\n")
    done = tiny.headrace("lock", "--json")
    moved = json.loads(done.stdout)["moved"]
    assert moved == {"recipes/tiny.lock": ["source.kind: http -> path", "source.etag: abc -> nothing"]}
    before = tiny.path("recipes/tiny.lock").stat().st_mtime_ns
    assert tiny.headrace("lock").stdout == "nothing moved\n"
    assert tiny.path("recipes/tiny.lock").stat().st_mtime_ns == before


@pytest.mark.slow
def test_status_names_the_input_that_made_a_stage_stale(tiny: Workspace) -> None:
    assert tiny.dvc("repro", "collect@tiny").returncode == 0
    fresh = json.loads(tiny.headrace("status", "--json").stdout)["recipes"][0]
    assert "settings@tiny" not in fresh["stale"]
    with tiny.path("rows.csv").open("a") as rows:
        rows.write("one more,pos\n")
    done = tiny.headrace("status", "tiny")
    assert "settings@tiny: rows.csv changed" in done.stdout


@pytest.mark.parametrize("reader_takes", [0, 1])
def test_a_reader_that_goes_away(tiny: Workspace, reader_takes: int) -> None:
    """As in `headrace check --schema recipe | head -1`."""
    process = subprocess.Popen(
        [sys.executable, "-m", "flows.cli", "check", "--schema", "recipe"],
        cwd=tiny.root, env=tiny.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.read(reader_takes)
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() in (0, 141)  # all of it may fit the pipe


def test_a_terminal_without_unicode(workspace: Workspace) -> None:
    workspace.write("documents.jsonl", '{"id": "a", "text": "a text"}\n')
    workspace.write("a.yaml", TINY_INDEX + "título: x\n")
    workspace.env |= {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "LC_ALL": "C"}
    done = workspace.headrace("check", "a.yaml")
    assert done.returncode == 2
    assert "a.yaml:5: t\\xedtulo: unknown key" in done.stdout
    document = json.loads(workspace.headrace("check", "a.yaml", "--json").stdout)
    assert document["findings"][0]["message"].startswith("título: unknown key")


def test_a_folder_that_cannot_be_written_is_said_in_words(tiny: Workspace) -> None:
    shutil.rmtree(tiny.path("var"))
    tiny.path("var").symlink_to("/sys")  # where not even root makes a folder
    done = tiny.headrace("retire", "tiny")
    assert done.returncode == 1
    assert "cannot " in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_model_that_is_not_registered(tiny: Workspace) -> None:
    done = tiny.headrace("predict", "tiny", "a text")
    assert done.returncode == 2, done.stderr
    assert "no model 'tiny' with a version in " in done.stderr
    assert "Traceback" not in done.stderr
