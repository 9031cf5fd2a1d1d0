"""BERT as a masked language model in torch alone, beside plain_bert.py. Imports torch at once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, linear

from core.tables.learner import Said
from core.weights.bert_config import is_plain_bert
from pipelines.tasks.parts.plain_bert import NOWHERE, Linear, PlainBert


def is_plain(config: Mapping[str, Any]) -> bool:
    """config: what a config.json says. Whether its head is BERT's too, with the embeddings as its last layer."""
    return is_plain_bert(config) and config.get("tie_word_embeddings") in (True, None)


class PlainMaskedBert(nn.Module):
    """Made without numbers, by the names that transformers gives them; asked as MaskedLm is."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.bert = PlainBert(config)
        width, vocabulary = self.bert.config.hidden_size, self.bert.config.vocab_size
        self.cls = nn.ModuleDict({"predictions": _Head(width, vocabulary, self.bert.config.layer_norm_eps)})

    def forward(self, input_ids: Tensor, attention_mask: Tensor, hidden: Tensor) -> Said:
        """hidden: (n,), places in the texts, counted through all of them. Logits: (n, vocabulary)."""
        vectors = self.bert(input_ids, attention_mask).last_hidden_state.flatten(0, 1).index_select(0, hidden)
        logits = self.cls["predictions"](vectors, self.bert.embeddings.word_embeddings.weight)
        return Said(loss=None, logits=logits)


class _Head(nn.Module):
    def __init__(self, width: int, vocabulary: int, epsilon: float) -> None:
        super().__init__()
        norm = nn.LayerNorm(width, eps=epsilon, device=NOWHERE)
        self.transform = nn.ModuleDict({"dense": Linear(width, width, device=NOWHERE), "LayerNorm": norm})
        self.bias = nn.Parameter(torch.empty(vocabulary, device=NOWHERE))

    def forward(self, vectors: Tensor, embeddings: Tensor) -> Tensor:
        turned = self.transform["LayerNorm"](gelu(self.transform["dense"](vectors)))
        return linear(turned, embeddings, self.bias)
