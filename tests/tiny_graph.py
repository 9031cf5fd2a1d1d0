"""A real git and DVC repository whose stages take milliseconds and do what a test tells them to."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.workspace import Workspace
from tests.prefect_server import give_prefect_database, with_server
from tests.warm import PYTHON, warm

# prepare -> left, right -> join, for each recipe; load for each index. `left` keeps only the first letter of its input.
_STAGE = """\
  {stage}:
    foreach: ${{{loop}}}
    do:
      cmd: python step.py {stage} ${{key}} {folder}/${{key}}/{stage}.txt {needs}
      deps: [{deps}]
      outs: ["{folder}/${{key}}/{stage}.txt": {{persist: true}}]
"""
_GRAPH = [
    ("recipes", "data/models", "prepare", ["${item.watch}"]),
    ("recipes", "data/models", "left", ["prepare"]),
    ("recipes", "data/models", "right", ["prepare"]),
    ("recipes", "data/models", "join", ["left", "right"]),
    ("indexes", "data/indexes", "load", ["${item.watch}"]),
]
_STEP = """\
import json, os, pathlib, socket, subprocess, sys, time
stage, name, out, *needs = sys.argv[1:]
address, var = f"{stage}@{name}", pathlib.Path("var")
began = time.time()
orders = pathlib.Path("orders", address)
order = json.loads(orders.read_text()) if orders.exists() else {}
if order.pop("once", False):
    orders.unlink()
def note(what):
    with open("var/ran.jsonl", "a") as log:
        log.write(json.dumps({"address": address, "what": what, "at": time.time(), "pid": os.getpid()}) + "\\n")
note("began")
print("stdout of", address, flush=True)
def tell(**facts):
    if driver := os.environ.get("HEADRACE_DRIVER"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
            line.sendto(json.dumps(facts).encode(), driver)
if "child" in order:
    subprocess.Popen(["sleep", str(order["child"])])
for i in range(int(order.get("sleep", 0) * 10)):
    tell(progress="sleep", done=i, total=order["sleep"] * 10, unit="naps")
    time.sleep(0.1)
if "fault" in order:
    tell(fault=order["fault"], code=order["code"], transient=order.get("transient", False))
    print(f"{address} stopped (exit {order['code']}): {order['fault']}", file=sys.stderr)
    sys.exit(order["code"])
if "exit" in order:
    print("last words", file=sys.stderr)
    sys.exit(order["exit"])
text = "".join(pathlib.Path(need).read_text() for need in needs)
pathlib.Path(out).parent.mkdir(parents=True, exist_ok=True)
pathlib.Path(out).write_text(text[:1] if stage == "left" else text)
note("ended")
"""


@dataclass(frozen=True)
class TinyGraph:
    """The repository, and what its stages were seen doing."""

    root: Path

    @property
    def workspace(self) -> Workspace:
        return Workspace(self.root)

    def write(self, path: str, text: str) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")

    def order(self, address: str, **what: Any) -> None:
        """Tell a stage how to behave: sleep, child (seconds), fault and code and transient, exit; once."""
        self.write(f"orders/{address}", json.dumps(what))

    def notes(self, what: str) -> list[dict[str, Any]]:
        log = self.root / "var" / "ran.jsonl"
        lines = log.read_text().splitlines() if log.exists() else []
        return [note for note in map(json.loads, lines) if note["what"] == what]

    def ran(self) -> list[str]:
        """Addresses of the stages that came to their end, in that order; forgets them."""
        done = [note["address"] for note in self.notes("ended")]
        (self.root / "var" / "ran.jsonl").unlink(missing_ok=True)
        return done

    def wait_for(self, address: str) -> int:
        """The process id of a stage, once it has begun."""
        until(lambda: any(note["address"] == address for note in self.notes("began")))
        return int([note["pid"] for note in self.notes("began") if note["address"] == address][-1])

    def command(self, *command: str) -> subprocess.CompletedProcess[str]:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        return subprocess.run(
            command, cwd=self.root, env=warm({**os.environ, "PATH": path}), capture_output=True, text=True, timeout=120
        )

    def dvc(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.command(sys.executable, "-m", "dvc", *arguments)

    def git(self, *arguments: str) -> str:
        done = self.command("git", *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def start_run(self, *names: str, kind: str = "recipe", forked: bool = False) -> subprocess.Popen[str]:
        """`headrace run` in a process of its own, at the suite's Prefect server; prints the outcome as JSON.

        forked: by tests/warm, for who asks nothing of the process itself.
        """
        code = (
            "import json, sys; from dataclasses import asdict; from pathlib import Path; "
            "from flows.run.run import run; from core.workspace import Workspace; "
            f"outcome = run(Workspace(Path.cwd()), {kind!r}, {list(names)!r}); "
            "print(json.dumps(asdict(outcome))); sys.exit(outcome.exit_code)"
        )
        env = {**os.environ, **with_server(), "PYTHONPATH": str(Path(__file__).parents[1])}
        return subprocess.Popen(
            [PYTHON, "-c", code], cwd=self.root, env=warm(env) if forked else env, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip


def make_tiny_graph(root: Path, *, recipes: tuple[str, ...] = ("a",), indexes: tuple[str, ...] = ()) -> TinyGraph:
    """A repository with these live recipes and indexes; each watches rows-NAME.txt."""
    root.mkdir(parents=True)
    tiny = TinyGraph(root)
    names = {"recipes": recipes, "indexes": indexes}
    live = {loop: {name: {"task": "none", "watch": f"rows-{name}.txt"} for name in names[loop]} for loop in names}
    tiny.write("params.yaml", json.dumps(live))
    tiny.write("dvc.yaml", "stages:\n" + "".join(_stage(*each) for each in _GRAPH))
    tiny.write("step.py", _STEP)
    tiny.write(".gitignore", "/var/\n/data/\n/orders/\n__pycache__/\n")
    give_prefect_database(root)
    (root / "var").mkdir(exist_ok=True)
    for name in (*recipes, *indexes):
        tiny.write(f"rows-{name}.txt", f"{name} 1")
    tiny.git("init", "-q", "-b", "main")
    tiny.git("config", "user.name", "t")
    tiny.git("config", "user.email", "t@example.org")
    tiny.write(".dvc/config", "[core]\n    analytics = false\n    autostage = false\n")
    tiny.write(".dvc/.gitignore", "/config.local\n/tmp\n/cache\n")
    tiny.git("add", "-A")
    tiny.git("commit", "-qm", "start")
    return tiny


def until(true: Callable[[], bool], *, timeout_s: float = 60.0) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def _stage(loop: str, folder: str, stage: str, needs: list[str]) -> str:
    paths = [need if "$" in need else f"{folder}/${{key}}/{need}.txt" for need in needs]
    quoted = ", ".join(f'"{path}"' for path in paths)
    return _STAGE.format(loop=loop, folder=folder, stage=stage, needs=" ".join(paths), deps=quoted)
