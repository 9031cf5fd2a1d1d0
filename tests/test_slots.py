"""Slots that nobody served: told once, when they are late enough to matter, and not when a run was going on."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from core.schema.schedule import Schedule
from core.workspace import Job, Workspace
from flows.schedule.missed import LATE, serve, tell_missed
from tests.test_notices import Inbox, inbox

__all__ = ["inbox"]  # a fixture

NIGHTLY = Schedule(cron="0 3 * * *", timezone="Europe/Berlin")
THREE = datetime(2026, 3, 2, 2, tzinfo=UTC)  # three o'clock in Berlin


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Workspace(tmp_path).job("recipe", "films")


def test_a_first_start_has_missed_nothing(job: Job) -> None:
    assert tell_missed(job, NIGHTLY, now=THREE) is None


def test_missed_nights_are_told_once(job: Job, inbox: Inbox) -> None:
    serve(job, NIGHTLY, now=THREE)
    said = tell_missed(job, NIGHTLY, now=THREE + timedelta(days=3, hours=5))
    assert said is not None
    assert said.startswith("3 slots of 0 3 * * * Europe/Berlin passed since 2026-03-03 03:00 and no run began")
    assert tell_missed(job, NIGHTLY, now=THREE + timedelta(days=3, hours=6)) is None
    [message] = inbox.messages
    assert message["title"] == "Headrace: recipe films missed its schedule"
    assert said in message["message"]
    assert "headrace status films" in message["message"]


def test_a_run_that_is_a_little_late_is_no_missed_slot(job: Job) -> None:
    serve(job, NIGHTLY, now=THREE)
    assert tell_missed(job, NIGHTLY, now=THREE + timedelta(days=1) + LATE / 2) is None


def test_slots_during_a_run_are_not_missed(job: Job) -> None:
    every_hour = Schedule(cron="0 * * * *")
    serve(job, every_hour, now=THREE)  # it starts
    serve(job, every_hour, now=THREE + timedelta(hours=5, minutes=59))  # it ends
    assert tell_missed(job, every_hour, now=THREE + timedelta(hours=6, minutes=1)) is None


def test_another_schedule_has_missed_nothing(job: Job) -> None:
    serve(job, NIGHTLY, now=THREE)
    assert tell_missed(job, Schedule(cron="* * * * *"), now=THREE + timedelta(days=9)) is None


def test_a_day_of_23_hours_has_one_slot(job: Job) -> None:
    """Berlin's clocks go forward in the night to 29 March 2026, and half past two does not exist."""
    half_past_two = Schedule(cron="30 2 * * *", timezone="Europe/Berlin")
    serve(job, half_past_two, now=datetime(2026, 3, 28, 12, tzinfo=UTC))
    said = tell_missed(job, half_past_two, now=datetime(2026, 3, 29, 12, tzinfo=UTC))
    assert said is not None
    assert said.startswith("1 slot of")


@pytest.mark.parametrize("torn", ["", "{", "[]", '{"served": "yesterday", "schedule": "0 3 * * * Europe/Berlin"}'])
def test_a_torn_note_counts_as_none(job: Job, torn: str) -> None:
    serve(job, NIGHTLY, now=THREE)
    (file,) = (job.workspace.var / "slots").iterdir()
    assert json.loads(file.read_text())["schedule"] == "0 3 * * * Europe/Berlin"
    file.write_text(torn)
    assert tell_missed(job, NIGHTLY, now=THREE + timedelta(days=9)) is None
