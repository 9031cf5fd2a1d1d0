"""What is stale and which input made it so, what runs now, what is champion, what is live."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from typing import Any

from core.errors import BadRequest, Outage
from core.schema.reading import read_document
from core.workspace import Job, Workspace
from flows.catalog.live import chosen
from flows.catalog.receipt_check import lost, read_receipt
from flows.catalog.stale_code import with_files
from flows.cleanup.disk import disk
from flows.cleanup.disk import line as disk_line
from flows.graph.dvc_faults import Busy
from flows.graph.graph import Graph, select
from flows.servers import servers
from flows.servers.turns import holder
from flows.terminal.results import answered_by, in_part, in_part_lines, rows_lines, unread_lines
from pipelines.evidence.row_counts import row_counts
from registry.promotion.gate import reason_line


def status(workspace: Workspace, names: Sequence[str]) -> dict[str, Any]:
    """The state of live recipes and indexes (all, or those of these names), for a person and for scripts."""
    jobs = chosen(workspace, names)
    with ThreadPoolExecutor(1) as beside:  # the registry's client loads while DVC looks at files
        asked = beside.submit(lambda: [_known(job) for job in jobs])
        graph = Graph(workspace.root)
        stale = _stale(graph, jobs)
        known = asked.result()
    found = [{**each, "stale": stale[job]} for job, each in zip(jobs, known, strict=True)]
    return {
        "recipes": [each for each in found if each["kind"] == "recipe"],
        "indexes": [each for each in found if each["kind"] == "index"],
        "pages": servers.links(workspace),
        "disk": disk(workspace, graph),
    }


def lines(found: Mapping[str, Any]) -> Iterator[str]:
    """The same for a person."""
    for each in [*found["recipes"], *found["indexes"]]:
        yield f"{each['name']} ({each['kind']})"
        if each["running"]:
            yield f"  running   process {each['running']['pid']} (`{each['running']['command']}`)"
        yield from _stale_lines(each["stale"])
        yield from rows_lines(each)
        yield from _server_lines(each)
    if not found["recipes"] and not found["indexes"]:
        yield "Nothing is live. `headrace new NAME --source DATA` adds a recipe or an index."
    for name, url in sorted(found["pages"].items()):
        yield f"{name} page: {url}"
    yield disk_line(found["disk"])


def _stale(graph: Graph, jobs: Sequence[Job]) -> dict[Job, dict[str, list[str]] | None]:
    """The stale stages of each, with reasons; None while another process holds DVC's lock."""
    try:
        with graph.held():
            own = {job: {node.address for node in select(graph.nodes, job.kind, [job.name])} for job in jobs}
            asked = set().union(*own.values())
            found = graph.stale(asked)
    except Busy:
        return dict.fromkeys(jobs)
    if jobs:
        order = [node.address for node in graph.nodes if node.address in asked]
        found = with_files(jobs[0].workspace, order, found)
    return {job: {at: reasons for at, reasons in found.items() if at in addresses} for job, addresses in own.items()}


def _known(job: Job) -> dict[str, Any]:
    """All but what DVC says. The server's outage is said, not raised: the rest is still worth seeing."""
    running, receipt = holder(job.workspace, job.kind, job.name), read_receipt(job)
    found: dict[str, Any] = {
        "name": job.name, "kind": job.kind, "running": asdict(running) if running else None, "receipt": receipt,
        "stale": None, "lost": None, "outage": None, "rows": (counts := row_counts(job.folder)) and counts.document(),
    }  # fmt: skip
    try:
        if receipt is not None:
            found["lost"] = next(iter(lost(job.workspace, job.kind, [job.name]).values()), None)
        found |= _registered(job) if job.kind == "recipe" else _live(job)
    except Outage as outage:
        found["outage"] = str(outage)
    return found


def _live(job: Job) -> dict[str, Any]:
    from pipelines.search.engine.choice import choose

    pointers = choose(job.workspace).pointers(job.name)
    told = {"live": pointers.live, "previous": pointers.previous, "withdrawn": pointers.withdrawn}
    return {**told, "in_part": in_part(job)}


def _registered(job: Job) -> dict[str, Any]:
    from registry.promotion.question import questions
    from registry.store.overview import glance
    from registry.store.versions import CHALLENGER, CHAMPION

    try:
        registry = read_document(job.settings_file).values.get("registry")  # not read as a recipe: that loads its task
    except BadRequest:
        return {}  # its settings stage is stale and will say so; `check` lists the mistakes
    name = str((registry.get("name") if isinstance(registry, Mapping) else None) or job.name)
    seen = glance(name, job.workspace.var)
    aliases = {alias: seen.aliases.get(alias) for alias in (CHAMPION, CHALLENGER)}
    asked = [question.version for question in questions(job.workspace.var) if question.name == name]
    return {"model": name, **aliases, "newest": seen.newest, "asked": asked, "libraries": seen.moved}


def _stale_lines(stale: Mapping[str, Sequence[str]] | None) -> Iterator[str]:
    if stale is None:
        yield "  stale     not known: another process is at work in DVC"
    elif not stale:
        yield "  up to date"
    for address, reasons in (stale or {}).items():
        yield f"  stale     {address}: {'; '.join(reasons)}"


def _server_lines(each: Mapping[str, Any]) -> Iterator[str]:
    if each["outage"]:
        yield f"  unknown   {each['outage']}"
    if each.get("newest"):
        words = f"champion {each['champion'] or 'none'}, challenger {each['challenger'] or 'none'}"
        yield f"  model     {each['model']}: {words}, newest version {each['newest']}"
    for version in each.get("asked", ()):
        yield f"  approval  version {version}: {answered_by(each['model'], version)}"
    verdict = (each["receipt"] or {}).get("verdict")
    if verdict and not verdict["passed"]:
        yield f"  gates     refused version {each['receipt'].get('version')}"
        for reason in verdict["reasons"] if each["kind"] == "index" else ():
            yield from [] if reason["passed"] else [f"            {reason_line(reason)}"]
    for library, (then, now) in each.get("libraries", {}).items():
        yield f"  trained   with {library} {then}, now {now}"
    if each.get("live"):
        newest = (each["receipt"] or {}).get("version")
        back = "brings back" if newest == each["withdrawn"] else "goes to"
        beside = f", `headrace rollback` {back} {each['previous']}" if each["previous"] else ""
        yield f"  live      version {each['live']}{beside}"
    if each["kind"] == "index":
        told = [*unread_lines(each["name"], each["receipt"] or {}), *in_part_lines(each.get("in_part", ()))]
        yield from (f"  {'' if at else 'unread':<9} {line}" for at, line in enumerate(told))
    if each["lost"]:
        verb = "run" if each["kind"] == "recipe" else "index"
        yield f"  lost      {each['lost']}. `headrace {verb} {each['name']}` puts it right"
