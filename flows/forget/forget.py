"""`headrace forget`: a row or a document, by its id, out of tables, vectors, indexes, DVC's objects and the registry.

First the id goes into NAME.forgotten, so that no source brings the row back; tables and live indexes are made anew;
then whatever holds it goes, under the locks that gc takes. What it is known by lies in var/forgetting until the end:
after a kill, the same command goes on. What holds it even then is searched for once more, and named with the reason.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from core.atomic_files import make_folder, read_json, write_json
from core.errors import BadRequest, HeadraceError
from core.progress import tracked
from core.tables import tombstones
from core.workspace import Job, Workspace
from flows.catalog.live import live
from flows.cleanup.gc import undisturbed
from flows.cleanup.unused_files import Age, run_cache
from flows.forget import find, places
from flows.forget.find import Found
from flows.forget.forget_report import Report, begun
from flows.forget.places import Locks
from flows.forget.row_copies import Traces
from flows.forget.swept_files import Fate, Sweep, settle
from flows.graph.graph import Graph, on_command, select
from flows.graph.objects import Objects
from flows.servers.turns import turns
from flows.terminal.output import say
from pipelines.evidence.evidence import BUNDLE
from pipelines.recipes.observe import write_lock
from pipelines.recipes.read import read_lock
from pipelines.search.engine import release_files
from registry.cleanup.forgotten_rows import signed_again
from registry.store.connection import is_embedded
from registry.store.versions import EVIDENCE, PREDICTIONS

_NOT_YET = (
    "{0} cannot be made anew without the row, so nothing was removed yet: other rows would go with it. From now on the "
    "row is left out. Run the same again when that is mended, or `headrace retire {0}` first: then all of it goes."
)
_UNSIGNED = (
    "{0} is signed with a key that HEADRACE_SIGNING_KEY does not name, and its input example had the row: where "
    "HEADRACE_TRUSTED_KEY is set it is not used any more. Promote another version."
)
_TABLE = ("settings", "collect")  # what makes a recipe's table of examples


def forget(workspace: Workspace, name: str, *, dry_run: bool, command: str = "headrace forget") -> Report:
    """Forget the row or document with this id, or say what would go.

    Raises BadRequest when nothing has it, Outage when a server or the remote does not answer: then run it again.
    """
    graph = Graph(workspace.root)
    folder = workspace.var / "forgetting" / hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    earlier = (folder / "traces.json").exists()
    try:
        objects = _objects(graph, folder)
        if dry_run:
            return _remove(workspace, objects, name, folder, dry_run=True)
        found = _find(workspace, objects, places.every_lock(workspace), name, folder)
        _begin(folder, found)
        for job, names in found.jobs.items():
            _bury(job, names)
        for job in found.jobs:
            _bring(workspace, job, command)
        graph = Graph(workspace.root)
        with undisturbed(workspace, graph, command):
            return _remove(workspace, _objects(graph, folder), name, folder, dry_run=False)
    finally:
        if (dry_run and not earlier) or not (folder / "traces.json").exists():
            shutil.rmtree(folder, ignore_errors=True)


def _objects(graph: Graph, folder: Path) -> Objects:
    make_folder(folder / "scratch")
    folder.chmod(0o700)
    return graph.objects(folder / "scratch")


def _find(workspace: Workspace, objects: Objects, locks: Locks, name: str, folder: Path) -> Found:
    found = find.find(workspace, objects, locks, name)
    if (folder / "traces.json").exists():  # an earlier one was stopped
        before = read_json(folder / "traces.json")
        found.traces |= Traces.from_json(before["traces"])
        for kind, each, names, at in before["jobs"]:
            found.jobs.setdefault(workspace.job(kind, each), set()).update(names)
            found.places.setdefault(workspace.job(kind, each), set()).update(at)
    if not found.jobs:
        buried = [job for job in _jobs(workspace) if tombstones.read(job).any_of([name])]
        if not buried:
            raise BadRequest(
                f"no row or document {name!r} is in this workspace, in DVC's cache or remote. An id is a value of the "
                "column row_id (data/models/NAME/raw/examples.parquet), or a document's id or path."
            )
        found.jobs = {job: {name} for job in buried}
        found.traces |= Traces(ids=frozenset({name}), documents=frozenset({name}))
    found.spare_others()
    return found


def _begin(folder: Path, found: Found) -> None:
    jobs = [[j.kind, j.name, sorted(names), sorted(found.places.get(j, ()))] for j, names in found.jobs.items()]
    write_json(folder / "traces.json", {"traces": found.traces.as_json(), "jobs": jobs})


def _bury(job: Job, names: Iterable[str]) -> None:
    """Write the tombstone, then its hash into the lock, which makes the stages that read the source stale."""
    if not job.settings_file.exists():
        return
    tombstones.add(job, names)
    if job.lock_file.exists():
        lock = read_lock(job)
        write_lock(job, lock.model_copy(update={"source": {**lock.source, **tombstones.identity(job)}}))


def _bring(workspace: Workspace, job: Job, command: str) -> None:
    """Make a live index, or a live recipe's table of examples, anew without the row: what has it goes after that.

    Raises HeadraceError when that fails: the other rows stand in the same files.
    """
    last = job.folder / ("published.json" if job.kind == "index" else "raw")
    if job not in live(workspace, job.kind) or not last.exists():
        return
    with turns(workspace, {(job.kind, job.name)}, command=command, say=say), _stdout_to_stderr():
        graph = Graph(workspace.root)
        for node in select(graph.nodes, job.kind, [job.name]):
            if job.kind == "index" or node.stage in _TABLE:
                try:
                    with on_command(partial(say, f"{node.address}: without the row")):
                        graph.reproduce(node.address, say=say)
                except HeadraceError as fault:
                    raise HeadraceError(f"{fault}\n{_NOT_YET.format(job.name)}") from fault


def _remove(workspace: Workspace, objects: Objects, name: str, folder: Path, *, dry_run: bool) -> Report:
    """All that holds the row, the tables that tell what to look for included; those are in the journal."""
    locks = places.every_lock(workspace)
    found = _find(workspace, objects, locks, name, folder)
    report, sweep = begun(workspace, found), Sweep(workspace, objects.cache)
    report.versions, report.notes = places.touched(workspace, objects, found.traces)
    if dry_run:
        _count(workspace, sweep, found, report)
    else:
        _begin(folder, found)
        for each in report.versions:
            places.mark(each, found.traces, objects, workspace)
        places.take_from_engines(workspace, found, report)
        with signed_again([each.version for each in report.versions], workspace.var) as unsigned:
            _rewrite(workspace, sweep, found, report)
        report.notes += [_UNSIGNED.format(called) for called in unsigned]
    going = places.objects_with(objects, found.traces, locks, report)
    report.broken = places.broken(going, locks)
    report.count("DVC objects", len(going) if dry_run else objects.delete(going))
    if not dry_run:
        for entry in run_cache(objects.cache.parent.parent, going, Age(0, 0)):
            settle(Fate("DVC run cache", "remove", entry.path), found.traces)
    places.name_kept(workspace, sweep, objects, found, report, dry_run=dry_run)
    if not dry_run:
        (folder / "traces.json").unlink()
    return report


def _rewrite(workspace: Workspace, sweep: Sweep, found: Found, report: Report) -> None:
    for path, fate in tracked(sweep.look(found.traces), "look at files", total=None, unit="files with it"):
        report.count(fate.what, int(settle(fate, found.traces)))
        if path.parent.name == EVIDENCE and path.name in (BUNDLE, PREDICTIONS) and fate.action != "keep":
            report.notes.append(f"{path}: it was judged by this; `promote` refuses that version from now on")
    if not is_embedded():
        places.scrub_served(workspace, found.traces, report)


def _count(workspace: Workspace, sweep: Sweep, found: Found, report: Report) -> None:
    """What would be removed of engines and files."""
    targets = {(fate.what, fate.target) for _, fate in sweep.look(found.traces) if fate.action != "keep"}
    for what, _ in sorted(targets):
        report.count(what)
    indexes = {job.name for job in found.jobs if job.kind == "index"}
    report.count("versions of indexes", sum(each.index in indexes for each in release_files.standing(workspace)))


def _jobs(workspace: Workspace) -> Iterator[Job]:
    for folder, kind in (("recipes", "recipe"), ("indexes", "index")):
        for file in sorted((workspace.root / folder).glob("*.forgotten")):
            yield workspace.job(kind, file.stem)  # type: ignore[arg-type]


@contextmanager
def _stdout_to_stderr() -> Iterator[None]:
    """What stages print goes to stderr: stdout is for our own report."""
    sys.stdout.flush()
    before = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        os.dup2(before, 1)
        os.close(before)
