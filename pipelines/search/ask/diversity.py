"""What happens to found passages before they are shown: near-duplicates fall together, and variety is weighed in."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipelines.search.engine.engine import Hit


def collapsed(hits: Sequence[Hit], cosine: float) -> list[Hit]:
    """The hits without those whose vector is at least so near to a better one's. cosine: 0 to 1, of unit vectors."""
    kept: list[Hit] = []
    for hit in hits:
        if not kept or max(float(np.dot(hit.vector, other.vector)) for other in kept) < cosine:
            kept.append(hit)
    return kept


def diversified(hits: Sequence[Hit], diversity: float, limit: int) -> list[Hit]:
    """The `limit` hits that are good and unlike each other, the best first.

    diversity: 0 is by score alone, 1 by unlikeness alone. Scores are put on 0 to 1 first, as fused ones have no scale.
    Source: maximal marginal relevance, Carbonell & Goldstein 1998.
    """
    if not hits:
        return []
    scores = np.array([hit.score for hit in hits])
    span = scores.max() - scores.min()
    relevance = (scores - scores.min()) / span if span else np.ones(len(hits))
    vectors = np.array([hit.vector for hit in hits])
    alike = np.maximum(vectors @ vectors.T, 0)  # nothing is less alike than what has nothing in common
    chosen = [int(relevance.argmax())]
    while len(chosen) < min(limit, len(hits)):
        worth = (1 - diversity) * relevance - diversity * alike[:, chosen].max(axis=1)
        worth[chosen] = -np.inf
        chosen.append(int(worth.argmax()))
    return [hits[at] for at in chosen]
