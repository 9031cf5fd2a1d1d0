"""The module that learns embeddings from pairs, and the loss of it. Imports torch at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from core.schema.model import Model
from core.tables.learner import Said
from core.tables.task import Base
from core.weights.pooling import Pooling, mean_pool
from pipelines.tasks.parts.encoder import build_encoder, in_batches

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

_LIKE = 8  # texts of like length that go through the encoder together
SCALE = 20.0  # of the cosine, as in sentence-transformers: a temperature of 0.05


class SentenceEmbedder(nn.Module):
    """Encoder -> one unit vector a text; trained so that a query lies nearer to its own passage than to others."""

    def __init__(self, encoder: Any, pooling: Pooling) -> None:
        super().__init__()
        self.encoder, self.pooling = encoder, pooling

    def embed(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Unit vectors, (texts, dim) float32."""
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        vectors = mean_pool(hidden, attention_mask) if self.pooling == "mean" else hidden[:, 0]
        return nn.functional.normalize(vectors.float(), dim=1)

    def embed_by_length(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """The same, a few texts of like length at a time: a batch is drawn by chance, so most of it is padding."""
        lengths = attention_mask.sum(dim=1)
        order = lengths.argsort(stable=True)
        parts = []
        for rows in torch.split(order, _LIKE):
            width = int(lengths[rows].max())
            parts.append(self.embed(input_ids[rows, :width], attention_mask[rows, :width]))
        return torch.cat(parts)[order.argsort()]

    def forward(
        self,
        query_ids: Tensor,
        query_mask: Tensor,
        passage_ids: Tensor,
        passage_mask: Tensor,
        keys: Tensor,
        labels: Tensor,
    ) -> Said:
        """Queries against the passages of their batch, each query's own first, given negatives behind them.

        keys: (passages,), equal for equal passages. labels: (queries,), where each query's own passage stands.
        """
        queries = self.embed_by_length(query_ids, query_mask)
        passages = self.embed_by_length(passage_ids, passage_mask)
        logits = scaled_cosines(queries, passages, keys, labels)
        return Said(loss=nn.functional.cross_entropy(logits, labels), logits=logits)


def scaled_cosines(queries: Tensor, passages: Tensor, keys: Tensor, labels: Tensor) -> Tensor:
    """(queries, passages): what the cross-entropy of the multiple negatives ranking loss is taken of.

    A passage that is equal to a query's own is no negative of it: -inf. queries, passages: unit vectors.
    Source: Henderson et al. 2017, "Efficient Natural Language Response Suggestion for Smart Reply", section 4.4.
    Checked against sentence-transformers in the tests.
    """
    equal = keys[None, :] == keys[labels][:, None]
    own = torch.zeros_like(equal)
    own[torch.arange(len(labels), device=labels.device), labels] = True
    return (SCALE * queries @ passages.T).masked_fill(equal & ~own, -torch.inf)


def build(model: Model, base: Base, config: PreTrainedConfig, pooling: Pooling) -> SentenceEmbedder:
    return SentenceEmbedder(build_encoder(model, base, config), pooling)


def embed(module: SentenceEmbedder, tokens: list[list[int]], *, pad: int, batch_size: int) -> Tensor:
    """(texts, dim), on the CPU."""
    return in_batches(module, module.embed, tokens, pad=pad, batch_size=batch_size, what="embed")
