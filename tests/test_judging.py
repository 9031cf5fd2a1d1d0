"""Releases: judged before they go live, refused by gates, rolled back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from core.errors import BadRequest
from core.schema.search import Judging
from flows.promotion import move_release
from pipelines.publish import publish
from pipelines.publish.judging import measure
from pipelines.publish.known_items import known_items, without
from pipelines.search.ask.judged_queries import identify_judged, read_judged
from pipelines.search.ask.query import query
from pipelines.search.engine.choice import choose
from pipelines.search.engine.index_receipt import receipt_holds
from tests import small_index

TOPICS = {
    "flood": "The river rose in the night and broke its banks near the old mill.",
    "band": "A trombone player left the brass band in June to run a bakery in the next town.",
    "sheep": "Farmers brought three hundred sheep down from the hills before the first snow fell.",
    "bridge": "Engineers found cracks in the iron bridge and closed it to lorries for a month.",
    "school": "Pupils of the village school planted forty apple trees along the road to the church.",
    "train": "The last train of the evening stood for two hours because a tree lay across the line.",
}
REST = (
    "People spoke about {0} for weeks, and the paper printed a long report about {0}. "
    "Nobody could remember anything like it. The mayor said that {0} would be discussed at the next meeting."
)
DOCUMENTS = {f"news/{name}.txt": f"{text} {REST.format('the ' + name)}" for name, text in TOPICS.items()}


def settings(job: Any, **sections: Any) -> None:
    now = json.loads((job.folder / "settings.json").read_text())
    small_index.settings(job, **{**now, **sections})


def receipt(job: Any) -> Any:
    return json.loads((job.folder / "published.json").read_text())


def metrics(job: Any, file: str = "metrics.json") -> Any:
    return json.loads((job.folder / "evaluation" / file).read_text())


@pytest.fixture
def job(tmp_path: Any) -> Any:
    made = small_index.make(tmp_path, DOCUMENTS, tokens=96, overlap=0)
    settings(made, evaluation={"queries": None, "qrels": None, "known_items": 6}, search=small_index.HYBRID)
    small_index.build(made)
    return made


def test_a_release_is_judged_before_it_goes_live(job: Any) -> None:
    found, told = metrics(job), metrics(job, "report.json")
    assert (told["queries"], told["kind"]) == (6, "known items")
    assert told["ways"]["hybrid"] == told["model"]
    assert found == {name: told["model"][name]["value"] for name in ("ndcg_at_10", "recall_at_10", "mrr")}
    assert told["ways"].keys() == {"dense", "sparse", "hybrid"}
    assert 0.3 < found["ndcg_at_10"] <= 1
    assert "| dense |" in (job.folder / "evaluation" / "report.md").read_text()
    assert receipt(job)["published"]
    assert not (job.workspace.var / "judging" / "small").exists()


@pytest.mark.slow
def test_the_sentence_that_is_asked_for_is_not_in_what_is_asked(job: Any) -> None:
    """With their sentences left in, known items would be found by being there word for word."""
    [item, *_] = known_items(job.folder / "chunks" / "chunks.parquet", 6)
    assert item.sentence == item.text
    assert any(item.sentence in passage.text for passage in query(job.workspace, "small", item.text, access=None))
    text = f"One. {item.sentence} Two."
    assert item.sentence not in without(text, item.sentence)
    assert without(text, item.sentence) == "One. Two."


@pytest.mark.slow
def test_a_gate_that_refuses_leaves_the_live_release_alone(job: Any) -> None:
    live = receipt(job)["version"]
    small_index.screened(job, {**DOCUMENTS, "news/more.txt": "Something else happened. " * 20})
    settings(job, gates={"ndcg_at_10": {"at_least": 1.01, "at_most": None, "confidence": None}})
    small_index.build(job)
    said = receipt(job)
    assert (said["published"], said["verdict"]["passed"]) == (False, False)
    assert said["version"] != live == choose(job.workspace).pointers("small").live
    assert receipt_holds(said, job.workspace) is None
    assert query(job.workspace, "small", "Who left the band?", access=None)[0].document == "news/band.txt"
    assert [each["what"] for each in move_release.history(job.workspace, "small")] == ["published", "refused"]


@pytest.mark.slow
def test_the_gate_against_the_live_release_sees_a_worse_one(job: Any) -> None:
    """The new release has lost the text of most documents, and is asked for what both know."""
    poor = {name: (text if "flood" in name else text[-80:] * 3) for name, text in DOCUMENTS.items()}
    small_index.screened(job, poor)
    settings(job, gates={"against_live": {"at_least": -0.01, "at_most": None, "confidence": 0.95}})
    small_index.build(job)
    [reason] = receipt(job)["verdict"]["reasons"]
    assert reason["gate"] == "against_live"
    assert reason["outcome"] == "undecided"  # six queries are too few, and too few never pass
    assert not receipt(job)["published"]


@pytest.mark.slow
def test_there_and_back(job: Any) -> None:
    first = receipt(job)["version"]
    with pytest.raises(BadRequest, match=r"small: there is no version before.*headrace history small"):
        move_release.rollback(job.workspace, "small")
    small_index.screened(job, {**DOCUMENTS, "news/comet.txt": "A comet was seen above the hills by many people. " * 3})
    small_index.build(job)
    second = receipt(job)["version"]
    assert query(job.workspace, "small", "Was there a comet?", access=None)[0].document == "news/comet.txt"
    moved = move_release.rollback(job.workspace, "small")
    assert (moved.previous, moved.live) == (second, first)
    assert query(job.workspace, "small", "Was there a comet?", access=None)[0].document != "news/comet.txt"
    assert receipt_holds(receipt(job), job.workspace) is None, "what a person took out of service stays out"
    publish.run(job)
    assert choose(job.workspace).pointers("small").live == first
    assert receipt(job)["withdrawn"]
    assert move_release.rollback(job.workspace, "small").live == second
    said = [(each["what"], each["to"]) for each in move_release.history(job.workspace, "small")]
    assert said == [
        ("published", first), ("published", second), ("rolled back", first), ("rolled back", second),
    ]  # fmt: skip


@pytest.mark.slow
def test_judged_queries(job: Any) -> None:
    root = job.workspace.root
    (root / "queries.jsonl").write_text(
        '{"_id": "1", "text": "broken banks"}\n{"id": 2, "text": "who plays the trombone?"}\n'
        '{"_id": "3", "text": "x"}\n'
    )
    (root / "qrels.tsv").write_text(
        "query-id\tcorpus-id\tscore\n1\tnews/flood.txt\t2\n2\tnews/band.txt\t1\n3\tnews/band.txt\t0\n"
    )
    evaluation: Any = {"queries": "queries.jsonl", "qrels": "qrels.tsv", "known_items": 0}
    settings(job, evaluation=evaluation, judged=identify_judged(Judging(**evaluation), root))
    publish.run(job)
    told = metrics(job, "report.json")
    assert (told["queries"], told["kind"]) == (2, "judged queries")
    assert metrics(job)["mrr"] == 1.0
    (root / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\n9\tnews/flood.txt\t2\n")
    with pytest.raises(BadRequest, match="not the file that the lock names"):
        publish.run(job)


@pytest.mark.parametrize(
    ("queries", "qrels", "message"),
    [
        ("{}\n", "1\ta\t1\n", r"queries.jsonl:1: not a query"),
        ('{"_id": "1", "text": "x"}\n', "query-id\tcorpus-id\tscore\n1\ta\n", r"judgment 2 is \['1', 'a'\]"),
        ('{"_id": "1", "text": "x"}\n', "h\th\th\n2\ta\t1\n", "query '2' is judged, and .* does not have it"),
        ('{"_id": "1", "text": "x"}\n', "h\th\th\n1\ta\t0\n", "no query has a relevant document"),
    ],
)
def test_judged_files_with_mistakes(tmp_path: Any, queries: Any, qrels: Any, message: Any) -> None:
    (tmp_path / "queries.jsonl").write_text(queries)
    (tmp_path / "qrels.tsv").write_text(qrels)
    evaluation = Judging(queries="queries.jsonl", qrels="qrels.tsv")
    with pytest.raises(BadRequest, match=message):
        read_judged(evaluation, tmp_path, identify_judged(evaluation, tmp_path))


def test_a_query_that_found_nothing_counts_as_nothing_found() -> None:
    from pipelines.search.ask.judged_queries import Query

    queries = [Query("a", "", {"x": 1}), Query("b", "", {"y": 1})]
    found = measure(queries, [["z", "x"], []])
    assert found["mrr"].tolist() == [0.5, 0.0]
    assert found["recall_at_10"].tolist() == [1.0, 0.0]
