"""Any transformers masked language model: built, given adapters, trained on hidden tokens, asked for them, read back.

Imports torch at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from core.atomic_files import said_in
from core.errors import BadRequest
from core.schema.model import Lora, Model
from core.tables.learner import Row, Said
from core.tables.task import Base
from core.weights.adapters import WEIGHTS, merged
from core.weights.safety import check_code
from pipelines.tasks.parts.architecture import as_request, initialise, pretrained, starting_dropout
from pipelines.tasks.parts.encoder import by_length, load_model, pad_tokens, with_adapters
from pipelines.tasks.parts.language.masking import Array, Hidden, Masks, at_once
from pipelines.tasks.parts.language.plain_masked_bert import PlainMaskedBert, is_plain

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

# Of the tokens that are hidden in training so many become the mask, so many any token, the others stay as they are:
# callers' texts have no masks but those they ask about. Devlin et al. 2019, section 3.1.
MASKED, REPLACED = 0.8, 0.1
_PLACES: ContextVar[Tensor | None] = ContextVar("places", default=None)  # hidden ones, as this thread asks


class MaskedLm(nn.Module):
    """Logits of hidden tokens, and of no others: those of all would take most of the time.

    model: of transformers' AutoModelForMaskedLM, perhaps with adapters. Its own head reads what its encoder says of the
    hidden places alone. head_is_new: whether the base that it began with had no such head.
    """

    def __init__(self, model: Any, *, head_is_new: bool = True) -> None:
        super().__init__()
        self.model, self.head_is_new = model, head_is_new
        plain = model.get_base_model() if hasattr(model, "peft_config") else model
        plain.base_model.register_forward_hook(_chosen)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, hidden: Tensor, labels: Tensor | None = None) -> Said:
        """hidden: (n,), places in the texts, counted through all of them, padding included. Logits: (n, vocabulary)."""
        before = _PLACES.set(hidden)
        try:
            logits = self.model(input_ids=input_ids, attention_mask=attention_mask).logits[0]
        finally:
            _PLACES.reset(before)
        return Said(loss=None if labels is None else _loss(logits, labels), logits=logits)


def _chosen(encoder: nn.Module, inputs: Any, outputs: Any) -> Any:
    """A hook behind the encoder: the vectors of the hidden places, as one text, are what the head reads."""
    if (places := _PLACES.get()) is not None:
        outputs[next(iter(outputs))] = outputs[0].flatten(0, 1).index_select(0, places)[None]
    return outputs


def require_kind(config: PreTrainedConfig) -> None:
    """Raise BadRequest for an encoder that transformers has no masked language model of."""
    from transformers import AutoModelForMaskedLM

    if type(config) not in AutoModelForMaskedLM._model_mapping:
        raise BadRequest(
            f"model.base: {config.model_type} is no masked language model. Allowed: bert, modernbert, roberta, "
            "distilbert, electra, deberta-v2 and others of transformers' AutoModelForMaskedLM."
        )


def build(model: Model, base: Base, config: PreTrainedConfig) -> MaskedLm:
    """The module that `model.method` trains; the base's own dropout is off."""
    from transformers import AutoModelForMaskedLM

    require_kind(config)
    starting_dropout(config, model, base)
    if base.architecture is not None:
        module = MaskedLm(initialise(AutoModelForMaskedLM, config))
    else:
        prefix, absent = f"{AutoModelForMaskedLM._model_mapping[type(config)].base_model_prefix}.", []

        def of_head(name: str) -> bool:
            absent.append(name)
            return not name.startswith(prefix)

        found = pretrained(AutoModelForMaskedLM, base, config, fresh=of_head)
        head = [each for name, each in found.named_parameters() if not name.startswith(prefix)]
        if model.method == "lora":
            found = with_adapters(found, model.lora or Lora(), reference=str(base.reference))
            for parameter in head if absent else ():
                parameter.requires_grad_(True)
        module = MaskedLm(found, head_is_new=bool(absent))
    _try(module, config)
    return module


def load(folder: Path, base: Path | None) -> nn.Module:
    """What encoder.py's save_encoder() wrote of MaskedLm.model: BERT itself without transformers, as MaskedLm is asked.

    base: where what was not trained lies; None if all stands in `folder`.
    """
    if not is_plain(told := said_in(folder / "config.json")):
        from transformers import AutoModelForMaskedLM

        return MaskedLm(load_model(AutoModelForMaskedLM, folder, base)).eval()
    check_code(folder, "this model")
    with as_request(f"{folder}: its weights cannot be used"):
        weights = merged(folder, base) if base else load_file(folder / WEIGHTS)
    with as_request(f"{folder}: its weights are of another model"):
        plain = PlainMaskedBert(told)
        plain.load_state_dict({name: value.float() for name, value in weights.items()}, assign=True)
    return plain.eval()


def collate(rows: list[Row], *, module: nn.Module, pad: int, masks: Masks) -> dict[str, Tensor]:
    """A batch with hidden tokens: drawn anew while the module trains, always the same ones while it does not."""
    batch = pad_tokens([row["input_ids"] for row in rows], pad)
    ids, width = batch["input_ids"], batch["input_ids"].shape[1]
    if module.training:
        hidden = _drawn(ids, batch["attention_mask"], masks)
    else:
        first = [at * width + masks.first(np.asarray(row["input_ids"])) for at, row in enumerate(rows)]
        hidden = torch.from_numpy(np.concatenate(first))
    labels = ids.flatten()[hidden]
    seen = torch.full_like(labels, masks.mask)
    if module.training:
        drawn = torch.rand(len(labels))
        other = torch.randint_like(labels, masks.vocabulary)
        seen = torch.where(drawn < MASKED, seen, torch.where(drawn < MASKED + REPLACED, other, labels))
    return {
        **batch,
        "input_ids": ids.flatten().index_copy(0, hidden, seen).view_as(ids),
        "hidden": hidden,
        "labels": labels,
    }


def right(outputs: Said, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The share of the batch's hidden tokens that were the most probable ones, times its texts."""
    found = (outputs.logits.argmax(dim=-1) == batch["labels"]).double().mean()
    return {"accuracy": found.nan_to_num() * len(batch["input_ids"])}


def asked(
    module: nn.Module, hidden: Sequence[Hidden], *, pad: int, batch_size: int, best: int
) -> tuple[Array, Array, Array]:
    """Of each hidden token in turn: its surprise (-log P), the most probable tokens, and their probabilities.

    best: how many. Of the other probabilities none is kept.
    """
    starts = np.cumsum([0, *(len(each.places) for each in hidden)])
    surprise = np.empty(starts[-1])
    tokens, chances = np.empty((starts[-1], best), np.int64), np.empty((starts[-1], best))
    ids: list[Any] = [each.ids for each in hidden]
    for rows, batch in by_length(module, ids, pad=pad, batch_size=batch_size, what="predict"):
        device, width = batch["input_ids"].device, batch["input_ids"].shape[1]
        places = torch.from_numpy(np.concatenate([at * width + hidden[row].places for at, row in enumerate(rows)]))
        with torch.inference_mode():
            scores = module(**batch, hidden=places.to(device)).logits.float().log_softmax(dim=-1)
            true = torch.from_numpy(np.concatenate([hidden[row].true for row in rows]).astype(np.int64)).to(device)
            own, top = scores.gather(1, true[:, None])[:, 0], scores.topk(best)
        to = np.concatenate([np.arange(starts[row], starts[row + 1]) for row in rows])
        surprise[to] = -own.double().cpu().numpy()
        tokens[to], chances[to] = top.indices.cpu().numpy(), top.values.double().exp().cpu().numpy()
    return surprise, tokens, chances


def _drawn(ids: Tensor, attention_mask: Tensor, masks: Masks) -> Tensor:
    """Places drawn at random, as many a text as are hidden at once where it is scored."""
    may = torch.from_numpy(masks.may_hide(ids.numpy())) & attention_mask.bool()
    counts = torch.tensor([at_once(count, masks.share) for count in may.sum(dim=1).tolist()])
    order = torch.where(may, torch.rand(ids.shape), 2.0).argsort(dim=1).argsort(dim=1)
    return (may & (order < counts[:, None])).flatten().nonzero()[:, 0]


def _loss(logits: Tensor, labels: Tensor) -> Tensor:
    """The mean over the hidden tokens; 0 where there are none."""
    return nn.functional.cross_entropy(logits, labels, reduction="sum") / max(1, len(labels))


def _try(module: MaskedLm, config: PreTrainedConfig) -> None:
    """Raise BadRequest for a model whose head does not read its encoder's vectors one by one."""
    ids = torch.zeros((1, 4), dtype=torch.int64)
    training = module.training
    with as_request(f"model.base: {config.model_type} cannot be asked for single tokens"), torch.inference_mode():
        shape = module.eval()(ids, torch.ones_like(ids), torch.tensor([1, 2])).logits.shape
        if tuple(shape) != (2, config.vocab_size):
            raise ValueError(f"its head says {tuple(shape)} of two tokens")
    module.train(training)
