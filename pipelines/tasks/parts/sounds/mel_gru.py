"""A bidirectional GRU over a log-mel spectrogram as an encoder, beside those of transformers: `architecture: mel_gru`.

register() makes its model type known to transformers' AutoConfig and AutoModel. Imports torch at once.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from pipelines.tasks.parts.recurrent import both_ways, layers_of

NAME = "mel_gru"


class MelGruConfig(PreTrainedConfig):  # type: ignore[misc]
    """Settings of the encoder. hidden_size: of a frame's vector, half of it from each direction."""

    model_type = NAME
    attribute_map = {"num_hidden_layers": "num_layers"}  # noqa: RUF012  (transformers' own name for it)

    def __init__(
        self, num_mel_bins: int = 40, hidden_size: int = 128, num_layers: int = 2, dropout: float = 0.2, **others: Any
    ) -> None:
        if hidden_size % 2 or min(num_mel_bins, hidden_size, num_layers) < 1:
            raise ValueError("hidden_size must be even, and it, num_mel_bins and num_layers at least 1")
        self.num_mel_bins, self.hidden_size = num_mel_bins, hidden_size
        self.num_layers, self.dropout = num_layers, dropout
        super().__init__(**others)


class MelGru(PreTrainedModel):  # type: ignore[misc]
    """Frames -> layers of two GRUs, one along the sound and one against it, side by side.

    Source: Cho et al. 2014 (the unit); Graves et al. 2013, "Speech recognition with deep recurrent neural networks".
    """

    config_class = MelGruConfig
    base_model_prefix = "gru"
    main_input_name = "input_values"

    def __init__(self, config: MelGruConfig) -> None:
        super().__init__(config)
        self.dropout = nn.Dropout(config.dropout)
        widths = [config.num_mel_bins] + [config.hidden_size] * (config.num_layers - 1)
        self.along, self.against = layers_of(nn.GRU, widths, config.hidden_size)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.GRU):
            module.reset_parameters()

    def forward(
        self, input_values: Tensor, attention_mask: Tensor, output_hidden_states: bool = False
    ) -> BaseModelOutput:
        """Vectors of the frames, (sounds, frames, hidden_size); those of padding, which stands last, mean nothing."""
        states = tuple(both_ways(input_values, attention_mask, self.along, self.against, self.dropout))
        return BaseModelOutput(last_hidden_state=states[-1], hidden_states=states if output_hidden_states else None)


def register() -> None:
    """Make the encoder known to transformers; a second call changes nothing."""
    AutoConfig.register(NAME, MelGruConfig, exist_ok=True)
    AutoModel.register(MelGruConfig, MelGru, exist_ok=True)
