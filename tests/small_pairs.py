"""Pairs of a question and its passage, and a small base to learn from them: for the tests of embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from core.tables.task import Base
from pipelines.tasks.parts import tokens

TEXTS = [
    "who wrote story 3",
    "the tale numbered 7 has a brilliant ending",
    "who wrote story 3 and then much more of it",
]


def pair_rows(count: int) -> list[dict[str, str]]:
    """Questions and passages that share a number alone; every tenth passage answers two."""
    return [
        {
            "query": f"who wrote story {number}" if number % 10 else f"who wrote story {number + 1} at first",
            "passage": f"the tale numbered {number + (number % 10 == 0)} is by an author of no name",
            "negative": f"the tale numbered {number + 500} is lost" if number % 4 == 0 else "",
        }
        for number in range(count)
    ]


ROWS = pd.DataFrame(pair_rows(40))


def make_base(
    folder: Path, *, max_tokens: int = 40, seed: int = 1, texts: Sequence[str] = (), vocabulary: int = 300
) -> Base:
    """A small BERT with random weights, as save_pretrained() writes it. texts: what its tokenizer learns from too."""
    import torch
    from transformers import BertConfig, BertModel

    folder.mkdir(parents=True)
    tokens.learn([*ROWS["query"], *ROWS["passage"], *TEXTS, *texts], folder, size=vocabulary)
    torch.manual_seed(seed)
    size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    BertModel(BertConfig(**size, vocab_size=vocabulary, max_position_embeddings=max_tokens)).save_pretrained(folder)
    return Base("./base", folder, "0" * 64)
