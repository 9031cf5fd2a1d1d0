"""What happens to found passages before they are shown: reranked, collapsed, made various."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.errors import BadRequest
from pipelines.bases import identify
from pipelines.search.ask.query import query
from pipelines.search.ask.rerank import collapsed, diversified, load
from pipelines.search.engine.engine import Hit
from tests import small_index, small_pairs


def hit(name: str, score: float, *vector: float) -> Hit:
    return Hit(score, {"text": name, "heading": ""}, np.array(vector) / np.linalg.norm(vector))


HITS = [hit("a", 0.9, 1, 0), hit("a again", 0.8, 0.99, 0.05), hit("b", 0.5, 0, 1), hit("c", 0.4, -1, 0.1)]


def names(hits: Any) -> list[str]:
    return [each.payload["text"] for each in hits]


def test_near_duplicates_fall_together() -> None:
    assert names(collapsed(HITS, 0.95)) == ["a", "b", "c"]
    assert names(collapsed(HITS, 1.0)) == ["a", "a again", "b", "c"]
    assert collapsed([], 0.9) == []


def test_variety_is_weighed_in() -> None:
    assert names(diversified(HITS, 0.0, 4)) == ["a", "a again", "b", "c"]
    assert names(diversified(HITS, 0.5, 2)) == ["a", "b"]
    assert names(diversified(HITS, 1.0, 2)) == ["a", "b"]
    assert diversified([], 0.5, 3) == []


def make_cross_encoder(folder: Path, *, scores: int = 1) -> None:
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    small_pairs.make_base(folder)
    torch.manual_seed(3)
    size = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    config = BertConfig(**size, vocab_size=300, max_position_embeddings=64, num_labels=scores)
    BertForSequenceClassification(config).save_pretrained(folder)


def test_a_cross_encoder_reads_question_and_passage_together(tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    make_cross_encoder(tmp_path / "cross")
    texts = [f"the tale numbered {n} is by an author of no name" for n in range(20)]
    found = load(tmp_path / "cross").scores("who wrote story 3", texts)
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "cross").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "cross")
    with torch.inference_mode():
        one_by_one = [
            float(model(**tokenizer("who wrote story 3", text, return_tensors="pt")).logits[0, 0]) for text in texts
        ]
    np.testing.assert_allclose(found, one_by_one, atol=1e-5)
    make_cross_encoder(tmp_path / "classifier", scores=3)
    with pytest.raises(BadRequest, match="gives 3 scores a pair, and a reranker gives one"):
        load(tmp_path / "classifier")


def test_an_index_with_a_reranker_orders_by_it(tmp_path: Path) -> None:
    documents = {f"{n}.txt": row["passage"] for n, row in enumerate(small_pairs.pair_rows(12))}
    job = small_index.make(tmp_path, documents, tokens=24, overlap=0)
    small_pairs.make_base(tmp_path / "base")
    make_cross_encoder(tmp_path / "cross")
    bases = {each: identify(each, tmp_path).model_dump(mode="json") for each in ("./base", "./cross")}
    small_index.settings(
        job, embed={"model": "./base"}, bases=bases, chunk={"tokens": 24, "overlap": 0},
        search={**small_index.HYBRID, "rerank": "./cross"},
        evaluation={"queries": None, "qrels": None, "known_items": 0},
    )  # fmt: skip
    small_index.build(job)
    found = query(job.workspace, "small", "who wrote story 3", 12, access=None)
    scores = load(tmp_path / "cross").scores("who wrote story 3", [passage.text for passage in found])
    np.testing.assert_allclose([passage.score for passage in found], scores, atol=1e-5)
    assert scores.tolist() == sorted(scores, reverse=True)
    assert len(found) == len(set(documents.values()))
