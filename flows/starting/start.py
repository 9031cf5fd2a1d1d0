"""One's own data made live: looked at, a settings file that fits written, its lock and its line in params.yaml."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from core.atomic_files import write_text
from core.errors import BadRequest
from core.schema.data import Data
from core.workspace import Job, Workspace
from flows.catalog.live import new
from flows.starting.choose import Choice, Wishes, choose
from flows.starting.example import with_own_data
from flows.starting.look import Seen, look
from flows.starting.settings_text import settings_text
from pipelines.sources import scheme


@dataclass(frozen=True)
class Started:
    """What was made of a source, and of what."""

    job: Job
    seen: Seen
    choice: Choice
    changed: list[str]  # of an example: what was left out or put in


def start(workspace: Workspace, name: str, source: str, wishes: Wishes, *, example: Path | None = None) -> Started:
    """Make a recipe or an index of a source live. A refusal leaves the workspace as it was.

    source: as it was typed; a path counts from here, and is written down as it counts from the workspace.
    example: a recipe whose choices are taken. Raises BadRequest, Outage.
    """
    seen = look(workspace, Data(source=as_written(workspace, source)))
    if example is not None:
        text, choice, changed = with_own_data(example, seen, wishes)
    else:
        choice, changed = choose(seen, wishes), []
        text = settings_text(name, choice, command=_command(name, source, wishes))
    job = workspace.job(choice.kind, name)
    if job.settings_file.exists():
        raise BadRequest(
            f"{job.settings_file.relative_to(workspace.root)} exists. Choose another name, or edit that file; "
            f"`headrace new {name} --from` it makes it live again."
        )
    write_text(job.settings_file, text)
    try:
        new(workspace, name, job.settings_file)
    except BaseException:
        job.settings_file.unlink(missing_ok=True)
        raise
    return Started(job, seen, choice, changed)


def _command(name: str, source: str, wishes: Wishes) -> str:
    """What a person typed."""
    options = {"source": source, "task": wishes.task, **wishes.columns, "base": wishes.base}
    words = [word for option, value in options.items() if value is not None for word in (f"--{option}", value)]
    return shlex.join(["headrace", "new", name, *words])


def as_written(workspace: Workspace, source: str) -> str:
    """A path from here as the workspace's settings name it: from its root where it lies in it, else absolute."""
    if scheme(source):
        return source
    here = Path(source).expanduser().absolute()
    if not here.exists() and (workspace.root / source).exists():
        return source
    root = workspace.root.resolve()
    return here.relative_to(root).as_posix() if here.is_relative_to(root) else here.as_posix()
