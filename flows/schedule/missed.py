"""A recipe's schedule, and its slots that passed and nobody served: the machine slept or was off, or no scheduler ran.

var/slots/KIND-NAME.json says until when the schedule was served: it is written when a scheduler starts, and when one of
its runs starts and ends. So slots that pass during a long run are not missed: the run after it is theirs.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice, takewhile
from pathlib import Path
from zoneinfo import ZoneInfo

from core.atomic_files import said_in, write_json
from core.schema.schedule import Schedule
from core.workspace import Job
from flows.reporting.notices import tell
from pipelines.recipes.read import read_index, read_recipe

LATE = timedelta(minutes=15)  # a restart takes some; of a run that is this late nobody need know
_COUNTED = 1000


def schedule_of(job: Job) -> Schedule | None:
    """When a recipe or index runs by itself, if it does."""
    settings = read_recipe(job.settings_file) if job.kind == "recipe" else read_index(job.settings_file)
    return settings.schedule


def tell_missed(job: Job, schedule: Schedule, *, now: datetime | None = None) -> str | None:
    """Tell of the slots that passed unserved, once, the first of them LATE ago or more; returns what was told.

    From now on the schedule counts as served. One that was another when it was served last has missed nothing.
    """
    now = now or datetime.now(UTC)
    missed = list(islice(_slots(schedule, _served(job, schedule) or now, now), _COUNTED))
    serve(job, schedule, now=now)
    if not missed or now - missed[0] < LATE:
        return None
    many = "1 slot" if len(missed) == 1 else f"{len(missed):,} slots"
    why = (
        f"{many} of {schedule.cron} {schedule.timezone} passed since {missed[0]:%Y-%m-%d %H:%M} and no run began: the "
        "machine was off or slept, or no scheduler ran. The next run makes up for them."
    )
    tell(job.workspace, job.kind, job.name, "missed its schedule", [why])
    return why


def serve(job: Job, schedule: Schedule, *, now: datetime | None = None) -> None:
    """Note that every slot up to now was served."""
    write_json(_file(job), {"served": (now or datetime.now(UTC)).isoformat(), "schedule": _name(schedule)})


def _slots(schedule: Schedule, after: datetime, until: datetime) -> Iterator[datetime]:
    """The schedule's times, `after` not among them."""
    from cronsim import CronSim

    times = CronSim(schedule.cron, after.astimezone(ZoneInfo(schedule.timezone)))
    return takewhile(lambda slot: slot <= until, times)


def _served(job: Job, schedule: Schedule) -> datetime | None:
    try:
        said = said_in(_file(job))
        return datetime.fromisoformat(said["served"]) if said["schedule"] == _name(schedule) else None
    except (KeyError, TypeError, ValueError):
        return None


def _name(schedule: Schedule) -> str:
    return f"{schedule.cron} {schedule.timezone}"


def _file(job: Job) -> Path:
    return job.workspace.var / "slots" / f"{job.kind}-{job.name}.json"
