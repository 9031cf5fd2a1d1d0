"""published.json, the receipt of an index: read, and asked whether it still says the truth.

Imports neither pyarrow nor numpy: `status` and `query` ask here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.atomic_files import read_json
from core.errors import BadRequest
from core.workspace import Job, Workspace
from pipelines.search.engine.choice import choose


def read_receipt(job: Job) -> dict[str, Any]:
    """Raises BadRequest, with the command, for an index that does not exist or is not published."""
    known = sorted(path.stem for path in (job.workspace.root / "indexes").glob("*.yaml"))
    if job.name not in known:
        raise BadRequest(f"no index is named {job.name!r}. There are: {', '.join(known) or 'none'}.")
    path = job.folder / "published.json"
    said = read_json(path) if path.is_file() else {}
    if not said or said.get("experiment"):
        raise BadRequest(f"{job.name} is not published yet ({path} is not there). `headrace index {job.name}` does it.")
    return dict(said)


def receipt_holds(said: Mapping[str, Any], workspace: Workspace) -> str | None:
    """Why a receipt is no longer true; None: it is. Asks the engine, reads no vectors. Raises Outage."""
    index, version = str(said["index"]), str(said["version"])
    if said.get("experiment"):
        return "it was written by an experiment, which publishes nothing"
    engine = choose(workspace)
    if engine.place != said["place"]:
        return f"it was published to {said['place']}, and now {engine.place} is asked"
    pointers = engine.pointers(index)
    if pointers.withdrawn == version and pointers.live is not None:
        return None  # a person went back: that stands until there is something new to publish
    if not said.get("published"):
        return None  # a gate refused it: whatever is live is not this one's business
    if pointers.live is None:
        return f"{engine.place} has no live version of {index}"
    if pointers.live != version:
        return f"{engine.place} serves version {pointers.live} of {index} instead of {version}"
    count = engine.count(index, version)
    if count is None:
        return f"{engine.place} has lost version {version} of {index}, or it is damaged"
    if count != said["points"]:
        return f"{engine.place} holds {count:,} points of {index} instead of {said['points']:,}"
    return None
