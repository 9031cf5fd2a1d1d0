"""What tasks share that find a query's passage among others: its rank, the metrics of ranks, BM25."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from core.tables.keys import codes, text_key
from core.tables.task import Predictions, RowAnswers
from pipelines.tasks.parts.plots import drawn

METRICS: Mapping[str, bool] = {"ndcg_at_10": True, "recall_at_10": True, "mrr": True}
_CUT = 10
_K1, _B = 1.2, 0.75  # Robertson & Zaragoza 2009, "The Probabilistic Relevance Framework", section 3.5
_QUERIES_AT_ONCE = 512  # times all passages: the scores that are in memory
_DEEPEST = 100  # rank that the plot shows
_WORD = re.compile(r"\w+")

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Pool:
    """The distinct passages of some rows. own: where each row's stands. number: the same for the same passages."""

    passages: list[str]
    own: Array
    number: int


def pool_of(passages: Sequence[str]) -> Pool:
    """Passages that differ in letter case, white space or Unicode composition alone are one."""
    keys = [text_key(passage) for passage in passages]
    first = dict(zip(reversed(keys), reversed(passages), strict=True))
    places = {key: at for at, key in enumerate(sorted(first))}
    number = codes([hashlib.sha256("".join(places).encode()).hexdigest()])[0]
    return Pool([first[key] for key in places], np.array([places[key] for key in keys], np.int64), int(number))


def ranked(pool: Pool, scores: Callable[[slice], Array]) -> Predictions:
    """The rank of each row's own passage, 1 the best; among equal scores the middle one.

    scores: of the rows of a slice, against all passages of the pool: (rows, passages).
    """
    ranks = np.empty(len(pool.own))
    for start in range(0, len(ranks), _QUERIES_AT_ONCE):
        part = slice(start, start + _QUERIES_AT_ONCE)
        found = scores(part)
        own = found[np.arange(len(found)), pool.own[part]][:, None]
        ranks[part] = 1 + (found > own).sum(axis=1) + ((found == own).sum(axis=1) - 1) / 2
    return {"rank": ranks, "among": np.full(len(ranks), pool.number)}


def truth(passages: Sequence[str]) -> Predictions:
    """Which passages the ranks are to be among: ranks among others cannot be compared."""
    return {"pool": np.full(len(passages), pool_of(passages).number)}


def measure(predictions: Predictions) -> Predictions:
    """Each query's own METRICS, each having one passage; no numbers for ranks among other passages."""
    other = (predictions["among"] != predictions["pool"]).any()
    rank = np.full(len(predictions["rank"]), np.nan) if other else predictions["rank"]
    found = np.where(np.isnan(rank), np.nan, rank <= _CUT)
    return {"ndcg_at_10": found / np.log2(1 + rank), "recall_at_10": found, "mrr": 1 / rank}


def by_row(predictions: Predictions) -> RowAnswers:
    """The rank of each query's own passage; how many passages were found before it."""
    rank = predictions["rank"]
    return RowAnswers(rank - 1, "passages ranked above its own", [f"rank {each:g}" for each in rank.tolist()])


def bm25(queries: Sequence[str], pool: Pool) -> Predictions:
    """Lower-case words, Lucene's variant (Kamphuis et al. 2020, table 1). Checked against bm25s in the tests."""
    from sklearn.feature_extraction.text import CountVectorizer

    vectorizer = CountVectorizer(analyzer=lambda text: _WORD.findall(text.lower()))
    counts = vectorizer.fit_transform(pool.passages).astype(np.float64)
    asked = vectorizer.transform(queries)
    lengths = np.asarray(counts.sum(axis=1)).ravel()
    holding = np.bincount(counts.indices, minlength=counts.shape[1])
    weight = np.log1p((len(lengths) - holding + 0.5) / (holding + 0.5))
    norm = np.repeat(_K1 * (1 - _B + _B * lengths / lengths.mean()), np.diff(counts.indptr))
    counts.data = counts.data / (counts.data + norm) * weight[counts.indices]
    terms = counts.T.tocsr()
    return ranked(pool, lambda part: (asked[part] @ terms).toarray())


def plots(predictions: Predictions, *, folder: Path) -> None:
    """recall.png: the share of queries whose passage is among the first k."""
    depth = np.arange(1, _DEEPEST + 1)
    recall = (predictions["rank"][:, None] <= depth).mean(axis=0)
    with drawn(folder / "recall.png", 4.4, 4.2) as (axes, _):
        axes.plot(depth, recall)
        axes.set(xlabel="passages looked at (k)", ylabel="recall@k", title="Own passage among the first k", ylim=(0, 1))
