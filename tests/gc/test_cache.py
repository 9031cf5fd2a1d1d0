"""Of DVC's cache stays what a lock file of any ref, worktree, stash or experiment names."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from core.errors import BadRequest
from flows.cleanup.gc import gc
from tests.gc.world import cached, free
from tests.tiny_graph import TinyGraph


def keep_by_stash(tiny: TinyGraph) -> None:
    tiny.git("stash", "-q")
    tiny.write("other.txt", "a second stash")
    tiny.git("add", "other.txt")
    tiny.git("stash", "-q")


def keep_by_experiment(tiny: TinyGraph) -> None:
    tiny.git("commit", "-qam", "x")
    tiny.git("update-ref", "refs/exps/ab/cdef/lanky-tofu", "HEAD")
    tiny.git("reset", "-q", "--hard", "HEAD~1")


def keep_by_remote_branch(tiny: TinyGraph) -> None:
    tiny.git("commit", "-qam", "x")
    tiny.git("update-ref", "refs/remotes/origin/main", "HEAD")
    tiny.git("reset", "-q", "--hard", "HEAD~1")


def keep_by_annotated_tag(tiny: TinyGraph) -> None:
    tiny.git("commit", "-qam", "x")
    tiny.git("tag", "-a", "v1", "-m", "x")
    tiny.git("reset", "-q", "--hard", "HEAD~1")


def keep_by_worktree(tiny: TinyGraph) -> None:
    tiny.git("commit", "-qam", "x")
    tiny.git("worktree", "add", "-q", "--detach", "../beside")
    tiny.git("reset", "-q", "--hard", "HEAD~1")


def keep_by_another_worktrees_files(tiny: TinyGraph) -> None:
    lock = (tiny.root / "dvc.lock").read_text()
    tiny.git("worktree", "add", "-q", "--detach", "../beside")
    (tiny.root.parent / "beside" / "dvc.lock").write_text(lock)
    tiny.git("checkout", "-q", "dvc.lock")


def keep_by_index(tiny: TinyGraph) -> None:
    tiny.git("add", "dvc.lock")
    tiny.git("restore", "dvc.lock")  # from the index; then another one in the workspace
    tiny.write("dvc.lock", tiny.git("show", "HEAD:dvc.lock") + "\n")


def keep_by_copy_of_an_experiment(tiny: TinyGraph) -> None:
    tiny.write(".dvc/tmp/exps/tmpabc/dvc.lock", (tiny.root / "dvc.lock").read_text())
    tiny.git("checkout", "-q", "dvc.lock")


def keep_by_nothing(tiny: TinyGraph) -> None:
    tiny.git("checkout", "-q", "dvc.lock")


@pytest.mark.slow
@pytest.mark.parametrize(
    "keep",
    [
        keep_by_stash, keep_by_experiment, keep_by_remote_branch, keep_by_annotated_tag, keep_by_worktree,
        keep_by_another_worktrees_files, keep_by_index, keep_by_copy_of_an_experiment, keep_by_nothing,
    ],
)  # fmt: skip
def test_what_a_lock_file_somewhere_names_stays(working_graph: TinyGraph, keep: Callable[[TinyGraph], None]) -> None:
    tiny = working_graph
    for text in ("first", "second"):
        tiny.write("rows-a.txt", text)
        assert tiny.dvc("repro", "-q").returncode == 0
        if text == "first":
            tiny.git("add", "-A")
            tiny.git("commit", "-qm", text)
    first, second = ([f"{text}", f"{text[0]}{text}"] for text in ("first", "second"))  # of prepare, of join
    assert {text for text in (*first, *second) if cached(tiny, text).is_file()} == {*first, *second}
    keep(tiny)
    free(tiny)
    stay = {text for text in (*first, *second) if cached(tiny, text).is_file()}
    assert stay == {*first, *(second if keep is not keep_by_nothing else [])}


@pytest.mark.slow
def test_the_run_cache_forgets_what_went(working_graph: TinyGraph) -> None:
    tiny = working_graph
    graph = (tiny.root / "dvc.yaml").read_text()
    tiny.write("dvc.yaml", graph.replace(": {persist: true}", ""))  # DVC keeps no runs of what persists
    for text in ("first", "second"):
        tiny.write("rows-a.txt", text)
        assert tiny.dvc("repro", "-q").returncode == 0
    runs = tiny.root / ".dvc" / "cache" / "runs"
    before = len([path for path in runs.rglob("*") if path.is_file()])
    free(tiny)
    left = [path for path in runs.rglob("*") if path.is_file()]
    assert 0 < len(left) < before
    tiny.write("rows-a.txt", "first")
    assert tiny.dvc("repro", "-q").returncode == 0


@pytest.mark.slow
def test_a_cache_that_others_may_share_is_left_alone(working_graph: TinyGraph) -> None:
    tiny = working_graph
    tiny.dvc("cache", "dir", "--local", str(tiny.root.parent / "shared"))
    for text in ("first", "second"):
        tiny.write("rows-a.txt", text)
        assert tiny.dvc("repro", "-q").returncode == 0
    before = [path for path in (tiny.root.parent / "shared").rglob("*") if path.is_file()]
    found = gc(tiny.workspace, dry_run=False, spared_s=0)
    assert found.notes == [f"left alone: DVC's cache in {tiny.root.parent / 'shared'}, which other clones may share"]
    assert [path for path in (tiny.root.parent / "shared").rglob("*") if path.is_file()] == before


def test_where_git_cannot_say_what_it_needs_nothing_is_freed(working_graph: TinyGraph) -> None:
    working_graph.write(".git/refs/heads/torn", "0" * 39 + "1\n")
    with pytest.raises(BadRequest, match="Nothing is freed while git cannot say"):
        gc(working_graph.workspace, dry_run=False, spared_s=0)
