"""Whether a configuration describes BERT as it was published: that one is read and computed without transformers.

Devlin et al. 2019; the names and what counts where nothing is said are those of transformers' BertConfig.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

DEFAULTS: Mapping[str, int | float] = {
    "vocab_size": 30522, "hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12,
    "intermediate_size": 3072, "max_position_embeddings": 512, "type_vocab_size": 2, "layer_norm_eps": 1e-12,
}  # fmt: skip
_ONLY: Mapping[str, tuple[Any, ...]] = {  # with other values of these it is another encoder
    "model_type": ("bert",),
    "hidden_act": ("gelu",),
    "position_embedding_type": ("absolute",),
    "dtype": ("float32",),
    "torch_dtype": ("float32",),
    "attn_implementation": ("sdpa",),
    "_attn_implementation": ("sdpa",),
    "is_decoder": (False,),
    "add_cross_attention": (False,),
    "chunk_size_feed_forward": (0,),
}


def is_plain_bert(config: Mapping[str, Any]) -> bool:
    """config: what a config.json says. False for another model, another kind of BERT, and numbers that do not fit."""
    if "model_type" not in config:
        return False
    if any(config[name] not in (*allowed, None) for name, allowed in _ONLY.items() if name in config):
        return False
    numbers = {name: config.get(name, default) for name, default in DEFAULTS.items()}
    epsilon = numbers.pop("layer_norm_eps")
    whole = all(type(number) is int and number > 0 for number in numbers.values())
    return whole and isinstance(epsilon, float) and numbers["hidden_size"] % numbers["num_attention_heads"] == 0
