"""What lies in DVC's cache and in var/, and why it stays or can go. Looks only; flows/cleanup/gc.py removes."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from core.weights.base_store import named_base
from core.workspace import Kind, Workspace
from flows.cleanup.disk import BLOCK, files
from flows.cleanup.var_folders import INDEXES, PLACES, Unless, place_of
from flows.graph.git_refs import oids
from flows.graph.graph import Graph
from flows.graph.objects import cached
from pipelines.search.engine.release_files import standing
from registry.cleanup.needed import YOUNG, Thing
from registry.store.connection import artifacts
from registry.store.names import downloaded
from registry.store.versions import MODEL_FILES

OBJECTS, RUNS = "DVC objects", "DVC run cache"
FREED = ".freed"  # how a folder is called while it goes
_STRAY = re.compile(rf"\..+(\.new|\.old|\.[0-9]+|{re.escape(FREED)})|headrace-.+")

Stays = Callable[[str], str | None]  # an entry's name -> why it stays, "" for nothing worth saying; None: it can go


@dataclass(frozen=True)
class Age:
    """now: seconds since the epoch. spared_s: what was written in this time stays."""

    now: float
    spared_s: float

    def young(self, written: float) -> bool:
        return self.now - written < self.spared_s


def objects(cache: Path, named: Mapping[str, str], age: Age) -> Iterator[Thing]:
    """DVC's objects, lists of files before what they list.

    named: the hashes that lock files and needed versions name -> where; a list's files are needed with it.
    """
    found = cached(cache / "files" / "md5")
    wanted = dict(named)
    for oid in [oid for oid in named if oid.endswith(".dir") and oid in found]:
        wanted |= {entry: named[oid] for entry in oids(found[oid].read_bytes()) if entry not in wanted}
    for oid in sorted(found, key=lambda oid: (not oid.endswith(".dir"), oid)):
        needed = "a dvc.lock, here, in git or of a needed version" if oid in wanted else None
        yield _judged(OBJECTS, oid, found[oid], age, "nothing names it", stays=needed)


def run_cache(cache: Path, gone: Collection[str], age: Age) -> Iterator[Thing]:
    """Entries of DVC's run cache. gone: the objects that are about to go.

    A folder without an entry goes too, as a whole: DVC (3.67) stumbles over an empty one.
    """
    gone = frozenset(gone)
    for folder in sorted(path for path in (cache / "runs").glob("*/*") if path.is_dir()):
        entries = sorted(folder.iterdir())
        going = [entry for entry in entries if gone & oids(entry.read_bytes())]
        for place in [folder] if len(going) == len(entries) or folder.name.endswith(FREED) else going:
            yield _judged(RUNS, place.name, place, age, "it names an object that goes")


def of_engine(workspace: Workspace, published: Mapping[str, str], age: Age) -> Iterator[Thing]:
    """Versions in the embedded engine. published: index -> the version that its receipt names."""
    for each in standing(workspace):
        name = f"{each.index}/{each.version}"
        named = published.get(each.index) == each.version
        reasons = (
            (each.live, "it is live"),
            (each.previous, "`headrace rollback` goes back to it"),
            (named, "published.json names it"),
            (each.read, "it is being read"),
        )
        why = next((words for holds, words in reasons if holds), None)
        yield _judged(INDEXES.what, name, each.folder, age, INDEXES.because, stays=why)


def in_use(graph: Graph, unfinished: Collection[tuple[Kind, str]], known: Collection[str]) -> dict[Unless, Stays]:
    """What keeps entries of var/, the bases of models aside.

    unfinished: what is live and not up to date. known: the ids of the runs and models of an MLflow server's versions.
    """
    live = {f"{node.kind}-{node.name}" for node in graph.nodes}
    stages = {f"{node.address}.log" for node in graph.nodes}
    recipes, others = ({name for each, name in unfinished if each == kind} for kind in ("recipe", "index"))
    goes_on = "{} is not up to date: it goes on from there"
    read = "a recipe is not up to date: it may read them" if recipes else None
    return {
        "unfinished recipe": _among(recipes, goes_on), "unfinished index": _among(others, goes_on),
        "any unfinished recipe": lambda _: read, "live": _among(live), "stage": _among(stages),
        "of live index": lambda name: _among(live)(f"index-{name.rpartition('-')[0]}"),  # INDEX-RELEASE
        "on server": _among(known), "never": lambda _: None,
    }  # fmt: skip


def _among(names: Collection[str], why: str = "") -> Stays:
    return lambda name: why.format(name) if name in names else None


def of_var(workspace: Workspace, stays: Mapping[Unless, Stays], age: Age) -> Iterator[Thing]:
    """The entries of every folder of var/ whose rule is among these."""
    for place in PLACES:
        if place.gc is not None and place.gc.unless in stays:
            for path in _entries(workspace.var / place.name):
                if (why := stays[place.gc.unless](path.name)) != "":
                    yield _judged(place.gc.what, path.name, path, age, place.gc.because, stays=why)


def bases(workspace: Workspace, going: Collection[Path]) -> Stays:
    """What keeps the bases that adapters add to. going: models' folders that are about to go."""
    models = [*artifacts(workspace.var).glob("*/models/*/artifacts"), *_entries(downloaded(workspace.var))]
    named = [named_base(folder / MODEL_FILES) for folder in models if folder not in going]
    return _among({each.files for each in named if each is not None}, "a model that stays adds to it")


def strays(workspace: Workspace, age: Age) -> Iterator[Thing]:
    """What a kill left under a temporary name, in var/ and beside the outputs of stages."""
    why = "a process was killed while it wrote it"
    for path in _strays(workspace):
        name, place = path.name, path.with_name(path.name[1:].removesuffix(".old"))
        if place.exists() or not name.endswith(".old"):  # else it is the only one: `replacing` puts it back
            yield _judged("leftovers", name, path, age, why, spare=FREED not in name)


def _strays(workspace: Workspace) -> Iterator[Path]:
    for top, folders, names in os.walk(workspace.var):
        if Path(top) == workspace.var:
            folders[:] = [name for name in folders if not place_of(Path(name)).running]
        matching = [name for name in (*folders, *names) if _STRAY.fullmatch(name)]
        folders[:] = [name for name in folders if name not in matching]
        yield from (Path(top, name) for name in matching)
    for kind in ("models", "indexes"):
        outputs = (workspace.root / "data" / kind).glob("*/.*")
        yield from (path for path in outputs if _STRAY.fullmatch(path.name))


def _entries(folder: Path) -> list[Path]:
    """What a folder holds, temporary names aside."""
    return sorted(p for p in folder.iterdir() if not p.name.startswith(".")) if folder.is_dir() else []


def _judged(
    what: str, name: str, place: Path, age: Age, because: str, *, stays: str | None = None, spare: bool = True
) -> Thing:
    """It goes, unless something is why it stays, or it is young. because: why it can go."""
    size, written = _measured(place)
    why = stays or (YOUNG if spare and age.young(written) else None)
    return Thing(what, name, place, size, why is None, why or because)


def size_of(place: Path) -> int:
    """Bytes of a file, or of all files below a folder; 0 when it is not there."""
    return _measured(place)[0]


def _measured(place: Path) -> tuple[int, float]:
    """Bytes, and when a file in it was written last. What goes meanwhile counts nothing: a dry run holds no lock."""
    found = list(files(place))
    if not found:
        return 0, place.lstat().st_mtime if place.exists() else 0.0
    return sum(each.st_blocks for each in found) * BLOCK, max(each.st_mtime for each in found)
