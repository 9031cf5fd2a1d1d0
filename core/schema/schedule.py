"""`schedule:`: when a recipe or an index runs by itself, and what it then commits."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated
from zoneinfo import available_timezones

from cronsim import CronSim, CronSimError
from pydantic import Field, field_validator

from core.errors import near
from core.schema.section import Section

_FIELDS = 5  # minute, hour, day of month, month, day of week


class Schedule(Section):
    cron: Annotated[str, Field(description="five fields, as cron(5): minute hour day month weekday")]
    timezone: Annotated[str, Field(description="IANA name, such as Europe/Berlin")] = "UTC"
    commit: Annotated[bool, Field(description="commit dvc.lock and the .lock files that a good run moved")] = False
    push: Annotated[bool, Field(description="then dvc push and git push, where remotes are set")] = False

    @field_validator("cron")
    @classmethod
    def _is_cron(cls, value: str) -> str:
        if len(value.split()) != _FIELDS:
            raise ValueError(f"must have five fields (minute hour day month weekday), got {value!r}")
        try:
            next(CronSim(value, datetime.now(UTC)))
        except (CronSimError, StopIteration) as error:
            raise ValueError(f"no such time: {value!r} ({error or 'it never comes'})") from None
        return value

    @field_validator("timezone")
    @classmethod
    def _is_timezone(cls, value: str) -> str:
        if value not in available_timezones():
            hint = near(value, available_timezones())
            raise ValueError(f"no time zone {value!r}. {hint}Allowed: IANA names, such as Europe/Berlin")
        return value
