"""Recurrent encoders of text, beside those of transformers: `architecture: lstm`, `gru` or `rnn`, read in both ways.

register() makes their model types known to AutoConfig and AutoModel, so they are built, saved and read back
by the code that serves every other encoder. Imports torch at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput


class LstmConfig(PreTrainedConfig):  # type: ignore[misc]
    """Settings of an encoder.

    hidden_size: of a token's vector, half of it from each direction. embedding_size: of what a token begins as.
    """

    model_type = "lstm"
    attribute_map = {"num_hidden_layers": "num_layers"}  # noqa: RUF012  (transformers' own name for it)

    vocab_size: int = 8000
    hidden_size: int = 256
    num_layers: int = 1
    embedding_size: int = 128
    dropout: float = 0.3
    pad_token_id: int = 0

    def __post_init__(self, **others: Any) -> None:
        if self.hidden_size % 2 or min(self.vocab_size, self.hidden_size, self.num_layers, self.embedding_size) < 1:
            raise ValueError("hidden_size must be even, and it, num_layers and embedding_size at least 1")
        super().__post_init__(**others)


class GruConfig(LstmConfig):
    model_type = "gru"


class RnnConfig(LstmConfig):
    model_type = "rnn"


class Lstm(PreTrainedModel):  # type: ignore[misc]
    """Embeddings -> layers of two networks, one along the text and one against it, side by side.

    Source: Graves and Schmidhuber 2005; for named entities Huang et al. 2015, without the CRF.
    """

    config_class = LstmConfig
    base_model_prefix = "lstm"
    cell: Callable[..., nn.RNNBase] = nn.LSTM

    def __init__(self, config: LstmConfig) -> None:
        super().__init__(config)
        self.embeddings = nn.Embedding(config.vocab_size, config.embedding_size)
        self.dropout = nn.Dropout(config.dropout)
        widths = [config.embedding_size] + [config.hidden_size] * (config.num_layers - 1)
        self.along, self.against = layers_of(self.cell, widths, config.hidden_size)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.1)
        elif isinstance(module, nn.RNNBase):
            module.reset_parameters()

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, output_hidden_states: bool = False, **_: Any
    ) -> BaseModelOutput:
        """Vectors of the tokens, (texts, tokens, hidden_size); those of padding, which stands last, mean nothing.

        What else transformers' generate() tells an encoder does not concern it.
        """
        embedded = self.dropout(self.embeddings(input_ids))
        states = (embedded, *both_ways(embedded, attention_mask, self.along, self.against, self.dropout))
        return BaseModelOutput(last_hidden_state=states[-1], hidden_states=states if output_hidden_states else None)


class Gru(Lstm):
    """The same of gated recurrent units. Source: Cho et al. 2014."""

    config_class = GruConfig
    base_model_prefix = "gru"
    cell = nn.GRU


class Rnn(Lstm):
    """The same of plain recurrent units with tanh. Source: Elman 1990."""

    config_class = RnnConfig
    base_model_prefix = "rnn"
    cell = nn.RNN


def register() -> None:
    """Make the encoders known to transformers; a second call changes nothing."""
    for config, encoder in ((LstmConfig, Lstm), (GruConfig, Gru), (RnnConfig, Rnn)):
        AutoConfig.register(config.model_type, config, exist_ok=True)
        AutoModel.register(config, encoder, exist_ok=True)


def layers_of(
    cell: Callable[..., nn.RNNBase], widths: Sequence[int], hidden: int
) -> tuple[nn.ModuleList, nn.ModuleList]:
    """Layers that read along the rows, and as many that read against them, for both_ways().

    widths: what each layer reads. hidden: what the two of a layer say together.
    """
    along, against = (nn.ModuleList(cell(width, hidden // 2, batch_first=True) for width in widths) for _ in range(2))
    return along, against


def both_ways(
    vectors: Tensor, mask: Tensor, along: nn.ModuleList, against: nn.ModuleList, dropout: nn.Module
) -> Iterator[Tensor]:
    """What each layer makes of what the one before it made: one part of it along the rows, and one against them.

    vectors: (rows, steps, width). mask: (rows, steps), 1 = no padding.
    """
    order = _reading_backwards(mask)
    for forth, back in zip(along, against, strict=True):
        returned = _in_order(back(_in_order(vectors, order))[0], order)
        vectors = dropout(torch.cat([forth(vectors)[0], returned], dim=2))
        yield vectors


def _reading_backwards(mask: Tensor) -> Tensor:
    """For each place the token that stands there when a text is read backwards; padding stays where it is.

    So the second LSTM begins with the last token and never sees padding. mask: (texts, tokens), 1 = token.
    """
    places = torch.arange(mask.shape[1], device=mask.device)
    back = mask.sum(dim=1, keepdim=True) - 1 - places
    return torch.where(back >= 0, back, places)


def _in_order(hidden: Tensor, order: Tensor) -> Tensor:
    return hidden.gather(1, order[:, :, None].expand(-1, -1, hidden.shape[2]))
