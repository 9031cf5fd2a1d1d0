"""`headrace plan`: what it measures and foretells, and that it leaves the workspace as it was."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest

from core.errors import BadRequest
from core.process.memory import resident_bytes
from core.schema.model import Training
from flows.planning.plan_training import Planned
from flows.planning.planned_lines import planned_lines, what_fits
from flows.starting.suggest import FEW, suggest
from pipelines.planning.apart import Tell, apart
from pipelines.planning.forecast import Forecast, forecast
from pipelines.planning.some_steps import _spread
from tests.conftest import ROOT, Workspace

MB = 1 << 20
TOLD = {
    "build_s": 1.0, "start_s": 4.0, "rows": 100, "validation_rows": 20, "parameters": 1000, "trainable": 10,
    "features_s": 2.0, "features_bytes": 0, "trained_rows": 100, "steps_s": [0.5, 1.5], "watch_s": 0.5,
    "watched_rows": 10, "drawn_s": 0.0, "checkpoint_s": 0.25, "save_s": 3.0, "built_bytes": 100,
    "took": [[4, 1000], [8, 1400]], "peak_bytes": 1600,
}  # fmt: skip


def test_a_whole_training_is_foretold_by_its_parts() -> None:
    """By hand: 200 rows are 25 batches, 3 epochs of 13 updates of two batches; validation passes over 40 rows."""
    training = Training(epochs=3, batch_size=8, accumulate=2)
    found = forecast("full", training, TOLD, share=0.5, most=None)
    assert (found.steps, found.step_s) == (39, 1.0)
    assert found.seconds is not None
    assert found.seconds[0] == pytest.approx(4 + 1 + 2 / 0.5 + 3 + 39 + 3 * 2.0 + 2 * 0.25)
    assert found.peak_bytes == 1600 + 100 * 100, "a row more stands in lists"
    assert found.row_bytes == 100
    assert found.largest_batch(11_600 + 1000) == 18


def test_what_was_ended_for_its_memory_is_foretold_from_smaller_batches() -> None:
    told = {key: value for key, value in TOLD.items() if key not in ("peak_bytes", "steps_s", "save_s")}
    found = forecast("full", Training(batch_size=64), told, share=1.0, most=2000)
    assert found.peak_bytes == 1400 + 56 * 100
    assert found.seconds is None
    assert forecast("full", Training(), {}, share=1.0, most=2000).at_least_bytes == 2000


def test_a_learner_that_fits_itself_is_foretold_as_a_range() -> None:
    """Twice the rows took four times as long: so the last four times the rows take sixteen times."""
    told = {"build_s": 0.0, "rows": 800, "fits_itself": True, "fits": [[100, 1.0, 100], [200, 4.0, 200]]}
    found = forecast("pretrain", Training(), told, share=1.0, most=None)
    assert found.seconds is not None
    likely, least, most = found.seconds
    assert likely == pytest.approx(64.0)
    assert least < 16 < likely < most
    assert (found.steps, found.peak_bytes) == (None, 800)


def test_batches_are_tried_in_an_order_that_is_even_at_once() -> None:
    assert sorted(_spread(100)) == list(range(100))
    assert all(abs(sum(_spread(100)[:count]) / count - 50) < 13 for count in range(1, 30))


def test_a_fork_that_takes_too_much_memory_is_ended_and_what_it_told_stays() -> None:
    def hungry(tell: Tell) -> None:
        tell({"began": True})
        held = []
        while True:
            held.append(os.urandom(MB))

    ended = apart(hungry, most_bytes=resident_bytes() + 400 * MB)
    assert ended.stopped
    assert ended.facts == {"began": True}
    assert ended.fault is None


def test_a_fault_in_a_fork_comes_back() -> None:
    def wrong(tell: Tell) -> None:
        raise BadRequest("no such column")

    ended = apart(wrong, most_bytes=1 << 40)
    assert (ended.fault, ended.exit_code, ended.stopped) == ("no such column", 2, False)


def test_what_would_fit_is_said() -> None:
    """The recipe does not fit: a smaller batch does, with the same rows an update, and so does LoRA."""
    own = Forecast(
        "full", 10, 10, 5, 1.0, 1.0, None, 40_000_000_000, 0, 1e9, 32, 1, None, None, None, fits_itself=False
    )
    limit = 24_000_000_000
    document = {**vars(own), "fits": False, "largest_batch": own.largest_batch(limit)}
    lora = {**document, "method": "lora", "peak_bytes": 5_000_000_000, "fits": True}
    found = {
        "task": "text_classification", "method": "full", "limit_bytes": limit, "free_bytes": limit, "instead": {},
        "rows": {"train": 100}, "whole": True, "not_possible": {}, "methods": {"full": document, "lora": lora},
    }  # fmt: skip
    said = list(what_fits(found))
    assert said[0] == "does not fit: 40.0 GB needed, 24.0 GB there"
    assert said[1:] == [
        "would fit: training: {batch_size: 15, accumulate: 3}", "would fit: model: {method: lora}, 5.0 GB"
    ]  # fmt: skip
    suggested = suggest("text_classification", FEW - 1)
    lines = list(planned_lines(Planned("mine", found, suggested)))
    assert lines[-1].endswith("(docs/tasks/text_classification.md)")
    assert any("transfer from package://" in line for line in lines)


def test_every_suggestion_names_a_page_that_is_there() -> None:
    for rows in (10, 5_000, 100_000):
        for task in ("text_classification", "image_classification", "time_series_forecasting"):
            assert (ROOT / suggest(task, rows).source).is_file()


def files(root: Path) -> dict[str, float]:
    """Every file of a workspace, with when it was written."""
    return {
        path.relative_to(root).as_posix(): path.stat().st_mtime
        for path in root.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


@pytest.mark.usefixtures("warm_children")
@pytest.mark.slow
def test_a_plan_changes_nothing_and_counts_what_is_trained(tiny: Workspace) -> None:
    """Before any stage has run; then of a source that has no recipe yet, by its words for the person."""
    before, start = files(tiny.root), time.time()
    done = tiny.headrace("plan", "tiny", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert files(tiny.root) == before
    assert {"pretrain", "full"} == set(told["methods"])
    assert {"lora", "transfer"} == set(told["not_possible"])
    own = told["methods"]["pretrain"]
    assert own["parameters"] == own["trainable"] > 4_000
    assert told["rows"]["train"] + told["rows"]["validation"] + told["rows"]["test"] == 240
    assert own["steps"] == -(-told["rows"]["train"] // 16)
    assert 0 < own["step_s"] < own["seconds"][0] < time.time() - start + 60
    assert 100 * MB < own["peak_bytes"] < told["limit_bytes"]
    assert own["fits"] and told["prepared"] is False
    again = tiny.headrace("plan", "--source", "rows.csv", "--base", "tfidf")
    assert again.returncode == 0, again.stderr
    assert files(tiny.root) == before
    assert "fits itself, tried on samples that grew" in again.stdout
    assert "240 rows looked at" in again.stdout


def test_plan_wants_one_thing(tiny: Workspace) -> None:
    for arguments, said in (
        ((), "say what to plan"), (("tiny", "--source", "rows.csv"), "say what to plan"),
        (("tiny", "--task", "x"), "belong to --source"), (("nobody",), "no live recipe 'nobody'"),
    ):  # fmt: skip
        done = tiny.headrace("plan", *arguments)
        assert (done.returncode, said in done.stderr) == (2, True), done.stderr
