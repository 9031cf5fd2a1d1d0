"""Everything that can be known before work starts: settings, sources, bases, extras, disk, servers, params.yaml."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from core.errors import BadRequest, HeadraceError, Outage
from core.schema.reading import BadSettings, read_document, shown
from core.workspace import Job, Kind, Workspace
from flows.catalog.live import chosen, correct, entry, kind_of, registered_names
from flows.catalog.named import Named, check_columns, check_expectations, named, needed_extra
from flows.catalog.receipt_check import read_receipt
from flows.graph.rot import verify_remotes
from flows.servers.servers import require_usable_proxies
from pipelines.bases import identify
from pipelines.recipes.read import read_index
from pipelines.search.ask.judged_queries import identify_judged
from pipelines.sources import find_source
from registry.store import signing

_LITTLE_DISK_BYTES = 1 << 30
_NO_DISK_BYTES = 50 << 20
_CONNECT_TIMEOUT_S = 5.0
_EMBEDDED_POINTS = 100_000  # docs/retrieval.md, "Measured"
_SERVERS = ("MLFLOW_TRACKING_URI", "PREFECT_API_URL", "QDRANT_URL")
_PORTS = {"http": 80, "https": 443}

Severity = Literal["mistake", "outage", "warning", "corrected"]


@dataclass(frozen=True)
class Finding:
    """One thing to know. place: recipes/a.yaml:14, or what it is about."""

    severity: Severity
    place: str
    message: str


def check(workspace: Workspace, names: Sequence[str]) -> list[Finding]:
    """All that is wrong or will be, with live recipes and indexes and with the machine.

    names: of live ones, or settings files that are not live; without, every live one. params.yaml is corrected where
    it is behind. Raises BadRequest for a name that is not live.
    """
    files = [Path(name) for name in names if _is_file(name)]
    jobs = [] if names and len(files) == len(names) else chosen(workspace, [n for n in names if not _is_file(n)])
    found: list[Finding] = []
    for file in files:
        found += _tried(shown(file), partial(kind_of, file)) or _settings(workspace, file, kind_of(file))
    for job in jobs:
        found += _settings(workspace, job.settings_file, job.kind)
        found += _locked(job)
        found += _index(job) if job.kind == "index" else ()
    return [
        *found, *_names_taken(workspace), *_params(workspace, jobs),
        *_remotes(workspace), *_disk(workspace), *_servers(), *_keys(),
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
    """The file's own mistakes; without any, what it names: source, columns, bases, modules."""
    if found := _tried(shown(file), partial(named, file, kind)):
        return found
    names = named(file, kind)
    at = {key: f"{shown(file)}:{line}" for key, line in names.lines.items()}
    found = _source(names, workspace, at)
    for base in names.bases:
        found += _tried(at["base"], partial(identify, base, workspace.root, weights=names.weights))
    for module in names.modules:
        if advice := needed_extra(module, workspace.root):
            found.append(Finding("mistake", at["task"], advice))
    return found


def _source(names: Named, workspace: Workspace, at: Mapping[str, str]) -> list[Finding]:
    """The source itself; when it can be read its columns; when they are there what is expected of them."""
    columns: list[str] = []
    looks: tuple[tuple[str, Callable[[], object]], ...] = (
        ("source", lambda: find_source(names.data.source).identify(names.data, workspace.root)),
        ("columns", lambda: columns.extend(check_columns(names, workspace) or ())),
        ("expectations", lambda: check_expectations(names, columns) if columns else None),
    )
    for key, look in looks:
        if found := _tried(at[key], look):
            return found
    return []


def _tried(place: str, look: Callable[[], object]) -> list[Finding]:
    try:
        look()
    except Outage as error:
        return [Finding("outage", place, str(error))]
    except BadSettings as error:
        return [Finding("mistake", f"{shown(error.path)}:{each.line}", each.message) for each in error.mistakes]
    except HeadraceError as error:
        return [Finding("mistake", place, str(error))]
    return []


def _locked(job: Job) -> Iterator[Finding]:
    if not job.lock_file.exists():
        message = f"missing. `headrace lock {job.name}` writes it, and so does a run."
        yield Finding("warning", shown(job.lock_file), message)


def _index(job: Job) -> Iterator[Finding]:
    """What an index names besides its documents and weights, and whether it has outgrown the embedded engine."""
    try:
        index = read_index(job.settings_file)
    except BadRequest:
        return  # reported where it stands
    yield from _tried(shown(job.settings_file), lambda: identify_judged(index.evaluation, job.workspace.root))
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


def _disk(workspace: Workspace) -> Iterator[Finding]:
    free = shutil.disk_usage(workspace.root).free
    if free < _LITTLE_DISK_BYTES:
        severity: Severity = "mistake" if free < _NO_DISK_BYTES else "warning"
        yield Finding(severity, str(workspace.root), f"only {free >> 20:,} MB of disk are free.")
    if not os.access(workspace.root, os.W_OK):
        yield Finding("mistake", str(workspace.root), "the workspace is read-only: stages cannot write.")


def _servers() -> Iterator[Finding]:
    """Servers of the user's that do not take a connection; the embedded ones are started when needed."""
    yield from _tried("the environment", require_usable_proxies)
    for variable in _SERVERS:
        try:
            url = urlsplit(os.environ.get(variable, ""))
            if url.scheme not in _PORTS or not url.hostname:
                continue
            port = url.port or _PORTS[url.scheme]
        except ValueError:  # the value is not repeated: it may hold a password
            yield Finding("mistake", variable, "is no address. Allowed: http://HOST:PORT, https://HOST:PORT.")
            continue
        try:
            socket.create_connection((url.hostname, port), _CONNECT_TIMEOUT_S).close()
        except OSError as error:
            message = f"{url.scheme}://{url.hostname}:{port} does not answer ({error}). Start it, or unset {variable}."
            yield Finding("outage", variable, message)


def _keys() -> Iterator[Finding]:
    """Keys for signatures that cannot be used, or that others may read."""
    for variable, look in ((signing.KEY, signing.signing_key), (signing.TRUSTED, signing.trusted_keys)):
        yield from _tried(variable, look)
    if warning := signing.exposed():
        yield Finding("warning", signing.KEY, warning)
