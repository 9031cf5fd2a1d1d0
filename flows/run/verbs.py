"""`headrace run` and `headrace index`: locks refreshed, the graph brought up to date, what came of it in words."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from core.errors import GATE_REFUSED
from core.workspace import Kind, Workspace
from flows.catalog.live import chosen
from flows.catalog.refresh import refresh
from flows.run.commit import commit_and_push
from flows.run.run import run
from flows.servers import servers
from flows.terminal.results import lines, result


@dataclass(frozen=True)
class Upkeep:
    """document: for scripts. lines: for a person."""

    document: dict[str, Any]
    lines: list[str]
    exit_code: int


def bring_up_to_date(
    workspace: Workspace, kind: Kind, names: Sequence[str], *, force: str | None, commit: bool, push: bool
) -> Upkeep:
    """Every live one of the kind without names. Raises BadRequest for settings with mistakes before anything starts."""
    jobs = chosen(workspace, names, kind)
    for job in jobs:
        for moved in refresh(job):
            print(f"{job.lock_file.relative_to(workspace.root)}: {moved}", file=sys.stderr)
    outcome = run(workspace, kind, [job.name for job in jobs], force=force)
    results = [result(job) for job in jobs]
    links = {name: servers.link(workspace, address) for name, address in sorted(outcome.links.items())}
    document: dict[str, Any] = {**outcome.as_json(), "links": links, "results": results}
    said: list[str] = []
    if outcome.exit_code in (0, GATE_REFUSED):
        said += [line for each in results for line in lines(each)]
        if commit:
            kept = commit_and_push(workspace, kind, [job.name for job in jobs], push=push)
            document["kept"] = asdict(kept)
            said.append(f"commit {kept.commit[:10]}: {', '.join(kept.files)}" if kept.commit else "nothing to commit")
    said += [f"{name} page: {url}" for name, url in links.items()]
    return Upkeep(document, said, outcome.exit_code)
