"""What a run stands on and moved -> one commit of exactly those files, then `dvc push` and `git push`.

Who checks the commit out, pulls and runs has the same state: nothing but `register` runs there.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from core.errors import HeadraceError
from core.file_locks import locked
from core.git import git, git_says
from core.schema.reading import read_document
from core.tables.tombstones import file_of
from core.workspace import Kind, Workspace
from flows.catalog.params import of_these_alone
from flows.graph.graph import CODE_STAGE, Graph, select

_git = partial(git, fault=HeadraceError)
_PARAMS = "params.yaml"
_NAMED = 20  # files, in a commit's message


@dataclass(frozen=True)
class Kept:
    """What commit_and_push did. None: there was nothing to commit, or no remote is set.

    left: what the run used and the commit has not, as code that somebody is editing.
    """

    commit: str | None = None
    files: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    dvc_pushed: int | None = None
    git_pushed: str | None = None


def commit_and_push(
    workspace: Workspace, kind: Kind, names: Sequence[str], *, commit: bool = True, push: bool = False
) -> Kept:
    """Commit dvc.lock, params.yaml, and the settings, .lock and .forgotten files of these recipes or indexes.

    What else is staged or changed stays as it is, other entries of params.yaml too. What these recipes used and nobody
    committed, as code or a source, is named in the commit's message. push: then the outputs go to DVC's default remote,
    and the branch to git's, where such remotes are set; the data first, so that nobody sees a commit whose data is not
    there.
    Raises HeadraceError with git's words.
    """
    graph = Graph(workspace.root)
    kept = _commit(workspace, graph, kind, names) if commit else Kept()
    if not push:
        return kept
    pushed = graph.push([node.address for node in select(graph.nodes, kind, names)])
    return replace(kept, dvc_pushed=pushed, git_pushed=_push(workspace.root))


def _commit(workspace: Workspace, graph: Graph, kind: Kind, names: Sequence[str]) -> Kept:
    root = workspace.root
    jobs = [workspace.job(kind, name) for name in names]
    own = [path for job in jobs for path in (job.settings_file, job.lock_file, file_of(job))]
    present = [path.relative_to(root).as_posix() for path in own if path.exists()]
    with locked(workspace.var, "git"):  # two runs of one workspace may end at once
        committed = git_says(root, "show", f"HEAD:{_PARAMS}")
        params = of_these_alone(workspace, kind, names, committed)
        moved = tuple(_moved(root, ["dvc.lock", _PARAMS, *present]))
        if params == committed:
            moved = tuple(path for path in moved if path != _PARAMS)
        if not moved:
            return Kept()
        left = tuple(path for path in _moved(root, _used(graph, kind, names)) if path not in (*present, "dvc.lock"))
        with _tree(workspace, moved, params) as within:
            _git(root, *within, "add", "--", *moved)  # new ones: `commit --only` wants them known
            _git(root, *within, "commit", "--quiet", "--only", "--message", _message(names, left), "--", *moved)
        return Kept(_git(root, "rev-parse", "HEAD").strip(), moved, left)


def _moved(root: Path, paths: Sequence[str]) -> list[str]:
    """The files at or below these paths that git would commit."""
    said = _git(root, "status", "--porcelain", "-z", "--no-renames", "--untracked-files=all", "--", *paths)
    return [entry[3:] for entry in said.split("\0") if entry]


def _used(graph: Graph, kind: Kind, names: Sequence[str]) -> list[str]:
    """What these recipes or indexes are made of, as dvc.lock says: their source, where it lies here, and the code."""
    root = graph.root
    stages = read_document(root / "dvc.lock").values.get("stages") or {}
    own = {CODE_STAGE, *(node.address for node in select(graph.nodes, kind, names))}
    needs = {dep["path"] for at, stage in stages.items() if at in own for dep in stage.get("deps", [])}
    inside = sorted(need for need in needs if not Path(need).is_absolute() and ".." not in Path(need).parts)
    tracked = [f"{need}.dvc" for need in inside if (root / f"{need}.dvc").exists()]
    return ["dvc.yaml", *inside, *tracked]


def _message(names: Sequence[str], left: Sequence[str]) -> str:
    title = f"{', '.join(names)}: what the run moved"
    if not left:
        return title
    more = [f"and {len(left) - _NAMED:,} more"] if len(left) > _NAMED else []
    listed = "\n".join(f"    {each}" for each in [*left[:_NAMED], *more])
    return f"{title}\n\nNot in this commit, though the run used it as it lay here, uncommitted:\n{listed}"


@contextmanager
def _tree(workspace: Workspace, moved: Sequence[str], params: str | None) -> Iterator[list[str]]:
    """git's options for the folder that it commits from: the workspace, or these files with other words in params.yaml.

    params: None for the workspace's own.
    """
    if params is None:
        yield []
        return
    with tempfile.TemporaryDirectory(dir=workspace.var, prefix="headrace-") as scratch:
        for path in moved:
            (Path(scratch) / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(workspace.root / path, Path(scratch) / path)
        if _PARAMS in moved:
            (Path(scratch) / _PARAMS).write_text(params, encoding="utf-8")
        git_folder = _git(workspace.root, "rev-parse", "--absolute-git-dir").strip()
        yield ["--git-dir", git_folder, "--work-tree", scratch, "-C", scratch]


def _push(root: Path) -> str | None:
    remotes = _git(root, "remote").split()
    if not remotes:
        return None
    branch = _git(root, "rev-parse", "--abbrev-ref", "HEAD").strip()
    if branch == "HEAD":
        raise HeadraceError(f"{root}: no branch is checked out, so there is none to push. `git switch` to one.")
    own = _git(root, "config", "--default", "", "--get", f"branch.{branch}.remote").strip()
    remote = own or ("origin" if "origin" in remotes else remotes[0])
    _git(root, "push", "--quiet", remote, branch)
    return f"{remote}/{branch}"
