"""BERT's encoder in torch alone: what transformers computes, to the last bit, by parameters of the same names.

A trained model is evaluated, tried and asked through it, since importing transformers' BERT costs 4 s of CPU, and an
answer 10 ms. Training, and every other kind of encoder, is transformers'.
Source: Devlin et al. 2019. Checked against transformers in the tests. Imports torch at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, scaled_dot_product_attention

from core.weights.bert_config import DEFAULTS

NOWHERE = "meta"  # torch's device of tensors without numbers


class PlainBert(nn.Module):
    """Made without numbers: they are to be given by `load_state_dict(..., assign=True)`. config: as a config.json."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.config = SimpleNamespace(**{**DEFAULTS, **config})
        self.embeddings = _Embeddings(self.config)
        layers = nn.ModuleList(_Layer(self.config) for _ in range(self.config.num_hidden_layers))
        self.encoder = nn.ModuleDict({"layer": layers})

    def forward(self, input_ids: Tensor, attention_mask: Tensor, output_hidden_states: bool = False) -> SimpleNamespace:
        """Vectors of the tokens, (texts, tokens, hidden_size), and those behind each layer where they are asked for."""
        hidden: Tensor = self.embeddings(input_ids)
        mask, states = _shared_mask(attention_mask), [hidden]
        layers: Any = self.encoder["layer"]
        for layer in layers:
            states.append(hidden := layer(hidden, mask))
        return SimpleNamespace(last_hidden_state=hidden, hidden_states=tuple(states) if output_hidden_states else None)


class Linear(nn.Linear):
    def reset_parameters(self) -> None:
        """Drawing numbers for a module without any would import torch's compiler, 2 s of CPU."""


class _Embedding(nn.Embedding):
    def reset_parameters(self) -> None:
        """As above."""


class _Embeddings(nn.Module):
    def __init__(self, config: SimpleNamespace) -> None:
        super().__init__()
        self.word_embeddings = _Embedding(config.vocab_size, config.hidden_size, device=NOWHERE)
        self.position_embeddings = _Embedding(config.max_position_embeddings, config.hidden_size, device=NOWHERE)
        self.token_type_embeddings = _Embedding(config.type_vocab_size, config.hidden_size, device=NOWHERE)
        self.LayerNorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps, device=NOWHERE)

    def forward(self, input_ids: Tensor) -> Tensor:
        places = torch.arange(input_ids.shape[1], device=input_ids.device)[None]
        one_segment = self.token_type_embeddings(torch.zeros_like(input_ids))
        normed: Tensor = self.LayerNorm(
            self.word_embeddings(input_ids) + one_segment + self.position_embeddings(places)
        )
        return normed


class _Layer(nn.Module):
    """Attention and a wide layer, each added to what it reads and normed."""

    def __init__(self, config: SimpleNamespace) -> None:
        super().__init__()
        width, wide, epsilon = config.hidden_size, config.intermediate_size, config.layer_norm_eps
        self.heads = config.num_attention_heads
        own = nn.ModuleDict({name: Linear(width, width, device=NOWHERE) for name in ("query", "key", "value")})
        self.attention = nn.ModuleDict({"self": own, "output": _dense_and_norm(width, width, epsilon)})
        self.intermediate = nn.ModuleDict({"dense": Linear(width, wide, device=NOWHERE)})
        self.output = _dense_and_norm(wide, width, epsilon)

    def forward(self, hidden: Tensor, mask: Tensor | None) -> Tensor:
        query, key, value = (self._split(self.attention["self"][name](hidden)) for name in ("query", "key", "value"))  # type: ignore[index]
        attended = scaled_dot_product_attention(query, key, value, attn_mask=mask)
        joined = attended.transpose(1, 2).contiguous().reshape(*hidden.shape[:-1], -1)
        hidden = _added(self.attention["output"], joined, hidden)
        return _added(self.output, gelu(self.intermediate["dense"](hidden)), hidden)

    def _split(self, hidden: Tensor) -> Tensor:
        """(texts, tokens, width) -> (texts, heads, tokens, width / heads)."""
        return hidden.view(*hidden.shape[:-1], self.heads, -1).transpose(1, 2)


def _dense_and_norm(reads: int, width: int, epsilon: float) -> nn.ModuleDict:
    norm = nn.LayerNorm(width, eps=epsilon, device=NOWHERE)
    return nn.ModuleDict({"dense": Linear(reads, width, device=NOWHERE), "LayerNorm": norm})


def _added(parts: Any, inner: Tensor, hidden: Tensor) -> Tensor:
    normed: Tensor = parts["LayerNorm"](parts["dense"](inner) + hidden)
    return normed


def _shared_mask(attention_mask: Tensor) -> Tensor | None:
    """Which token may look at which, for all heads; None where no text is padded: another kernel is quicker then.

    A graph that is exported has to hold for any mask.
    """
    if not torch.compiler.is_exporting() and bool(attention_mask.all()):
        return None
    texts, tokens = attention_mask.shape
    return attention_mask.bool()[:, None, None, :].expand(texts, 1, tokens, tokens)
