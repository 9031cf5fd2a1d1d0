"""What happens to found passages before they are shown: reranked, near-duplicates put together, variety weighed in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import BadRequest
from pipelines.search.engine.engine import Hit
from pipelines.search.text.passages import embedded

_ROWS = 16  # pairs a forward pass
_LONGEST = 512  # tokens of a pair, where the model does not say fewer


@dataclass(frozen=True)
class Reranker:
    """A sequence classifier with one output: how well a passage answers a question.

    It reads question and passage together: slower and better than comparing two vectors.
    """

    model: Any
    tokenizer: Any

    def order(self, question: str, hits: Sequence[Hit]) -> list[Hit]:
        """The hits with the reranker's scores (its logit), the best first; equal ones in the order they came."""
        texts = [embedded(hit.payload["heading"], hit.payload["text"]) for hit in hits]
        scores = self.scores(question, texts)
        scored = [replace(hit, score=float(score)) for hit, score in zip(hits, scores, strict=True)]
        return sorted(scored, key=lambda hit: -hit.score)

    def scores(self, question: str, texts: Sequence[str]) -> np.ndarray[Any, np.dtype[np.float32]]:
        """(texts,) float32, higher is better."""
        import torch

        found = np.zeros(len(texts), np.float32)
        order = sorted(range(len(texts)), key=lambda row: len(texts[row]))
        for at in range(0, len(order), _ROWS):
            rows = order[at : at + _ROWS]
            pairs = [(question, texts[row]) for row in rows]
            inputs = self.tokenizer(pairs, padding=True, truncation="longest_first", return_tensors="pt")
            with torch.inference_mode():
                found[rows] = self.model(**inputs).logits[:, 0].float().numpy()
        return found


def load(folder: Path) -> Reranker:
    """From a model's folder. Raises BadRequest for one that does not give one score a pair."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    model = AutoModelForSequenceClassification.from_pretrained(
        folder, local_files_only=True, use_safetensors=True, trust_remote_code=False
    ).eval()
    if model.config.num_labels != 1:
        raise BadRequest(
            f"{folder} gives {model.config.num_labels} scores a pair, and a reranker gives one. Name a cross-encoder."
        )
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    tokenizer.model_max_length = min(tokenizer.model_max_length, _LONGEST)
    return Reranker(model, tokenizer)


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
