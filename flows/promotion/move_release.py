"""The releases of an index: back to the one before, and which was live when."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from core.errors import BadRequest, HeadraceError
from core.workspace import Job, Workspace
from pipelines.search.engine.choice import choose
from pipelines.search.engine.release_files import Pointers
from pipelines.search.engine.release_log import entries, record


def is_index(workspace: Workspace, name: str) -> bool:
    """Whether an index is called so."""
    return name in {path.stem for path in (workspace.root / "indexes").glob("*.yaml")}


def rollback(workspace: Workspace, index: str) -> Pointers:
    """Make the release before the live one live again; a second time, the other way round. Returns what is so now.

    Raises BadRequest when there is none, or it is damaged: then the live one stays.
    """
    engine = choose(workspace)
    before = engine.pointers(index)
    try:
        back = before.rolled_back()
    except BadRequest as error:
        raise BadRequest(f"{index}: {error} `headrace history {index}` shows its releases.") from None
    if back.live is None or engine.count(index, back.live) is None:
        raise BadRequest(f"{index}: release {back.live} is missing or damaged, so {before.live} stays live.")
    engine.point(index, back)
    record(workspace, index, "rolled back", before.live, back.live)
    return back


def stays_live(job: Job) -> str | None:
    """What is to be said of an index that could not be brought up to date: its live release goes on. None without."""
    with suppress(HeadraceError):
        if live := choose(job.workspace).pointers(job.name).live:
            file = job.settings_file.relative_to(job.workspace.root)
            return (
                f"{job.name}: release {live} stays live and goes on answering as it was. To take it down: `headrace "
                f"retire {job.name} --kind index`, then delete {file}."
            )
    return None


def history(workspace: Workspace, index: str) -> list[dict[str, Any]]:
    """What became of each release that was made here, the oldest first. Raises BadRequest when there is none."""
    found = entries(workspace, index)
    if not found:
        raise BadRequest(f"index {index} was not published here yet. `headrace index {index}` does it.")
    return found


def history_lines(found: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The same for a person."""
    for each in found:
        stays = f", {each['from']} stays live" if each["what"] == "refused" else f", {each['from'] or 'none'} before"
        yield f"{each['at']}  {each['what']:<11} {each['to']}{stays}  by {each['who']}"
