"""An LSTM as a causal language model, beside those of transformers: `architecture: lstm`, read in one way.

register() makes it known to AutoModelForCausalLM, so it is built, saved, read back and asked as every other is.
Imports torch at once.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, GenerationMixin, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput

from pipelines.tasks.parts.recurrent import LstmConfig


class LstmLm(PreTrainedModel, GenerationMixin):  # type: ignore[misc]
    """Embeddings -> layers of LSTM -> a vector of an embedding's size -> logits by the embeddings themselves.

    Source: Zaremba et al. 2014; embeddings that are read and said alike Press and Wolf 2017.
    """

    config_class = LstmConfig
    base_model_prefix = "lstm"

    def __init__(self, config: LstmConfig) -> None:
        super().__init__(config)
        config.use_cache = False  # a text that is written is read anew with each token
        self.embeddings = nn.Embedding(config.vocab_size, config.embedding_size)
        self.dropout = nn.Dropout(config.dropout)
        widths = [config.embedding_size] + [config.hidden_size] * (config.num_layers - 1)
        self.layers = nn.ModuleList(nn.LSTM(width, config.hidden_size, batch_first=True) for width in widths)
        self.narrow = nn.Linear(config.hidden_size, config.embedding_size)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.1)
        elif isinstance(module, nn.LSTM | nn.Linear):
            module.reset_parameters()

    def forward(self, input_ids: Tensor, position_ids: Tensor | None = None, **others: Any) -> CausalLMOutput:
        """Logits (texts, tokens, vocabulary). A position of 0 begins a sequence, which knows nothing of others."""
        starts = torch.zeros_like(input_ids, dtype=torch.bool) if position_ids is None else position_ids == 0
        starts = starts.expand_as(input_ids).clone()
        starts[:, 0] = True
        order = starts.flatten().cumsum(0) - 1  # of each token its sequence, all texts one behind the other
        lengths = order.bincount()
        places = torch.arange(len(order), device=order.device) - (lengths.cumsum(0) - lengths)[order]
        embedded = self.dropout(self.embeddings(input_ids)).flatten(0, 1)
        hidden = embedded.new_zeros(len(lengths), int(lengths.max()), embedded.shape[1])
        hidden = hidden.index_put((order, places), embedded)
        for layer in self.layers:
            hidden = self.dropout(layer(hidden)[0])
        said = self.narrow(hidden[order, places]) @ self.embeddings.weight.T + self.bias
        return CausalLMOutput(logits=said.view(*input_ids.shape, -1))


def register() -> None:
    """Make the model known to transformers; a second call changes nothing."""
    AutoModelForCausalLM.register(LstmConfig, LstmLm, exist_ok=True)
