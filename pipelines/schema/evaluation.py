"""`evaluation:`, `gates:` and `registry:`: how good is it, is that enough, and where does it go."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pipelines.schema.section import Section


class Evaluation(Section):
    primary: Annotated[str | None, Field(description="the metric that gates and baselines compare by")] = None
    slices: list[str] = []
    resamples: Annotated[int, Field(ge=100, description="bootstrap resamples a 95 % interval")] = 1000
    seed: Annotated[int, Field(ge=0)] = 7


class Gate(Section):
    """A bound on a metric, or on the lower end of a one-sided paired interval of a difference."""

    at_least: float | None = None
    at_most: float | None = None
    confidence: Annotated[float | None, Field(gt=0.5, lt=1)] = None


class Registry(Section):
    name: Annotated[str | None, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")] = None
    promote: Literal["auto", "manual"] = "auto"
