"""HEADRACE_NOTIFY_URL: somebody is told of a run that failed or was refused; one message a cause, not one a night."""

from __future__ import annotations

import logging
import os
import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from core.addresses import without_secrets
from core.atomic_files import said_in, write_json
from core.workspace import Kind, Workspace
from flows.graph.plan import INTERRUPTED, Outcome

VARIABLE = "HEADRACE_NOTIFY_URL"
_AGAIN_AFTER_S = 7 * 24 * 3600.0
_VARYING = re.compile(r"0x[0-9a-f]+|\b[0-9a-f]{7,}\b|\d+", re.IGNORECASE)  # hashes, ids, counts: no other cause


def tell_outcome(workspace: Workspace, kind: Kind, names: Sequence[str], outcome: Outcome) -> None:
    """Send a message for each recipe or index that failed or was refused; forget the causes of those that are well."""
    if outcome.exit_code == INTERRUPTED:
        return
    failed: dict[str, list[str]] = {}
    for stage in outcome.stages:
        if stage.state == "failed":
            failed.setdefault(stage.address.partition("@")[2], []).append(f"{stage.address}: {stage.message}")
    page = outcome.links.get("run")
    for name in sorted({*names, *failed}):
        if name in failed:
            tell(workspace, kind, name, "failed", failed[name], page=page)
        elif name in outcome.refused:
            tell(workspace, kind, name, "was refused by its gates", outcome.refused[name], page=page)
        else:
            _file(workspace, name).unlink(missing_ok=True)


def tell(
    workspace: Workspace, kind: Kind, name: str, what: str, why: Sequence[str], *, page: str | None = None
) -> None:
    """Send one message, unless the same cause was told of in the last week. Never raises: a run does not hang on it."""
    url = os.environ.get(VARIABLE)
    if not url:
        return
    file, cause = _file(workspace, name), _VARYING.sub("#", "\n".join([what, *why]))
    now, told = time.time(), said_in(file)
    if told.get("cause") != cause:
        told = {"cause": cause, "at": now, "times": 0}
    told["times"] += 1  # since somebody was told, that one included
    if told["times"] > 1 and now - told["at"] < _AGAIN_AFTER_S:
        write_json(file, told)
        return
    lines = [*why, ""]
    if told["times"] > 1:
        since = time.strftime("%Y-%m-%d %H:%M", time.localtime(told["at"]))
        lines.append(f"It has happened {told['times']} times since {since}.")
    lines += [f"Look further, in {workspace.root}: headrace status {name}"]
    lines += [f"The run: {page}"] if page else []
    if _send(url, f"Headrace: {kind} {name} {what}", without_secrets("\n".join(lines))):
        write_json(file, {"cause": cause, "at": now, "times": 1})


def _send(url: str, title: str, body: str) -> bool:
    """Whether it went. What goes wrong is said without the URL: it holds passwords."""
    from apprise import Apprise

    logging.getLogger("apprise").setLevel(logging.CRITICAL)
    service = Apprise()
    if not service.add(url):
        fault = f"{VARIABLE} is no address that Apprise knows"
    elif not service.notify(title=title, body=body):
        fault = f"The service behind {VARIABLE} took no message"
    else:
        return True
    print(f"{fault}; nobody was told.", file=sys.stderr, flush=True)
    return False


def _file(workspace: Workspace, name: str) -> Path:
    return workspace.var / "notices" / f"{name}.json"
