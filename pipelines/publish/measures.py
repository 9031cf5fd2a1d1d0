"""Rankings against judgments -> nDCG@10, recall@10 and MRR a query, by pytrec_eval (trec_eval's own code)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from core.tables.statistics import Sampled, sample
from pipelines.search.ask.judged_queries import Query

MEASURES: Mapping[str, str] = {"ndcg_at_10": "ndcg_cut_10", "recall_at_10": "recall_10", "mrr": "recip_rank"}
PRIMARY = "ndcg_at_10"
RESAMPLES = 2000
SEED = 7

PerQuery = Mapping[str, np.ndarray[Any, np.dtype[np.float64]]]  # measure -> (queries,)


def measure(queries: Sequence[Query], rankings: Sequence[Sequence[str]]) -> PerQuery:
    """Each measure of each query. rankings: documents, the best first; an empty one counts as 0, as any other miss."""
    import pytrec_eval

    judged = {str(row): dict(query.relevant) for row, query in enumerate(queries)}
    run = {
        str(row): {document: float(len(ranking) - rank) for rank, document in enumerate(ranking)}
        for row, ranking in enumerate(rankings)
    }
    found = pytrec_eval.RelevanceEvaluator(judged, set(MEASURES.values())).evaluate(run)
    return {
        name: np.array([found.get(str(row), {}).get(key, 0.0) for row in range(len(queries))])
        for name, key in MEASURES.items()
    }


def sampled(runs: Mapping[str, PerQuery]) -> dict[str, Sampled]:
    """Means over the queries, and over resamples of them: the same ones for every run."""
    queries = len(next(iter(next(iter(runs.values())).values())))
    nothing = {"query": np.arange(queries)}
    return sample({name: dict(run) for name, run in runs.items()}, nothing, means, resamples=RESAMPLES, seed=SEED)


def means(arrays: Mapping[str, Any]) -> dict[str, float]:
    """The mean of each measure."""
    return {name: float(arrays[name].mean()) for name in MEASURES}


def intervals(of: Sampled) -> dict[str, dict[str, float]]:
    """As metrics.json holds them."""
    return {name: asdict(of.interval(name)) for name in MEASURES}
