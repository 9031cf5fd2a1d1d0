"""Everything that can be known before work starts: settings, sources, bases, extras, disk, servers, params.yaml."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path

from core.errors import BadRequest
from core.schema.reading import BadSettings, read_document, shown
from core.workspace import Job, Kind, Workspace
from flows.catalog.finding import Finding, Severity, mistakes_in, tried
from flows.catalog.live import chosen, correct, entry, kind_of, registered_names
from flows.catalog.machine import disk, machine, variables
from flows.catalog.named import Named, check_columns, check_expectations, check_labels, named, named_by, needed_extra
from flows.catalog.receipt_check import read_receipt
from flows.graph.rot import verify_remotes
from pipelines.bases import identify
from pipelines.recipes.foreseen import foreseen
from pipelines.recipes.read import read_in_part
from pipelines.recipes.recipe import Index
from pipelines.search.ask.writers import require_writer
from pipelines.sources import find_source

_EMBEDDED_POINTS = 100_000  # docs/retrieval.md, "Measured"
_FORESEEN_BY = (("task",), ("model",), ("preprocess",), ("embed",), ("search",))  # sections
_ONNX = ("onnx", "onnxruntime")


def check(workspace: Workspace, names: Sequence[str]) -> list[Finding]:
    """All that is wrong or will be, with live recipes and indexes and with the machine.

    names: of live ones, or settings files that are not live; without, every live one. params.yaml is corrected where
    it is behind. Raises BadRequest for a name that is not live.
    """
    files = [Path(name) for name in names if _is_file(name)]
    jobs = [] if names and len(files) == len(names) else chosen(workspace, [n for n in names if not _is_file(n)])
    found: list[Finding] = []
    for file in files:
        found += tried(shown(file), partial(kind_of, file)) or _settings(workspace, file, kind_of(file))
    for job in jobs:
        found += _settings(workspace, job.settings_file, job.kind)
        found += _locked(job)
        found += _index(job) if job.kind == "index" else ()
    return [
        *found, *_names_taken(workspace), *_params(workspace, jobs), *_remotes(workspace), *machine(workspace),
    ]  # fmt: skip


def exit_code(found: Sequence[Finding]) -> int:
    """2 with a mistake, 1 with an outage alone, else 0."""
    severities = {finding.severity for finding in found}
    return 2 if "mistake" in severities else 1 if "outage" in severities else 0


def lines(found: Sequence[Finding]) -> list[str]:
    """For a person; a mistake reads as its place and message, like a compiler's."""
    marks: dict[Severity, str] = {"mistake": "", "outage": "", "warning": "warning: ", "corrected": "corrected: "}
    said = [f"{each.place}: {marks[each.severity]}{each.message}" for each in found]
    return said if exit_code(found) else [*said, "no mistakes found"]


def _is_file(name: str) -> bool:
    return name.endswith((".yaml", ".yml")) or os.sep in name


def _settings(workspace: Workspace, file: Path, kind: Kind) -> list[Finding]:
    """The file's own mistakes, and those of what it names as far as it says: source, columns, bases, modules."""
    try:
        read = read_in_part(file, kind)
    except BadRequest as missing:
        return [Finding("mistake", shown(file), str(missing))]
    found = mistakes_in(file, read.mistakes)
    if (settings := read.settings) is None:
        return found
    names = named_by(settings, read.document)
    at = {key: f"{shown(file)}:{line}" for key, line in names.lines.items()}
    data, base = ("documents", ("embed", "model")) if kind == "index" else ("data", ("model", "base"))
    found += _source(names, workspace, at) if not read.touches((data, "source"), (data, "reader")) else ()
    named_bases = names.bases if not read.touches(base) else ()
    bases = [tried(at["base"], partial(identify, each, workspace.root, weights=names.weights)) for each in named_bases]
    modules = list(_modules(names, workspace, at["task"]))
    found += [*chain.from_iterable(bases), *modules]
    if not any(bases) and not modules and not read.touches(*_FORESEEN_BY):
        found += mistakes_in(file, foreseen(read.document, settings, workspace.root))
    if isinstance(settings, Index):
        line = read.document.line(("answer", "model"))
        found += tried(f"{shown(file)}:{line}", lambda: require_writer(settings.answer, workspace.root))
    elif settings.registry.onnx == "auto":
        lacking = next(filter(None, (needed_extra(module, workspace.root) for module in _ONNX)), None)
        found += [Finding("warning", shown(file), f"registry.onnx: {lacking}")] if lacking else []
    return found


def _modules(names: Named, workspace: Workspace, place: str) -> Iterator[Finding]:
    for module in names.modules:
        if advice := needed_extra(module, workspace.root):
            yield Finding("mistake", place, advice)


def require_ready(workspace: Workspace, kind: Kind, names: Sequence[str]) -> None:
    """Raise BadRequest with what would stop a stage on this machine, before any begins: room, variables, modules.

    What the files themselves say wrong, the first stage refuses.
    """
    found = [*disk(workspace), *variables()]
    for name in names:
        if (file := workspace.job(kind, name).settings_file).exists():
            asked = named(file, kind)
            found += _modules(asked, workspace, f"{shown(file)}:{asked.lines['task']}")
    if mistakes := [each for each in found if each.severity == "mistake"]:
        raise BadRequest("\n".join(lines(mistakes)))


def _source(names: Named, workspace: Workspace, at: Mapping[str, str]) -> list[Finding]:
    """The source itself; when it can be read its columns; when they are there its labels and what is expected."""
    columns: list[str] = []
    if found := tried(at["source"], lambda: find_source(names.data.source).identify(names.data, workspace.root)):
        return found
    found = tried(at["columns"], lambda: columns.extend(check_columns(names, workspace) or ()))
    found += tried(at["gates"], partial(check_labels, names, workspace))
    return found + (
        tried(at["expectations"], partial(check_expectations, names, columns, workspace.var)) if columns else []
    )


def _locked(job: Job) -> Iterator[Finding]:
    if not job.lock_file.exists():
        message = f"missing. `headrace lock {job.name}` writes it, and so does a run."
        yield Finding("warning", shown(job.lock_file), message)


def _index(job: Job) -> Iterator[Finding]:
    """Whether it has outgrown the embedded engine."""
    points = (read_receipt(job) or {}).get("points", 0)
    if points > _EMBEDDED_POINTS and not os.environ.get("QDRANT_URL"):
        message = (
            f"{points:,} passages: the embedded engine is measured up to {_EMBEDDED_POINTS:,}, and each process that "
            f"asks loads them. Set QDRANT_URL to a Qdrant server, then `headrace index {job.name}`: "
            "nothing is embedded again."
        )
        yield Finding("warning", shown(job.settings_file), message)


def _names_taken(workspace: Workspace) -> Iterator[Finding]:
    for name, jobs in registered_names(workspace).items():
        for job in jobs[1:]:
            line = read_document(job.settings_file).line(("registry", "name"))
            message = f"registry.name: {name!r} is also what {shown(jobs[0].settings_file)} registers as. Rename one."
            yield Finding("mistake", f"{shown(job.settings_file)}:{line}", message)


def _params(workspace: Workspace, jobs: Sequence[Job]) -> Iterator[Finding]:
    """Keep params.yaml true, and warn of what a clone elsewhere will not have."""
    entries: dict[Job, dict[str, str]] = {}
    for job in jobs:
        try:
            entries[job] = entry(job)
        except BadSettings:
            continue  # reported where it stands
        except BadRequest as error:
            if job.settings_file.exists():
                yield Finding("mistake", shown(job.settings_file), str(error))
    for change in correct(workspace, entries):
        yield Finding("corrected", "params.yaml", change)
    for job, wanted in entries.items():
        if Path(wanted["watch"]).is_absolute():
            message = f"source {wanted['watch']} lies outside the workspace: a clone elsewhere will not have it."
            yield Finding("warning", shown(job.settings_file), message)


def _remotes(workspace: Workspace) -> Iterator[Finding]:
    """DVC trusts what a remote sends unless it is told to hash it."""
    config = workspace.root / ".dvc" / "config"
    if config.exists():
        for name in verify_remotes(workspace.root):
            message = f"remote {name!r}: verify = true. What it sends is hashed before it is used."
            yield Finding("corrected", shown(config), message)
