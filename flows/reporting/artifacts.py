"""What a run leaves on Prefect's page: a Markdown and a table artifact for each recipe or index."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from prefect.artifacts import create_markdown_artifact, create_table_artifact

from core.tables.spelling import prose
from core.workspace import Job, Workspace
from flows.catalog.receipt_check import read_receipt
from flows.graph.plan import Plan, StageOutcome
from flows.reporting.prefect_once import left_once
from flows.terminal.results import lines, result

_EMBEDDED_AT_MOST = 200_000  # bytes of a plot; larger ones are linked

Row = dict[str, str | float | None]


def leave_artifacts(workspace: Workspace, plan: Plan, stages: list[StageOutcome], *, mlflow: str | None) -> None:
    """Called inside the flow run, when its stages have ended.

    mlflow: the address of its page, if there is one.
    """
    for name in plan.names:
        job = workspace.job(plan.kind, name)
        own = [stage for stage in stages if stage.address.endswith(f"@{name}")]
        found = result(job)
        key = f"{plan.kind}-{re.sub('[^a-z0-9]+', '-', name.lower()).strip('-')}"
        page = "\n".join(_page(job, own, found, mlflow))
        left_once(create_markdown_artifact, page, key=key, description=f"{name}: what it is now")
        if found["report"] and (rows := list(table(found["report"], found.get("primary")))):
            said = f"{name}: metrics with 95 % intervals"
            left_once(create_table_artifact, rows, key=f"{key}-metrics", description=said)


def table(report: Mapping[str, Any], primary: str | None = None) -> Iterator[Row]:
    """The model's metrics as rows, the baselines', the differences, other ways of searching. report: of result().

    primary: the metric that the differences are of.
    """
    yield from _rows("model", report["model"])
    for name, each in report["baselines"].items():
        yield from _rows(f"baseline {name}", each)
    for name, difference in report["differences"].items():
        yield from _rows(f"model - {name}", {primary or "primary metric": difference})
    for way, each in report["ways"].items():
        yield from _rows(way, each)


def _rows(of: str, intervals: Mapping[str, Mapping[str, Any]]) -> Iterator[Row]:
    for metric, facts in intervals.items():
        yield {"of": of, "metric": metric, **{key: facts.get(key) for key in ("value", "low", "high")}}


def _page(job: Job, stages: list[StageOutcome], found: Mapping[str, Any], mlflow: str | None) -> Iterator[str]:
    yield f"# {job.name}\n"
    yield from (f"    {line}" for line in lines(found))
    yield ""
    receipt = read_receipt(job) or {}
    if mlflow and (model := receipt.get("model")) and (version := receipt.get("version")):
        yield f"[{model} version {version} on the MLflow page]({mlflow}/#/models/{model}/versions/{version})\n"
    yield "| stage | ended | seconds |\n|---|---|---|"
    for stage in stages:
        yield f"| {stage.address} | {stage.state} | {stage.seconds:.1f} |"
    for stage in stages:
        if stage.message:
            yield f"\n**{stage.address}**: {prose(stage.message)}"
    yield ""
    for plot in sorted((job.folder / "evaluation" / "plots").glob("*.png")):
        yield f"![{plot.stem}]({_image(plot)})\n"


def _image(path: Path) -> str:
    data = path.read_bytes()
    return f"data:image/png;base64,{base64.b64encode(data).decode()}" if len(data) <= _EMBEDDED_AT_MOST else str(path)
