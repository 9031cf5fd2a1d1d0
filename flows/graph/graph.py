"""dvc.yaml -> ordered stages, what is stale and why, and one stage brought up to date: all through DVC itself.

The one owner of DVC's inner API (DVC is pinned; tests/test_dag.py compares with what `dvc` prints).
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any, Literal, TypeVar

from core.errors import BadRequest
from core.terminal import heard
from core.workspace import Kind, Workspace
from flows.graph import links, plain_dvc, power_cut, rot, torn_files
from flows.graph.dvc import guard
from flows.graph.dvc_faults import Busy, CommandFailed, Torn, dvc_faults
from flows.graph.objects import Objects

_KIND_OF_LOOP: dict[str, Kind] = {"${recipes}": "recipe", "${indexes}": "index"}
_BUSY_EVERY_S = 0.5
CODE_STAGE = "code"  # writes data/code.json, which all others read

T = TypeVar("T")
Say = Callable[[str], None]


@dataclass(frozen=True)
class StageNode:
    """One resolved stage of dvc.yaml (or a plain .dvc file, which has no kind and no name)."""

    address: str  # train@film-reviews
    stage: str  # train
    name: str  # film-reviews
    kind: Kind | None
    needs: tuple[str, ...]  # addresses of the stages whose outputs it reads


class Graph:
    """The graph of one workspace as DVC reads it. Make a new one when dvc.yaml or params.yaml may have changed.

    like: of a workspace whose remotes this one uses as its own; nothing of them is written down, passwords neither.
    """

    def __init__(self, root: Path, *, like: Graph | None = None) -> None:
        self.root, self._like = root, like

    @cached_property
    def nodes(self) -> list[StageNode]:
        """Every stage, each after those that it needs."""
        index = self._index()
        with dvc_faults(self.root):
            graph = index.graph  # an edge points from a stage to what it needs
            nodes = {node.address: node for node in (self._node(stage, graph.successors(stage)) for stage in graph)}
        order = TopologicalSorter({address: nodes[address].needs for address in sorted(nodes)})
        return [nodes[address] for address in order.static_order()]

    def open(self) -> None:
        """Load DVC and mend what was torn now; by default the first question does."""
        _ = self._repo

    def stale(self, addresses: Collection[str], *, say: Say | None = None) -> dict[str, list[str]]:
        """Which of these stages DVC would run as things stand, and what made each stale, in words.

        A stage behind a stale one is not listed: whether it runs is known when the first has run.
        Waits while another process holds DVC's lock (`say` is told who), or raises Busy when `say` is None.
        """
        return self._patiently(lambda: self._stale(addresses), say)

    def reproduce(self, address: str, *, force: bool = False, say: Say | None = None) -> Literal["ran", "cached"]:
        """Bring one stage up to date, not those it needs. The command inherits this process's output.

        A stage that fails over an input which rotted on the disk gets that input made anew, and a second try.
        Raises CommandFailed, Busy (only when `say` is None) or another HeadraceError.
        """
        try:
            return self._reproduce(address, force, say)
        except CommandFailed:
            damaged = self._drop_damaged_inputs(address)
            if not damaged:
                raise
        for need, faults in damaged.items():
            print(f"{'; '.join(faults)}. Removed; {need} makes it anew.", file=sys.stderr, flush=True)
            self.reproduce(need, say=say)
        return self._reproduce(address, force, say)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold DVC's lock, so that all that is asked inside is one reading of the stages. Raises Busy."""
        from dvc.repo import lock_repo

        with dvc_faults(self.root), lock_repo(self._repo):
            yield

    @contextmanager
    def idle(self, say: Say) -> Iterator[None]:
        """Hold DVC's lock while none of its stages runs: DVC lets go of it for the time of a stage's command."""
        from dvc.repo import lock_repo

        told = None
        while True:
            with dvc_faults(self.root), lock_repo(self._repo):
                others = [words for words, _ in torn_files.at_work(self._repo)]
                if not others:
                    yield
                    return
            if (words := f"waiting for {', '.join(others)}, which runs a stage") != told:
                say(told := words)
            time.sleep(_BUSY_EVERY_S)

    @property
    def cache(self) -> Path:
        return Path(self._repo.cache.local_cache_dir)

    def pull(self, address: str) -> None:
        """Put a stage's outputs in their place as dvc.lock names them, from the cache or else the default remote."""
        with dvc_faults(self.root):
            has_remote = self._repo.config["core"].get("remote")
            (self._repo.pull if has_remote else self._repo.checkout)([self._target(address)], force=True)

    def push(self, addresses: Iterable[str]) -> int | None:
        """Copy the stages' outputs to the default remote; how many files went, or None when no remote is set."""
        with dvc_faults(self.root):
            if not self._repo.config["core"].get("remote"):
                return None
            return int(self._repo.push([self._target(address) for address in addresses]))

    @property
    def remotes(self) -> dict[str, Any]:
        """The remotes and which is the default one, as DVC's settings have them, passwords included."""
        config = self._repo.config
        return {"core": {key: config["core"][key] for key in ("remote",) if key in config["core"]},
                "remote": config["remote"]}  # fmt: skip

    def objects(self, scratch: Path) -> Objects:
        """DVC's objects, here and in the default remote; scratch: where those of the remote are fetched to."""
        return Objects(self._repo, scratch)

    def trace(self, oid: str) -> tuple[Literal["verified", "missing", "mismatch"], str]:
        """Hash again what DVC keeps under an oid, here or in the default remote (integrity.trace)."""
        with dvc_faults(self.root):
            return rot.trace(self._repo, oid)

    def object_of(self, oid: str, name: str) -> Path | None:
        """A file of a folder's output, in DVC's cache."""
        return rot.object_of(self._repo, oid, name)

    @cached_property
    def output_hashes(self) -> dict[str, str]:
        """What dvc.lock says that the output at a path is now."""
        outs = [out for stage in self._index().stages for out in stage.outs if out.hash_info]
        return {Path(out.fs_path).relative_to(self.root).as_posix(): out.hash_info.value for out in outs}

    @cached_property
    def _repo(self) -> Any:
        from dvc.repo import Repo

        guard()
        with dvc_faults(self.root):
            repo = Repo(str(self.root), config=self._like and self._like.remotes, _wait_for_lock=True)
            torn_files.write_lockfile_at_once(repo)
            rot.verify_here(repo)
            torn_files.heal(repo)
            power_cut.heal(repo, Workspace(self.root).var)
            links.heal(repo)
            return repo

    def _index(self) -> Any:
        """The stages as DVC reads them. A plain `dvc repro` writes dvc.lock in place: what was torn is read once more,
        while DVC's lock is held.
        """
        from dvc.repo import lock_repo

        def read() -> Any:
            _ = self._repo.index.stages
            return self._repo.index

        def read_alone() -> Any:
            with lock_repo(self._repo):
                return read()

        try:
            with dvc_faults(self.root):
                return read()
        except BadRequest:
            return self._patiently(read_alone, lambda words: None)

    def _reproduce(self, address: str, force: bool, say: Say | None) -> Literal["ran", "cached"]:
        from dvc.repo import lock_repo

        target = self._target(address)

        def bring() -> Any:
            self._leave_to_others(address)  # before DVC's lock is asked for: who is at work has to come by it
            with lock_repo(self._repo):
                self._leave_to_others(address)
                return self._repo.reproduce(target, single_item=True, force=force)

        return "ran" if self._patiently(bring, say) else "cached"

    def _leave_to_others(self, address: str) -> None:
        """Raise Busy while a plain `dvc repro` is at work that comes to this stage."""
        for other in plain_dvc.at_work(self._repo):
            if other.brings(address, self._needed_by):
                raise Busy(f"{address} is left to {other.words}, which brings it too")

    def _needed_by(self, address: str) -> set[str]:
        """It, and all that it needs; nothing for what is no stage."""
        nodes = {node.address: node for node in self.nodes}
        found, above = set[str](), [address] if address in nodes else []
        while above:
            found.add(each := above.pop())
            above += [need for need in nodes[each].needs if need not in found]
        return found

    def _drop_damaged_inputs(self, address: str) -> dict[str, list[str]]:
        """By stage that this one needs: which of its outputs were not what it wrote. They are gone then."""
        (needs,) = (node.needs for node in self.nodes if node.address == address)
        stages = {self._address(stage): stage for stage in self._repo.index.stages}
        found = {need: rot.drop_damaged(stages[need]) for need in needs}
        return {need: faults for need, faults in found.items() if faults}

    def _patiently(self, action: Callable[[], T], say: Say | None) -> T:
        told = None
        while True:
            try:
                with dvc_faults(self.root):
                    return action()
            except Torn:  # by a process that was killed since this one began
                torn_files.heal(self._repo)
            except Busy as busy:
                if say is None:
                    raise
                if str(busy) != told:
                    say(told := str(busy))
                time.sleep(_BUSY_EVERY_S)

    def _stale(self, addresses: Collection[str]) -> dict[str, list[str]]:
        from dvc.repo import lock_repo

        found = {}
        with lock_repo(self._repo):
            for stage in self._repo.index.stages:
                address = self._address(stage)
                if address in addresses and (facts := stage.status(check_updates=False)):
                    never = not any(out.hash_info for out in stage.outs)
                    found[address] = ["it never ran"] if never else list(_reasons(next(iter(facts.values()))))
        return found

    def _address(self, stage: Any) -> str:
        return str(getattr(stage, "name", None) or stage.path_in_repo)

    def _target(self, address: str) -> str:
        return str(self.root / address) if address.endswith(".dvc") else f"{self.root}/dvc.yaml:{address}"

    def _node(self, stage: Any, needs: Iterable[Any]) -> StageNode:
        address = self._address(stage)
        loop, _, name = address.partition("@")
        needed = tuple(sorted(self._address(need) for need in needs))
        return StageNode(address, loop, name, self._loops.get(loop), needed)

    @cached_property
    def _loops(self) -> dict[str, Kind]:
        """The kind of each stage that is written as a loop over the live recipes or indexes."""
        from ruamel.yaml import YAML

        stages = YAML(typ="safe").load(self.root / "dvc.yaml").get("stages", {})
        over = {name: stage.get("foreach") for name, stage in stages.items()}
        return {name: _KIND_OF_LOOP[loop] for name, loop in over.items() if loop in _KIND_OF_LOOP}


def select(nodes: Sequence[StageNode], kind: Kind, names: Collection[str]) -> list[StageNode]:
    """The stages of these recipes or indexes and all that they need, in order."""
    wanted: set[str] = set()
    for node in reversed(nodes):
        if (node.kind == kind and node.name in names) or node.address in wanted:
            wanted.update((node.address, *node.needs))
    return [node for node in nodes if node.address in wanted]


def behind(nodes: Sequence[StageNode], addresses: Collection[str]) -> set[str]:
    """These stages and every stage of `nodes` that needs one of them, directly or not."""
    reached = set(addresses)
    for node in nodes:
        if reached.intersection(node.needs):
            reached.add(node.address)
    return reached


def bring_code(graph: Graph, say: Say | None = None) -> Graph:
    """The graph, its stage `code` up to date: what the others are stale by, and what they read, is known then."""
    if any(node.address == CODE_STAGE for node in graph.nodes) and graph.stale([CODE_STAGE], say=say):
        with on_command(lambda: None):
            graph.reproduce(CODE_STAGE, say=say)
        return Graph(graph.root)
    return graph


def without_code(nodes: Sequence[StageNode]) -> list[StageNode]:
    """The stages that a run brings up to date: `code` was brought before."""
    others = [node for node in nodes if node.address != CODE_STAGE]
    return [replace(node, needs=tuple(need for need in node.needs if need != CODE_STAGE)) for node in others]


@contextmanager
def on_command(started: Callable[[], None]) -> Iterator[None]:
    """Call `started` whenever DVC starts a stage's command in this process: it says so in its log."""

    def hear(record: logging.LogRecord) -> None:
        if str(record.msg).startswith("Running stage"):
            started()

    logging.getLogger("dvc").setLevel(logging.WARNING)  # set to INFO when dvc is imported
    with heard("dvc.stage.run", logging.INFO, hear):
        yield


def _reasons(facts: Iterable[Any]) -> Iterator[str]:
    words = {"modified": "changed", "deleted": "is missing", "new": "is new", "not in cache": "is not in DVC's cache"}
    for fact in facts:
        if isinstance(fact, str):
            yield f"its {fact.removeprefix('changed ')} changed" if fact.startswith("changed ") else fact
            continue
        for what, items in fact.items():
            whose = "its output " if what == "changed outs" else ""
            for path, how in items.items():
                keys = how.items() if isinstance(how, dict) else [(None, how)]
                for key, word in keys:
                    yield f"{whose}{path}{f': {key}' if key else ''} {words.get(word, word)}"
