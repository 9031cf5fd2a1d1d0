"""Ranks, their metrics and BM25 against pytrec_eval and bm25s."""

from __future__ import annotations

from pathlib import Path

import bm25s
import numpy as np
import pytest
import pytrec_eval

from core.atomic_files import sha256_file
from core.tables.statistics import means, whole
from pipelines.tasks.parts.answers import ranking

PASSAGES = [
    "the river rose in the night and the lower fields were under water",
    "a river boat carries coal, a river barge carries grain",
    "the village had never seen such a flood",
    "grain prices fell in autumn",
]


def test_equal_passages_are_one_and_the_middle_of_equal_scores_is_the_rank() -> None:
    pool = ranking.pool_of(["B  b", "a", "b B", "c"])
    assert sorted(pool.passages) == ["B  b", "a", "c"]
    assert pool.own[0] == pool.own[2]
    scores = np.zeros((4, 3))
    scores[1, pool.own[1]] = 1.0
    scores[3, pool.own[0]] = 1.0
    said = ranking.ranked(pool, lambda part: scores[part])
    assert said["rank"].tolist() == [2.0, 1.0, 2.0, 2.5]
    assert (said["among"] == ranking.truth(["c", "a", "b b"])["pool"][0]).all(), "the same passages, in any order"


def test_metrics_are_pytrec_evals() -> None:
    random = np.random.default_rng(3)
    scores = random.normal(size=(60, 40)) + 1.5 * np.eye(60, 40)
    pool = ranking.Pool([str(at) for at in range(40)], np.arange(60) % 40, 1)
    found = whole(means, ranking.measure({**ranking.ranked(pool, lambda part: scores[part]), "pool": np.full(60, 1)}))
    qrels = {str(row): {f"d{own}": 1} for row, own in enumerate(pool.own)}
    run = {str(row): {f"d{at}": float(one) for at, one in enumerate(line)} for row, line in enumerate(scores)}
    names = {"ndcg_cut_10": "ndcg_at_10", "recall_10": "recall_at_10", "recip_rank": "mrr"}
    theirs = pytrec_eval.RelevanceEvaluator(qrels, set(names)).evaluate(run)
    assert found.keys() == ranking.METRICS.keys()
    for name, ours in names.items():
        assert found[ours] == pytest.approx(np.mean([each[name] for each in theirs.values()]), abs=1e-6), ours


def test_ranks_among_other_passages_have_no_score() -> None:
    pool = ranking.pool_of(["a", "b"])
    said = ranking.ranked(pool, lambda part: np.eye(2)[pool.own][part])
    assert ranking.measure({**said, **ranking.truth(["a", "b"])})["mrr"].tolist() == [1.0, 1.0]
    none = whole(means, ranking.measure({**said, **ranking.truth(["a", "c"])}))
    assert none.keys() == ranking.METRICS.keys() and np.isnan(list(none.values())).all()


def test_bm25_is_bm25s() -> None:
    queries = ["river grain river", "Night flood in the village", "coal", "nothing of this occurs"]
    pool = ranking.Pool(PASSAGES, np.array([1, 2, 1, 3]), 1)
    index = bm25s.BM25(method="lucene", k1=1.2, b=0.75)
    words = [passage.replace(",", "").split() for passage in PASSAGES]
    index.index(words, show_progress=False)
    known = {word for passage in words for word in passage}
    asked = [[word for word in query.lower().split() if word in known] for query in queries]
    scores = np.stack([index.get_scores(each) if each else np.zeros(len(PASSAGES)) for each in asked])
    expected = ranking.ranked(pool, lambda part: scores[part])
    assert ranking.bm25(queries, pool)["rank"].tolist() == expected["rank"].tolist() == [1.0, 1.0, 1.0, 2.5]


def test_the_plot_is_equal_byte_for_byte(tmp_path: Path) -> None:
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        ranking.plots({"rank": np.arange(1.0, 30.0)}, folder=tmp_path / name)
    assert sha256_file(tmp_path / "first/recall.png") == sha256_file(tmp_path / "second/recall.png")
