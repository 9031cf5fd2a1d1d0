"""An LSTM that reads a text both ways and one that writes another, with attention: `architecture: lstm`, `gru`, `rnn`.

register() makes them known to transformers' AutoModelForSeq2SeqLM, so they are built, generate, are saved and read
back by the code that serves T5 and BART. Imports torch at once.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForSeq2SeqLM, GenerationMixin, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput, Seq2SeqLMOutput

from pipelines.tasks.parts.recurrent import Gru, GruConfig, Lstm, LstmConfig, Rnn, RnnConfig

_NO_LABEL = -100  # of padding, as transformers and torch have it


class AttentionLstm(PreTrainedModel, GenerationMixin):  # type: ignore[misc]
    """The encoder of recurrent.py; a decoder that looks at all its vectors at each step; embeddings that both share.

    Each step's logits compare the decoder's state, joined with what it looked at, with the embedding of each token.
    Source: Luong et al. 2015 (global attention, "general"); tied embeddings: Press and Wolf 2017.
    """

    config_class = LstmConfig
    reader: type[Lstm] = Lstm
    base_model_prefix = ""
    main_input_name = "input_ids"

    def __init__(self, config: LstmConfig) -> None:
        super().__init__(config)
        width, embedding = config.hidden_size, config.embedding_size
        self.encoder = self.reader(config)
        widths = [embedding] + [width] * (config.num_layers - 1)
        self.decoder = nn.ModuleList(self.reader.cell(each, width, batch_first=True) for each in widths)
        self.query = nn.Linear(width, width, bias=False)
        self.joined = nn.Linear(2 * width, embedding)
        self.bias = nn.Parameter(torch.zeros(config.vocab_size))
        self.dropout = nn.Dropout(config.dropout)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Embedding):
            nn.init.normal_(module.weight, std=0.1)
        elif isinstance(module, nn.RNNBase | nn.Linear):
            module.reset_parameters()

    def get_encoder(self, modality: str | None = None) -> Lstm:
        return self.encoder

    def prepare_inputs_for_generation(self, input_ids: Tensor, **others: Any) -> dict[str, Any]:
        """All that has been written so far is read anew at each step: an LSTM takes little time for it."""
        kept = {name: others[name] for name in ("encoder_outputs", "attention_mask")}
        return {"decoder_input_ids": input_ids, **kept}

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        encoder_outputs: BaseModelOutput | None = None,
        labels: Tensor | None = None,
        **_: Any,
    ) -> Seq2SeqLMOutput:
        """labels: (texts, tokens), the tokens to be written, -100 for padding. Logits: (texts, tokens, vocabulary)."""
        assert attention_mask is not None
        if encoder_outputs is None:
            encoder_outputs = self.encoder(input_ids, attention_mask)
        if decoder_input_ids is None:
            assert labels is not None
            start = torch.full_like(labels[:, :1], self.config.decoder_start_token_id)
            before = labels[:, :-1].masked_fill(labels[:, :-1] == _NO_LABEL, self.config.pad_token_id)
            decoder_input_ids = torch.cat([start, before], dim=1)
        read = encoder_outputs.last_hidden_state
        states = self.dropout(self.encoder.embeddings(decoder_input_ids))
        for layer in self.decoder:
            states = self.dropout(layer(states)[0])
        scores = self.query(states) @ read.transpose(1, 2)
        seen = scores.masked_fill(attention_mask[:, None] == 0, torch.finfo(scores.dtype).min).softmax(dim=-1) @ read
        said = self.dropout(torch.tanh(self.joined(torch.cat([states, seen], dim=2))))
        logits = nn.functional.linear(said, self.encoder.embeddings.weight, self.bias)
        loss = None if labels is None else nn.functional.cross_entropy(logits.transpose(1, 2), labels)
        return Seq2SeqLMOutput(loss=loss, logits=logits)


class AttentionGru(AttentionLstm):
    config_class, reader = GruConfig, Gru


class AttentionRnn(AttentionLstm):
    config_class, reader = RnnConfig, Rnn


def register() -> None:
    """Make the models known to transformers; a second call changes nothing."""
    for model in (AttentionLstm, AttentionGru, AttentionRnn):
        AutoModelForSeq2SeqLM.register(model.config_class, model, exist_ok=True)
