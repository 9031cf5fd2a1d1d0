"""BERT's encoder (Devlin et al. 2018), forward only: model.safetensors -> token vectors.

Here because importing transformers and its BERT takes 3 s, and a question is answered in 20 ms. The tests hold it
against transformers' own.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipelines.errors import BadRequest

_GELU = {"gelu": "none", "gelu_new": "tanh", "gelu_pytorch_tanh": "tanh"}


def fits(config: Mapping[str, Any]) -> bool:
    """Whether config.json describes an encoder that this file computes."""
    return (
        config.get("model_type") == "bert"
        and config.get("position_embedding_type", "absolute") == "absolute"
        and config.get("hidden_act", "gelu") in _GELU
        and not config.get("is_decoder", False)
    )


def load(folder: Path, config: Mapping[str, Any]) -> Bert:
    """The encoder with its weights. Raises BadRequest when weights are missing."""
    from safetensors.torch import load_file

    path = folder / "model.safetensors"
    if not path.is_file():
        raise BadRequest(f"{path}: missing. Headrace reads weights from safetensors only.")
    weights = {name.removeprefix("bert."): tensor.float() for name, tensor in load_file(path).items()}
    try:
        return Bert(weights, config).eval()
    except KeyError as missing:
        raise BadRequest(f"{path}: has no weights named {missing}, so it is no BERT encoder.") from None


class Bert(nn.Module):
    """(ids, mask), both (texts, tokens) -> (texts, tokens, hidden)."""

    def __init__(self, weights: Mapping[str, Tensor], config: Mapping[str, Any]) -> None:
        super().__init__()
        self.heads = int(config["num_attention_heads"])
        self.epsilon = float(config.get("layer_norm_eps", 1e-12))
        self.gelu = _GELU[config.get("hidden_act", "gelu")]
        named = "embeddings.{}_embeddings.weight".format
        self.words = weights[named("word")]
        # a text is one segment, so its segment's vector is added once, here
        self.places = weights[named("position")] + weights[named("token_type")][0]
        self.norm = _pair(weights, "embeddings.LayerNorm")
        self.layers = [_layer(weights, f"encoder.layer.{n}") for n in range(int(config["num_hidden_layers"]))]

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        texts, tokens = ids.shape
        hidden = self._norm(functional.embedding(ids, self.words) + self.places[:tokens], self.norm)
        seen = None if bool(mask.all()) else mask.bool()[:, None, None, :]
        for layer in self.layers:
            mixed = functional.linear(hidden, *layer["qkv"]).view(texts, tokens, 3, self.heads, -1)
            query, key, value = mixed.permute(2, 0, 3, 1, 4)
            attended = functional.scaled_dot_product_attention(query, key, value, attn_mask=seen)
            joined = attended.transpose(1, 2).reshape(texts, tokens, -1)
            hidden = self._norm(functional.linear(joined, *layer["out"]) + hidden, layer["out_norm"])
            wide = functional.gelu(functional.linear(hidden, *layer["up"]), approximate=self.gelu)
            hidden = self._norm(functional.linear(wide, *layer["down"]) + hidden, layer["down_norm"])
        return hidden

    def _norm(self, hidden: Tensor, pair: tuple[Tensor, Tensor]) -> Tensor:
        return functional.layer_norm(hidden, hidden.shape[-1:], *pair, self.epsilon)


def _layer(weights: Mapping[str, Tensor], at: str) -> dict[str, tuple[Tensor, Tensor]]:
    parts = [_pair(weights, f"{at}.attention.self.{name}") for name in ("query", "key", "value")]
    return {
        "qkv": (torch.cat([weight for weight, _ in parts]), torch.cat([bias for _, bias in parts])),
        "out": _pair(weights, f"{at}.attention.output.dense"),
        "out_norm": _pair(weights, f"{at}.attention.output.LayerNorm"),
        "up": _pair(weights, f"{at}.intermediate.dense"),
        "down": _pair(weights, f"{at}.output.dense"),
        "down_norm": _pair(weights, f"{at}.output.LayerNorm"),
    }


def _pair(weights: Mapping[str, Tensor], name: str) -> tuple[Tensor, Tensor]:
    return weights[f"{name}.weight"], weights[f"{name}.bias"]
