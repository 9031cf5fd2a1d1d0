"""headrace compare of two releases of an index: from what `publish` kept of each question."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from core.errors import BadRequest
from core.schema.search import Judging
from core.workspace import Job
from flows.cli.command import app
from flows.promotion.move_release import history, resolve_release
from pipelines.evidence import judged_releases
from pipelines.evidence.compare_releases import compare_releases
from pipelines.evidence.judged_releases import Asked, Judged
from pipelines.publish import publish
from pipelines.search.ask.judged_queries import identify_judged
from pipelines.search.engine.releases import read_truth
from tests import small_index
from tests.test_judging import DOCUMENTS, settings

QUERIES = {"1": "broken banks", "2": "who plays the trombone?", "3": "sheep on the hills"}
QRELS = {"1": "news/flood.txt", "2": "news/band.txt", "3": "news/sheep.txt"}


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> tuple[Job, str, str]:
    """An index of two releases: the second lacks the document about sheep, has one more, and other search settings."""
    job = small_index.make(tmp_path_factory.mktemp("released"), DOCUMENTS, tokens=96, overlap=0)
    root = job.workspace.root
    said = [json.dumps({"_id": name, "text": text}) for name, text in QUERIES.items()]
    (root / "queries.jsonl").write_text("\n".join(said))
    (root / "qrels.tsv").write_text("h\th\th\n" + "".join(f"{one}\t{name}\t1\n" for one, name in QRELS.items()))
    evaluation: Any = {"queries": "queries.jsonl", "qrels": "qrels.tsv", "known_items": 0}
    judged = identify_judged(Judging(**evaluation), root)
    settings(job, evaluation=evaluation, judged=judged, search=small_index.HYBRID)
    small_index.build(job)
    changed = {**DOCUMENTS, "news/comet.txt": "A comet was seen above the hills by many people. " * 3}
    changed["news/band.txt"] += " It was a fine band."
    del changed["news/sheep.txt"]
    small_index.screened(job, changed)
    settings(job, search={**small_index.HYBRID, "mode": "sparse"})
    small_index.build(job)
    first, second = (each["to"] for each in history(job.workspace, job.name))
    return job, first, second


@pytest.mark.slow
def test_the_command_compares_two_releases_and_draws_it(
    released: tuple[Job, str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The question whose document is gone finds nothing any more; the first release was asked again as the live one."""
    job, first, second = released
    monkeypatch.chdir(job.workspace.root)
    picture = tmp_path / "compared.png"
    arguments = ["compare", "small@previous", f"small/{second[:6]}", "--picture", str(picture)]
    told = json.loads(CliRunner().invoke(app, [*arguments, "--json"], catch_exceptions=False).stdout)
    assert (told["first"], told["second"]) == (
        {"index": "small", "release": first}, {"index": "small", "release": second},
    )  # fmt: skip
    assert (told["kind"], told["asked_again"]) == ("judged queries", f"small/{first}")
    assert told["questions"] == {"common": 3, "first": 3, "second": 3}
    [moved] = [each for each in told["moved"]["shown"] if each["id"] == "3"]
    assert moved["first"] > 0 == moved["second"] and moved["relevant"] == {"news/sheep.txt": 1}
    report = json.loads((job.folder / "evaluation/report.json").read_text())
    ndcg = told["metrics"]["ndcg_at_10"]
    assert (ndcg["first"], ndcg["second"]) == pytest.approx(
        (report["ways"]["live"]["ndcg_at_10"]["value"], report["model"]["ndcg_at_10"]["value"])
    )
    assert ndcg["difference"]["low"] <= ndcg["difference"]["value"] < 0
    assert told["documents"] == {
        "added": ["news/comet.txt"], "gone": ["news/sheep.txt"], "changed": ["news/band.txt"],
    }  # fmt: skip
    assert told["settings"] == {"search.mode": {"first": "hybrid", "second": "sparse"}}
    with Image.open(picture) as drawn:
        assert drawn.width > 800
    said = CliRunner().invoke(app, arguments, catch_exceptions=False).stdout
    assert f"small/{first} -> small/{second}: 3 judged queries that both were asked (of 3 and 3)" in said
    assert "documents: 1 added, 1 gone, 1 changed\n  + news/comet.txt\n  - news/sheep.txt\n" in said


@pytest.mark.slow
def test_a_release_judged_again_alone_keeps_what_it_was_compared_with(released: tuple[Job, str, str]) -> None:
    """Of the live release no live one is asked; what was kept when there was one stays, until the questions change."""
    job, first, second = released
    publish.run(job)
    again = judged_releases.read(job.workspace, job.name, second)
    assert json.loads((job.folder / "evaluation/report.json").read_text())["live"] is None
    assert again.report["live"] == first and again.live_then is not None


@pytest.mark.slow
def test_a_release_of_an_earlier_headrace_keeps_none(released: tuple[Job, str, str]) -> None:
    job, first, second = released
    kept = job.workspace.var / "judged" / f"small-{first}"
    aside = kept.rename(kept.with_name("aside"))
    try:
        with pytest.raises(BadRequest, match=rf"small/{first} keeps no results by question.*--force publish"):
            judged_releases.read(job.workspace, job.name, first)
        assert resolve_release(job.workspace, job.name, first[:5]) == first, "its log names it all the same"
    finally:
        aside.rename(kept)
    with pytest.raises(BadRequest, match=r"small/zzzz: there is none of that name. A release is small@live"):
        resolve_release(job.workspace, job.name, "zzzz")
    with pytest.raises(BadRequest, match="4 digits or more"):
        resolve_release(job.workspace, job.name, second[:3])


@pytest.mark.slow
def test_the_oldest_are_let_go(released: tuple[Job, str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    job, *_ = released
    copy = Job(replace(job.workspace, root=tmp_path / "copy"), job.kind, job.name)
    shutil.copytree(job.workspace.root, copy.workspace.root)
    monkeypatch.setattr(judged_releases, "_MOST", 1)
    judged_releases.keep(copy, "f" * 16, read_truth(job).facts)
    assert judged_releases.kept(copy.workspace, copy.name) == ["f" * 16]


def judged(version: str, measures: dict[str, float], *, relevant: str = "a", **more: Any) -> Judged:
    """A release whose only measure is this, of these questions."""
    told = {"kind": "judged queries", "primary": "mrr", "way": "dense", "live": None}
    asked = [Asked(name, f"text of {name}", {relevant: 1}) for name in measures]
    return Judged("small", version, told, asked, {"mrr": np.array(list(measures.values()))}, None, {}, {}, None, **more)


def test_questions_of_both_count_alone() -> None:
    """Without a release that was asked again: those of both, by id and text, in the second's order."""
    found = compare_releases(judged("1", {"a": 0.5, "b": 1.0, "c": 0.0}), judged("2", {"c": 0.25, "x": 1.0, "a": 0.5}))
    assert (found.apart.rows, found.apart.of, found.asked_again) == (2, (3, 3), None)
    assert [(each.asked.id, each.first, each.second) for each in found.moved] == [("c", 0.0, 0.25)]
    assert found.better == (0, 1) and found.documents is None
    [mrr] = found.apart.metrics
    assert (mrr.first, mrr.second, mrr.difference.value) == (0.25, 0.375, 0.125)


def test_what_cannot_be_compared_is_said() -> None:
    one = judged("1", {"a": 0.5})
    with pytest.raises(BadRequest, match="both are small/1"):
        compare_releases(one, one)
    with pytest.raises(BadRequest, match=r"small/1 was asked 1 judged queries, small/2 was asked 1 .*none of them"):
        compare_releases(one, judged("2", {"b": 0.5}))
    with pytest.raises(BadRequest, match="1 have other relevant documents by now"):
        compare_releases(one, judged("2", {"a": 0.5}, relevant="b"))
