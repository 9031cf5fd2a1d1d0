"""The releases of an index: back to the one before, and which was live when."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from core.errors import BadRequest, HeadraceError
from core.workspace import Job, Workspace
from pipelines.evidence import judged_releases
from pipelines.search.engine.choice import choose
from pipelines.search.engine.release_files import Pointers
from pipelines.search.engine.release_log import entries, record

_POINTERS = ("live", "previous")
_LEAST_DIGITS = 4  # of a release's 16


def is_index(workspace: Workspace, name: str) -> bool:
    """Whether an index is called so."""
    return name in {path.stem for path in (workspace.root / "indexes").glob("*.yaml")}


def resolve_release(workspace: Workspace, index: str, reference: str) -> str:
    """The release that `live`, `previous` or the first digits of a release's name mean. Raises BadRequest for none."""
    pointers = choose(workspace).pointers(index)
    if reference in _POINTERS:
        found: str | None = getattr(pointers, reference)
        if found is None:
            raise BadRequest(f"{index} has no {reference} release. `headrace history {index}` names those it had.")
        return found
    logged = {name for each in entries(workspace, index) for name in (each["from"], each["to"])}
    known = {*filter(None, logged), *pointers.kept, *judged_releases.kept(workspace, index)}
    matching: list[str] = sorted(name for name in known if name.startswith(reference))
    if len(matching) != 1 or len(reference) < _LEAST_DIGITS:
        which = f"more than one begins so: {', '.join(matching)}" if len(matching) > 1 else "there is none of that name"
        raise BadRequest(
            f"{index}/{reference}: {which}. A release is {index}@live, {index}@previous, or {index}/ and "
            f"{_LEAST_DIGITS} digits or more of what `headrace history {index}` lists."
        )
    return matching[0]


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
