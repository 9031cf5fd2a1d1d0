"""`schedule:`: when a recipe or an index runs by itself, and what it then commits."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from pipelines.schema.section import Section


class Schedule(Section):
    cron: Annotated[str, Field(min_length=9, description="five fields, as cron(5)")]
    timezone: Annotated[str, Field(description="IANA name, such as Europe/Berlin")] = "UTC"
    commit: bool = False
    push: bool = False
