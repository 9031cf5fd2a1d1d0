"""BERT's encoder (Devlin et al. 2018) as an OpenVINO graph: model.safetensors -> the ids of a text -> its unit vector.

Built from the weights directly: torch and transformers take longer to import than a question takes to answer, and
here neither is. The tests hold it against transformers' own.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
from openvino import Type
from openvino import opset15 as op

from core.atomic_files import read_json
from core.errors import BadRequest
from core.weights.pooling import Pooling, pooling_of

Weights = Mapping[str, np.ndarray[Any, Any]]
_GELU = {"gelu": "erf", "gelu_new": "tanh", "gelu_pytorch_tanh": "tanh"}
_NORMALISED = 1e-12  # torch's own lower limit of a vector's length


def is_bert(folder: Path) -> bool:
    """Whether a model's config.json describes an encoder that this file computes, which int8 needs."""
    config = read_json(folder / "config.json")
    return (
        config.get("model_type") == "bert"
        and config.get("position_embedding_type", "absolute") == "absolute"
        and config.get("hidden_act", "gelu") in _GELU
        and not config.get("is_decoder", False)
        and "bfloat16" not in (config.get("dtype"), config.get("torch_dtype"))  # numpy has none
    )


def graph(folder: Path) -> Any:
    """The encoder in fp32 and its pooling: (1, tokens) int32 -> (1, dim) float32.

    Raises BadRequest when weights are missing. One text at its own length has no padding, so there is no mask.
    """
    from safetensors.numpy import load_file

    path = folder / "model.safetensors"
    if not path.is_file():
        raise BadRequest(f"{path}: missing. Headrace reads weights from safetensors only.")
    weights = {name.removeprefix("bert."): array.astype(np.float32) for name, array in load_file(path).items()}
    try:
        return _Graph(weights, read_json(folder / "config.json")).model(pooling_of(folder))
    except KeyError as missing:
        raise BadRequest(f"{path}: has no weights named {missing}, so it is no BERT encoder.") from None


class _Graph:
    def __init__(self, weights: Weights, config: Mapping[str, Any]) -> None:
        self.weights = weights
        self.layers = int(config["num_hidden_layers"])
        self.heads = int(config["num_attention_heads"])
        self.width = int(config["hidden_size"])
        self.epsilon = float(config.get("layer_norm_eps", 1e-12))
        self.gelu = _GELU[config.get("hidden_act", "gelu")]

    def model(self, pooling: Pooling) -> Any:
        ids = op.parameter([1, -1], Type.i32, name="ids")
        hidden = self._embedded(ids)
        for layer in range(self.layers):
            hidden = self._layer(hidden, f"encoder.layer.{layer}")
        first = op.gather(hidden, _whole(0), _whole(1))
        pooled = op.reduce_mean(hidden, _whole([1])) if pooling == "mean" else first
        return ov.Model([op.normalize_l2(pooled, _whole([1]), _NORMALISED, "max")], [ids], "bert")

    def _embedded(self, ids: Any) -> Any:
        named = "embeddings.{}_embeddings.weight".format
        # a text is one segment, so its segment's vector is added once, here
        places = self.weights[named("position")] + self.weights[named("token_type")][0]
        length = op.gather(op.shape_of(ids, "i64"), _whole([1]), _whole(0))
        words = op.gather(op.constant(self.weights[named("word")]), ids, _whole(0))
        placed = op.slice(op.constant(places), _whole([0]), length, _whole([1]), _whole([0]))
        return self._norm(op.add(words, placed), "embeddings.LayerNorm")

    def _layer(self, hidden: Any, at: str) -> Any:
        query, key, value = (
            self._split(self._linear(hidden, f"{at}.attention.self.{name}")) for name in ("query", "key", "value")
        )
        attended = op.scaled_dot_product_attention(query, key, value)
        joined = op.reshape(_swapped(attended), _whole([0, 0, self.width]), special_zero=True)
        hidden = self._norm(
            op.add(self._linear(joined, f"{at}.attention.output.dense"), hidden), f"{at}.attention.output.LayerNorm"
        )
        wide = op.gelu(self._linear(hidden, f"{at}.intermediate.dense"), self.gelu)
        return self._norm(op.add(self._linear(wide, f"{at}.output.dense"), hidden), f"{at}.output.LayerNorm")

    def _split(self, hidden: Any) -> Any:
        """(1, tokens, width) -> (1, heads, tokens, width / heads)."""
        shape = _whole([0, 0, self.heads, self.width // self.heads])
        return _swapped(op.reshape(hidden, shape, special_zero=True))

    def _linear(self, hidden: Any, name: str) -> Any:
        product = op.matmul(hidden, self._weight(name), transpose_a=False, transpose_b=True)
        return op.add(product, op.constant(self.weights[f"{name}.bias"]))

    def _norm(self, hidden: Any, name: str) -> Any:
        even = op.mvn(hidden, _whole([-1]), True, self.epsilon, "inside_sqrt")
        return op.add(op.multiply(even, self._weight(name)), op.constant(self.weights[f"{name}.bias"]))

    def _weight(self, name: str) -> Any:
        return op.constant(self.weights[f"{name}.weight"])


def _whole(numbers: int | list[int]) -> Any:
    return op.constant(np.array(numbers, np.int64))


def _swapped(hidden: Any) -> Any:
    """Heads before tokens, or back."""
    return op.transpose(hidden, _whole([0, 2, 1, 3]))
