"""publish: chunks/ + vectors/ -> the engine's live version, and published.json, a receipt of it.

Safe to repeat. An experiment (`dvc exp run`) publishes nothing, and its receipt says so.
"""

from __future__ import annotations

import os

from pipelines.patience import patiently
from pipelines.search.engine import choose
from pipelines.search.published import put, read_truth, receipt
from pipelines.stage import stage_main
from pipelines.workspace import Job, write_json


def run(job: Job) -> None:
    """Make an index's passages searchable."""
    truth, engine = read_truth(job), choose(job.workspace)
    experiment = bool(os.environ.get("DVC_EXP_NAME"))
    if not experiment:
        patiently(lambda: put(truth, engine))
    said = receipt(truth, engine, job.settings)
    write_json(job.folder / "published.json", {**said, "published": not experiment})


if __name__ == "__main__":
    stage_main("publish", run, kind="index")
