"""Any transformers model that writes a text from a text: built for a method, its batches, its files.

Imports torch at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from core.atomic_files import read_json, write_json
from core.errors import BadRequest
from core.schema.model import Lora, Model
from core.tables.learner import Row
from core.tables.task import Base
from core.weights.device import ready
from pipelines.tasks.parts import text_input
from pipelines.tasks.parts.architecture import (
    as_request,
    initialise,
    new_config,
    pretrained,
    starting_dropout,
    stored_config,
)
from pipelines.tasks.parts.encoder import groups, load_model, pad_tokens, save_encoder, with_adapters
from pipelines.tasks.parts.translation import attention_lstm, pair_input

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

NO_LABEL = -100  # of padding, as transformers and torch have it
_GENERATION = "generation_config.json"
_SCORED_TOKENS = 4096  # of a batch whose texts are scored: logits are as many times the vocabulary


def config(base: Base, folder: Path) -> PreTrainedConfig:
    """The model's configuration. Raises BadRequest where base, tokenizer and options do not fit each other."""
    tokenizer, options = text_input.uncut(folder), pair_input.read_options(folder)
    end = pair_input.end_id(tokenizer)
    if end is None:
        raise BadRequest(f"model.base {base.reference!r}: its tokenizer puts no token at the end of a text.")
    found = config_of(base, vocabulary=tokenizer.get_vocab_size(), pad=text_input.pad(folder), end=end)
    _require_positions(found, options)
    return found


def config_of(base: Base, *, vocabulary: int, pad: int, end: int) -> PreTrainedConfig:
    """The same, of a tokenizer with so many entries. Raises BadRequest for what writes no text from a text."""
    from transformers import AutoModelForSeq2SeqLM

    attention_lstm.register()
    if base.architecture is None:
        found = stored_config(base)
    else:
        own: dict[str, int | None] = {
            "vocab_size": vocabulary,
            "pad_token_id": pad,
            "eos_token_id": end,
            "decoder_start_token_id": pad,
        }
        own |= {"bos_token_id": None, "forced_bos_token_id": None, "forced_eos_token_id": None}
        found = new_config(base.architecture, own)
        for name in own.keys() - base.architecture.settings.keys():
            setattr(found, name, own[name])
        found.is_encoder_decoder = True
    if type(found) not in AutoModelForSeq2SeqLM._model_mapping or not found.is_encoder_decoder:
        raise BadRequest(
            f"model.base: {found.model_type} does not write a text from a text. Allowed: t5, bart, marian, mbart, "
            "pegasus, led, lstm, gru, rnn and others of transformers' AutoModelForSeq2SeqLM."
        )
    if found.vocab_size < vocabulary:
        raise BadRequest(
            f"model.base: vocab_size is {found.vocab_size:,}, and the tokenizer has {vocabulary:,} entries. "
            "Leave vocab_size out, or lower preprocess.vocabulary."
        )
    return found


def foresee(base: Base, options: pair_input.Options) -> None:
    """Raise BadRequest for a base that no rows make right. A learnt tokenizer has `vocabulary` entries at most."""
    told = base.architecture.settings.get("vocab_size") if base.architecture is not None else 1
    vocabulary = min(told, options.vocabulary) if isinstance(told, int) else options.vocabulary
    found = config_of(base, vocabulary=vocabulary, pad=0, end=1)
    _require_positions(found, options)
    if base.architecture is not None:
        from transformers import AutoModelForSeq2SeqLM

        with torch.device("meta"):
            initialise(AutoModelForSeq2SeqLM, found)


def build(model: Model, base: Base, config: PreTrainedConfig) -> Any:
    """The module that `model.method` trains; the base's own dropout is off.

    transfer: the encoder stays as it is, with the embeddings, which the decoder shares in most models.
    """
    from transformers import AutoModelForSeq2SeqLM

    starting_dropout(config, model, base)
    if base.architecture is not None:
        return initialise(AutoModelForSeq2SeqLM, config)
    module = pretrained(AutoModelForSeq2SeqLM, base, config, fresh=lambda name: False, dtype=torch.float32)
    if model.method == "lora":
        return with_adapters(module, model.lora or Lora(), reference=str(base.reference))
    if model.method == "transfer":
        module.get_encoder().requires_grad_(False)
    return module


def save(module: Any, folder: Path, base: Path | None) -> None:
    """config.json, the weights as save_encoder() lays them out, and with which tokens a text begins and ends."""
    save_encoder(module, folder, base)
    said = module.generation_config.to_diff_dict()
    write_json(folder / _GENERATION, {key: said[key] for key in said if key != "transformers_version"})


def load(folder: Path, base: Path | None) -> Any:
    """What save() wrote, ready to write. base: where what was not trained lies; None if all stands in `folder`."""
    from transformers import AutoModelForSeq2SeqLM, GenerationConfig

    attention_lstm.register()
    model = load_model(AutoModelForSeq2SeqLM, folder, base)
    with as_request(f"{folder}: its {_GENERATION} cannot be used"):
        model.generation_config = GenerationConfig(**read_json(folder / _GENERATION))
    return model.eval()


def collate(rows: list[Row], *, pad: int) -> dict[str, Tensor]:
    labels = pad_tokens([row["labels"] for row in rows], pad)
    hidden = labels["attention_mask"] == 0
    return {
        **pad_tokens([row["input_ids"] for row in rows], pad),
        "labels": labels["input_ids"].masked_fill(hidden, NO_LABEL),
    }


def watch(outputs: Any, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The share of each text's tokens that are the likeliest ones behind those before them, summed over the texts."""
    there = batch["labels"] != NO_LABEL
    right = (outputs.logits.argmax(dim=-1) == batch["labels"]) & there
    return {"accuracy": (right.sum(dim=1) / there.sum(dim=1)).double().sum()}


def sureness(
    module: nn.Module, sources: Sequence[Sequence[int]], written: Sequence[Sequence[int]], pad: int
) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Of each text that was written: the geometric mean of the probabilities of its tokens, its end among them."""
    device = ready(module)
    found = np.empty(len(sources))
    for rows in groups([len(one) + len(two) for one, two in zip(sources, written, strict=True)], 64, _SCORED_TOKENS):
        batch = collate([{"input_ids": sources[row], "labels": written[row]} for row in rows], pad=pad)
        labels = batch["labels"].to(device)
        with torch.inference_mode():
            logits = module(**{name: value.to(device) for name, value in batch.items()}).logits.float()
            surprise = nn.functional.cross_entropy(logits.transpose(1, 2), labels, reduction="none")
            found[rows] = (-surprise.sum(dim=1) / (labels != NO_LABEL).sum(dim=1)).double().exp().cpu().numpy()
    return found


def _require_positions(config: PreTrainedConfig, options: pair_input.Options) -> None:
    text_input.require_positions(config, options.max_tokens)
    text_input.require_positions(config, options.max_target_tokens, key="max_target_tokens")
