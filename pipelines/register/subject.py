"""What is registered, what its artifact's trial said, and the verdict with all that it stands on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from core.schema.evaluation import Gate
from core.tables.prepared import ENCODER, read_rows
from core.tables.task import Task
from core.workspace import Job
from pipelines.evidence.evidence import Claim, Rival
from registry.promotion.gate import Evidence, Verdict
from registry.promotion.measured import Measured


@dataclass(frozen=True)
class Subject:
    """What is being registered."""

    job: Job
    name: str
    task: Task
    model_hash: str
    measured: Measured
    gates: Mapping[str, Gate]
    primary: str

    @property
    def predictions(self) -> Path:
        return self.job.folder / "evaluation" / "predictions.parquet"

    @cached_property
    def units(self) -> pd.DataFrame:
        """What was evaluated."""
        prepared = self.job.folder / "prepared"
        return self.task.units(read_rows(prepared, "test"), prepared / ENCODER)


@dataclass(frozen=True)
class Judged:
    """A verdict and all that it stands on."""

    claim: Claim
    evidence: Evidence
    verdict: Verdict
    rival: Rival | None


@dataclass(frozen=True)
class Tried:
    """What the artifact's trial said: figures of serving, and how its answers differ from the evaluation's, if so.

    variant: the evidence of its ONNX variant, where the recipe asks for one.
    """

    figures: Mapping[str, float]
    differs: str | None
    variant: Mapping[str, Any] | None = None
