"""`evaluation:`, `gates:` and `registry:`: how good is it, is that enough, and where does it go."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from core.schema.section import Section

# What serving the packed model costs (registry/version/trial.py), beside the task's metrics: gates may bound these too.
RETRIEVAL = ("ndcg_at_10", "recall_at_10", "mrr")  # of an index (pipelines/publish/judging.py)
LABEL_FIGURES = ("f1", "precision", "recall")  # of each label that a model answers with
AGAINST_LIVE = "against_live"  # an index's release against the live one, by ndcg_at_10
SERVING = ("latency_p50_ms", "latency_p95_ms", "throughput_rows_per_s", "peak_memory_mb")


class Evaluation(Section):
    primary: Annotated[str | None, Field(description="the metric that gates and baselines compare by")] = None
    slices: list[str] = []
    resamples: Annotated[int, Field(ge=100, description="bootstrap resamples a 95 % interval")] = 1000
    seed: Annotated[int, Field(ge=0)] = 7


class Gate(Section):
    """A bound on a metric, or on the lower end of a one-sided paired interval of a difference."""

    at_least: float | None = None
    at_most: float | None = None
    confidence: Annotated[
        float | None, Field(gt=0.5, lt=1, description="of against_baseline and against_champion; by default 0.95")
    ] = None
    baseline: Annotated[
        str | None, Field(description="of against_baseline: which one; by default the best by the primary metric")
    ] = None

    @model_validator(mode="after")
    def _bounds_something(self) -> Gate:
        if self.at_least is None and self.at_most is None:
            raise ValueError("needs at_least or at_most: a gate without a bound gates nothing")
        if self.at_least is not None and self.at_most is not None and self.at_least > self.at_most:
            raise ValueError(f"at_least must not exceed at_most ({self.at_most:g}), got {self.at_least:g}")
        return self


class Registry(Section):
    name: Annotated[str | None, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")] = None
    promote: Annotated[
        Literal["auto", "manual", "approval"],
        Field(description="auto: champion when every gate passes; approval: a person is asked then, on Prefect's page"),
    ] = "auto"
    onnx: Annotated[
        Literal["auto", "never"],
        Field(description="auto: register exports the model too; it answers where its evidence says equal and faster"),
    ] = "never"
