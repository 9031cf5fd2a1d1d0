"""What a run leaves on Prefect's page: a Markdown and a table artifact for each recipe or index."""

from __future__ import annotations

from flows.plan import Plan, StageOutcome
from pipelines.workspace import Workspace


def leave_artifacts(workspace: Workspace, plan: Plan, stages: list[StageOutcome], *, mlflow: str | None) -> None:
    pass
