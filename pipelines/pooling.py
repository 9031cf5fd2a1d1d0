"""Token vectors -> one vector a text. The embedder and the text tasks pool alike."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def mean_pool(hidden: Tensor, mask: Tensor) -> Tensor:
    """Average token vectors into one vector a text, padding left out.

    hidden: (texts, tokens, dim). mask: (texts, tokens), 1 = token, 0 = padding. Returns (texts, dim), not normalised.
    Source: Reimers & Gurevych 2019, section 3. Checked against transformers, unbatched, in the tests.
    """
    weights = mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * weights).sum(1) / weights.sum(1).clamp(min=1e-9)
