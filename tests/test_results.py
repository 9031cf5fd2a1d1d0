"""The last lines of a run."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import pytest

from core.atomic_files import write_json
from core.workspace import Workspace
from flows.reporting.artifacts import table
from flows.terminal.passage_text import passage_lines
from flows.terminal.results import lines, prediction_line, result
from pipelines.search.ask.query import Passage
from registry.promotion.measured import Measured, measured


@pytest.mark.parametrize("flat", [True, False], ids=["as it is written", "as an earlier Headrace wrote it"])
def test_metrics_stand_beside_the_baselines_and_the_verdict_says_why(tmp_path: Path, flat: bool) -> None:
    job = Workspace(tmp_path).job("recipe", "a")
    settings = {"task": "text_classification", "evaluation": {"primary": "accuracy"}}
    model = {
        "accuracy": {"value": 0.96, "low": 0.94, "high": 0.98},
        "log_loss": {"value": None, "low": None, "high": None},
    }
    baselines = {"majority": {"accuracy": {"value": 0.2}}, "tfidf": {"accuracy": {"value": 0.982}}}
    evaluation = {
        "metrics.json": {"accuracy": 0.96},
        "report.json": {"model": model, "baselines": baselines, "slices": {"of": {}}},
    } if flat else {"metrics.json": {**model, "baselines": baselines, "slices": {"of": {}}}}  # fmt: skip
    reason = {"gate": "accuracy", "value": 0.96, "bound": "at least 0.99", "passed": False, "why": "on the test split"}
    receipt = {
        "model": "m", "version": "3", "aliases": ["challenger"], "experiment": False,
        "verdict": {"passed": False, "reasons": [reason]},
    }  # fmt: skip
    job.settings_file.parent.mkdir()
    job.settings_file.write_text("task: text_classification\ngates:\n  accuracy: {at_least: 0.99}\n")
    write_json(job.folder / "settings.json", settings)
    for name, document in evaluation.items():
        write_json(job.folder / "evaluation" / name, document)
    write_json(job.folder / "registered.json", receipt)
    assert result(job)["metrics"] == {"accuracy": 0.96}
    assert list(lines(result(job))) == [
        "a",
        "  accuracy           0.9600  [0.9400, 0.9800]   majority 0.2000, tfidf 0.9820",
        "  log_loss           no value",
        "  A baseline wins: tfidf has accuracy 0.9820, this model 0.9600. Prefer it: "
        "`model: {base: {architecture: tfidf}, method: pretrain}` makes it the recipe's model.",
        "  model m version 3 @challenger",
        "  gates: REFUSED",
        "    REFUSED accuracy: 0.9600, bound at least 0.99 (on the test split)",
        f"    to change that bound: {job.settings_file}:3",
    ]


def test_an_answer_is_a_line() -> None:
    span = {"start": 0, "end": 3, "label": "per", "text": "Zoë", "confidence": 0.5}
    assert prediction_line({"input": "Zoë runs", "label": "pos", "confidence": 0.25}) == "pos\t0.2500\tZoë runs"
    assert (
        prediction_line({"input": "x", "label": "two\nlines\t$", "confidence": 0.25}) == '"two\\nlines\\t$"\t0.2500\tx'
    )
    assert prediction_line({"input": "x", "label": ""}) == '""\tx'
    spans = '[{"start": 0, "end": 3, "label": "per", "text": "Zoë", "confidence": 0.5}]'
    assert prediction_line({"input": "Zoë runs", "spans": [span]}) == f"{spans}\tZoë runs"
    series = {"input": {"value": [1.5]}, "forecast": {"heat": [2.5]}}
    assert prediction_line(series) == '{"heat": [2.5]}\t{"value": [1.5]}'


def test_what_has_not_run_is_not_told(tmp_path: Path) -> None:
    place = Workspace(tmp_path)
    for job in (place.job("recipe", "a"), place.job("index", "a")):
        assert list(lines(result(job))) == ["a"]


def test_an_index(tmp_path: Path) -> None:
    job = Workspace(tmp_path).job("index", "a")
    write_json(job.folder / "published.json", {"published": True, "version": "ab", "points": 1200, "place": "embedded"})
    assert list(lines(result(job))) == ["a", "  live: version ab, 1,200 passages, in embedded"]


def test_an_index_as_an_earlier_headrace_judged_it() -> None:
    """Its ways stood beside its metrics, whose own way was one of them."""
    one, two = ({"mrr": {"value": value, "low": 0.1, "high": 0.9}} for value in (0.5, 0.4))
    found = measured({**one, "hybrid": one, "dense": two, "queries": 6, "kind": "known items"}, {})
    assert found.values == {"mrr": 0.5} and found.model == one
    assert found.ways == {"hybrid": one, "dense": two}
    assert [row["of"] for row in table(asdict(found))] == ["model", "hybrid", "dense"]


def test_metrics_without_a_report_have_no_intervals() -> None:
    assert measured({"mrr": 0.5}, {}).model == {"mrr": {"value": 0.5}}
    assert measured({}, {}) == Measured()


def test_what_was_read_in_part_is_told(tmp_path: Path) -> None:
    job = Workspace(tmp_path).job("index", "a")
    write_json(job.folder / "published.json", {"published": True, "version": "ab", "points": 2, "place": "embedded"})
    told = [{"document": f"{n}.pdf", "unread": "1 of 3 pages are pictures without text"} for n in range(12)]
    write_json(job.folder / "chunks" / "in_part.json", told)
    said = list(lines(result(job)))
    assert said[2] == "  read in part: 0.pdf: 1 of 3 pages are pictures without text"
    assert said[-1] == "  and 2 more, in chunks/in_part.json"


def test_a_passage_is_read_as_it_stands() -> None:
    table, code = "| a | bb |\n|---|---|\n| 1 | 2 |", "```\ndef f():\n    return 1\n```"
    text = f"The flood\n\nIntro of it.\n\n{table}\n\n{code}\n\n\fNext page."
    passage = Passage(text, 0.5, "a.pdf", "a.pdf", "The flood", 0, page=3)
    assert [line for line in passage_lines(1, passage) if "─" not in line or "page" in line] == [
        "1. 0.500  a.pdf, page 3  The flood", "   Intro of it.", "   a  bb", "   1  2", "   ```", "   def f():",
        "       return 1", "   ```", f"   {' page 4 ':─^107}", "   Next page.", "",
    ]  # fmt: skip
