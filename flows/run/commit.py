"""What a run moved -> one commit of exactly those files, then `dvc push` and `git push`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from core.errors import HeadraceError
from core.file_locks import locked
from core.git import git
from core.tables.tombstones import file_of
from core.workspace import Kind, Workspace
from flows.graph.graph import Graph, select

_git = partial(git, fault=HeadraceError)


@dataclass(frozen=True)
class Kept:
    """What commit_and_push did. None: there was nothing to commit, or no remote is set."""

    commit: str | None = None
    files: tuple[str, ...] = ()
    dvc_pushed: int | None = None
    git_pushed: str | None = None


def commit_and_push(
    workspace: Workspace, kind: Kind, names: Sequence[str], *, commit: bool = True, push: bool = False
) -> Kept:
    """Commit dvc.lock, and the .lock and .forgotten files of these recipes or indexes, as far as they moved.

    What else is staged or changed stays as it is. push: then the outputs go to DVC's default remote, and the branch to
    git's, where such remotes are set; the data first, so that nobody sees a commit whose data is not there.
    Raises HeadraceError with git's words.
    """
    made, files = _commit(workspace, kind, names) if commit else (None, ())
    if not push:
        return Kept(made, files)
    graph = Graph(workspace.root)
    pushed = graph.push([node.address for node in select(graph.nodes, kind, names)])
    return Kept(made, files, pushed, _push(workspace.root))


def _commit(workspace: Workspace, kind: Kind, names: Sequence[str]) -> tuple[str | None, tuple[str, ...]]:
    root = workspace.root
    jobs = [workspace.job(kind, name) for name in names]
    own = [root / "dvc.lock", *(path for job in jobs for path in (job.lock_file, file_of(job)))]
    present = [path.relative_to(root).as_posix() for path in own if path.exists()]
    with locked(workspace.var, "git"):  # two runs of one workspace may end at once
        moved = tuple(path for path in present if _git(root, "status", "--porcelain", "--", path))
        if not moved:
            return None, ()
        _git(root, "add", "--", *moved)  # new ones: `commit --only` wants them known
        title = f"{', '.join(names)}: what the run moved"
        _git(root, "commit", "--quiet", "--only", "--message", title, "--", *moved)
        return _git(root, "rev-parse", "HEAD").strip(), moved


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
