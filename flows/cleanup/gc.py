"""`headrace gc`: what aliases, ledgers, indexes, git's refs and running work need stays; the rest is shown, or freed.

Everything is looked at and removed under the locks that runs take. Versions are marked before the first file goes, and
a folder loses its name before its files: whatever a kill leaves is found free again by the next gc.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.atomic_files import said_in, sync
from core.progress import tracked
from core.workspace import Workspace
from flows.cleanup import unused_files
from flows.cleanup.unused_files import Age
from flows.cleanup.var_folders import INDEXES, VERSIONS
from flows.graph.git_refs import bases, lock_texts, oids
from flows.graph.graph import Graph
from flows.servers.turns import alone, no_stage
from flows.terminal.output import say
from pipelines.search.engine import release_files
from registry.cleanup import held_versions, needed
from registry.cleanup.needed import SPARED_S, Base, Held, Thing
from registry.store.connection import exclusive, is_embedded, shown_server
from registry.store.versions import every_version

ORPHANS = "models without a version"
_LOOK_EVERY_S = 1.0


@dataclass(frozen=True)
class Survey:
    """What takes space, and what becomes of it. notes: what was left alone as a whole, and why."""

    things: list[Thing]
    notes: list[str]
    free_versions: list[Held]
    kept_versions: list[Held]

    @property
    def bytes(self) -> int:
        """What can be freed."""
        return sum(thing.bytes for thing in self.things if thing.free)


def gc(workspace: Workspace, *, dry_run: bool, command: str = "headrace gc", spared_s: float = SPARED_S) -> Survey:
    """Find what nothing needs and, unless it is a dry run, free it. Waits for runs, and runs wait for it.

    spared_s: what was made in this time stays. Raises BadRequest when git, or a file that names what is needed, cannot
    be read, and Outage when a server does not answer: then nothing is freed.
    """
    graph = Graph(workspace.root)
    with nullcontext() if dry_run else undisturbed(workspace, graph, command):
        found = survey(workspace, graph, Age(time.time(), spared_s))
        if not dry_run:
            _free(workspace, found)
    return found


def survey(workspace: Workspace, graph: Graph, age: Age) -> Survey:
    """Everything that takes space here, with what it is for."""
    texts = lock_texts(workspace.root)
    named = {oid: each.where for each in reversed(texts) if each.of_dvc for oid in oids(each.text)}
    held = held_versions.holdings(workspace.var) if is_embedded() else []
    receipts = _receipts(workspace)
    based = {**_published_bases(receipts), **bases(texts)}
    reasons = needed.needed(held, named=named, based=based, now=age.now, spared_s=age.spared_s)
    kept = [each for each in held if each.called in reasons]
    locks = [each.lock for each in kept] if is_embedded() else held_versions.locks_elsewhere(workspace.var)
    named |= {oid: "a needed version" for lock in locks for oid in oids(lock) if oid not in named}
    things = [*_versions(held, reasons), *_orphans(workspace, held, age)]
    things += _in_cache(workspace, graph, named, age)
    published = {index: str(said["version"]) for index, said in receipts.items() if "version" in said}
    things += unused_files.of_engine(workspace, published, age)
    served = [] if is_embedded() else every_version(workspace.var)
    known = {each for version in served for each in (version.run_id, version.model_id)}  # a download may be of these
    stale = graph.stale([node.address for node in graph.nodes], say=say)
    unfinished = {(node.kind, node.name) for node in graph.nodes if node.address in stale and node.kind is not None}
    things += unused_files.of_var(workspace, unused_files.in_use(graph, unfinished, known), age)
    going = {thing.path for thing in things if thing.free}
    things += unused_files.of_var(workspace, {"base of a model": unused_files.bases(workspace, going)}, age)
    things += unused_files.strays(workspace, age)
    free = [each for each in held if each.called not in reasons]
    return Survey(things, list(_notes(workspace, graph)), free, kept)


def document(found: Survey, *, dry_run: bool) -> dict[str, Any]:
    """For scripts."""
    return {
        "dry_run": dry_run,
        "bytes": found.bytes,
        "freed": needed.rows(found.things, free=True),
        "kept": needed.rows(found.things, free=False),
        "versions": [thing.name for thing in found.things if thing.free and thing.what == VERSIONS.what],
        "notes": found.notes,
    }


def lines(found: Survey, *, dry_run: bool) -> Iterator[str]:
    """For a person."""
    kept, free = (needed.rows(found.things, free=each) for each in (False, True))
    if kept:
        yield "kept"
        yield from needed.table(kept)
    yield from found.notes
    if not free:
        yield "nothing to free"
        return
    yield "would be freed" if dry_run else "freed"
    yield from needed.table(free)
    count = sum(row["count"] for row in free)
    yield f"{needed.size(found.bytes)} in {count:,} things" + (
        " could be freed: `headrace gc`" if dry_run else " freed"
    )


@contextmanager
def undisturbed(workspace: Workspace, graph: Graph, command: str) -> Iterator[None]:
    """While nothing else works here; says what it waits for.

    DVC's lock before those of the stages: a stage of DVC's that waits for its own lock would else wait for ever.
    """
    with alone(workspace, command=command, say=say):
        told = None
        while True:
            with graph.idle(say), no_stage(workspace) as other:
                if other is None:
                    with exclusive(workspace.var):
                        yield
                    return
            if other != told:
                say(f"waiting for {other}")
                told = other
            time.sleep(_LOOK_EVERY_S)


def _free(workspace: Workspace, found: Survey) -> None:
    held_versions.unmark(found.kept_versions, workspace.var)
    held_versions.mark(found.free_versions, workspace.var)
    free = [thing for thing in found.things if thing.free]
    for thing in tracked(free, "free", total=len(free), unit="things"):
        if thing.what == INDEXES.what:
            release_files.remove(workspace, *thing.name.split("/"))
        else:
            discard(thing.path)


def discard(path: Path) -> None:
    """Remove a file or a folder; a folder is another name's first, so that nobody meets half of it under its own."""
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    going = path if path.name.endswith(unused_files.FREED) else path.with_name(f".{path.name}{unused_files.FREED}")
    if going != path:
        shutil.rmtree(going, ignore_errors=True)  # an earlier gc was stopped
        path.rename(going)
        sync(going.parent)
    shutil.rmtree(going)


def _versions(held: list[Held], reasons: Mapping[str, str]) -> Iterator[Thing]:
    """The versions whose files are there; what several versions share counts once."""
    seen: set[Path] = set()
    for each in held:
        if each.folder is not None and each.folder.is_dir() and each.folder not in seen:
            seen.add(each.folder)
            free, why = each.called not in reasons, reasons.get(each.called, VERSIONS.because)
            yield Thing(VERSIONS.what, each.called, each.folder, unused_files.size_of(each.folder), free, why)


def _orphans(workspace: Workspace, held: list[Held], age: Age) -> Iterator[Thing]:
    for called, folder, made in held_versions.orphans(workspace.var, held) if is_embedded() else ():
        free = not age.young(made)
        why = "its version was deleted, or never made" if free else needed.YOUNG
        yield Thing(ORPHANS, called, folder, unused_files.size_of(folder), free, why)


def _in_cache(workspace: Workspace, graph: Graph, named: Mapping[str, str], age: Age) -> list[Thing]:
    if not _own_cache(workspace, graph):
        return []
    looked_at = unused_files.objects(graph.cache, named, age)
    found = list(tracked(looked_at, "look at DVC's cache", total=None, unit="objects"))
    gone = [thing.name for thing in found if thing.free]
    return [*found, *unused_files.run_cache(graph.cache, gone, age)]


def _own_cache(workspace: Workspace, graph: Graph) -> bool:
    """Whether DVC's cache is this workspace's alone: other clones may share one that lies elsewhere."""
    return graph.cache.resolve().is_relative_to(workspace.root.resolve())


def _notes(workspace: Workspace, graph: Graph) -> Iterator[str]:
    if not is_embedded():
        yield f"left alone: versions in {shown_server()}, which other clones may need"
    if not _own_cache(workspace, graph):
        yield f"left alone: DVC's cache in {graph.cache}, which other clones may share"


def _published_bases(receipts: Mapping[str, Mapping[str, Any]]) -> dict[Base, str]:
    """The registered versions that published indexes embed questions with -> which index."""
    found: dict[Base, str] = {}
    for index, said in receipts.items():
        embedder = said.get("embedder") or {}
        base = held_versions.base_of(str(embedder.get("reference")), embedder.get("identity") or {})
        if base is not None:
            found[base] = f"the index {index}"
    return found


def _receipts(workspace: Workspace) -> dict[str, dict[str, Any]]:
    """Index -> its published.json, of retired ones too."""
    files = sorted((workspace.root / "data" / "indexes").glob("*/published.json"))
    return {file.parent.name: said_in(file) for file in files}
