"""Any encoder of text with a layer that says where an answer begins and where it ends. Imports torch at once."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from core.tables.learner import Said
from pipelines.tasks.parts.headed_encoder import HEAD_DROPOUT, HeadedEncoder

ENDS = 2  # scores a token: that the answer begins there, and that it ends there


class AnswerFinder(HeadedEncoder):
    """Encoder -> for each token the scores that the answer begins, and ends, there: logits (windows, tokens, ENDS)."""

    def __init__(self, encoder: Any, *, width: int, classes: int, layers: int = 1, frozen: bool = False) -> None:
        head = nn.Sequential(nn.Dropout(HEAD_DROPOUT), nn.Linear(width, classes))
        super().__init__(encoder, head, layers=layers, frozen=frozen)

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        allowed: Tensor | None = None,
        places: Tensor | None = None,
    ) -> Said:
        """allowed: (windows, tokens), where an answer, or its absence, may stand. places: (windows, ENDS), the truth.

        The loss is the mean of two cross-entropies over the allowed tokens (Devlin et al. 2019, sections 4.2 and 4.3).
        """
        logits = self.head(self.vectors(input_ids=input_ids, attention_mask=attention_mask))
        if allowed is None or places is None:
            return Said(loss=None, logits=logits)
        logits = logits.float().masked_fill(~allowed[..., None], torch.finfo(torch.float32).min)
        by_end = logits.transpose(1, 2).flatten(0, 1)
        return Said(loss=nn.functional.cross_entropy(by_end, places.flatten()), logits=logits)
