"""Any encoder of text with a layer that tags each of its tokens. Imports torch at once."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from core.tables.learner import Said
from pipelines.tasks.parts.entities.token_windows import NO_TAG
from pipelines.tasks.parts.headed_encoder import HEAD_DROPOUT, HeadedEncoder


class TokenClassifier(HeadedEncoder):
    """Encoder -> logits of the tags, for each token."""

    def __init__(self, encoder: Any, *, width: int, classes: int, layers: int = 1, frozen: bool = False) -> None:
        head = nn.Sequential(nn.Dropout(HEAD_DROPOUT), nn.Linear(width, classes))
        super().__init__(encoder, head, layers=layers, frozen=frozen)

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        features: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> Said:
        """From tokens, or from what vectors() made of them before. labels: a tag's number, or NO_TAG."""
        if features is None:
            assert input_ids is not None
            assert attention_mask is not None
            features = self.vectors(input_ids=input_ids, attention_mask=attention_mask)
        logits = self.head(features)
        return Said(loss=None if labels is None else _loss(logits, labels), logits=logits)


def _loss(logits: Tensor, labels: Tensor) -> Tensor:
    """The mean cross-entropy of the words; 0 of a batch without any."""
    total = nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=NO_TAG, reduction="sum")
    return total / (labels != NO_TAG).sum().clamp(min=1)
