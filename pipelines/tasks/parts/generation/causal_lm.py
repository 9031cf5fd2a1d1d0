"""Any transformers causal language model: built, given adapters, trained on packed sequences, asked, read back.

Imports torch at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from core.errors import BadRequest
from core.schema.model import Lora, Model
from core.tables.learner import Row, Said
from core.tables.task import Base
from pipelines.tasks.parts import text_input
from pipelines.tasks.parts.architecture import as_request, initialise, pretrained, starting_dropout
from pipelines.tasks.parts.encoder import by_length, load_model, with_adapters
from pipelines.tasks.parts.generation.chat import texts_of
from pipelines.tasks.parts.generation.sequences import Array, Part

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

_NOT_OWN = -100  # the label of a token that is read and not foretold, and of padding


class CausalLm(nn.Module):
    """Logits of the next token. model: of transformers' AutoModelForCausalLM, perhaps with adapters.

    A position of 0 begins a sequence; transformers lets no token look beyond the sequence that it stands in, where it
    is given positions and no mask.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, position_ids: Tensor, labels: Tensor | None = None) -> Said:
        """input_ids, position_ids, labels: (rows, tokens). Logits: (rows, tokens - 1, vocabulary), of the next ones.

        labels: the tokens themselves, _NOT_OWN for those that are not foretold. The loss is a mean over the others,
        with what a mixture of experts asks beside it, where its settings say output_router_logits.
        """
        said = self.model(input_ids=input_ids, position_ids=position_ids, use_cache=False)
        logits = said.logits[:, :-1]
        if labels is None:
            return Said(None, logits)
        own = labels[:, 1:].flatten()
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), own, ignore_index=_NOT_OWN, reduction="sum")
        loss = loss / (own != _NOT_OWN).sum().clamp_min(1)
        if (balance := getattr(said, "aux_loss", None)) is not None:
            loss = loss + self.model.config.router_aux_loss_coef * balance
        return Said(loss, logits)


def require_kind(config: PreTrainedConfig) -> None:
    """Raise BadRequest for what transformers has no causal language model of."""
    from transformers import AutoModelForCausalLM

    if type(config) not in AutoModelForCausalLM._model_mapping:
        raise BadRequest(
            f"model.base: {config.model_type} is no causal language model. Allowed: gpt2, llama, qwen2, qwen3, "
            "mixtral, lstm and others of transformers' AutoModelForCausalLM."
        )


def config(base: Base, folder: Path) -> PreTrainedConfig:
    """The model's configuration, with the tokens that begin, end and fill up a text by the folder's tokenizer."""
    found = text_input.config(base, folder)
    texts = texts_of(folder)
    found.bos_token_id, found.eos_token_id, found.pad_token_id = texts.start, texts.end, text_input.pad(folder)
    return found


def build(model: Model, base: Base, config: PreTrainedConfig) -> CausalLm:
    """The module that `model.method` trains; the base's own dropout is off."""
    from transformers import AutoModelForCausalLM

    require_kind(config)
    starting_dropout(config, model, base)
    if base.architecture is not None:
        found = initialise(AutoModelForCausalLM, config)
    else:
        found = pretrained(AutoModelForCausalLM, base, config, fresh=lambda name: False, dtype=torch.float32)
        if model.method == "lora":
            found = with_adapters(found, model.lora or Lora(), reference=str(base.reference))
    module = CausalLm(found)
    _try(module, config)
    return module


def load(folder: Path, base: Path | None) -> CausalLm:
    """What encoder.py's save_encoder() wrote of CausalLm.model."""
    from transformers import AutoModelForCausalLM

    return CausalLm(load_model(AutoModelForCausalLM, folder, base)).eval()


def collate(rows: list[Row], *, pad: int) -> dict[str, Tensor]:
    """A batch of packed rows as one rectangle. Each token of padding is a sequence of its own, which nothing reads."""
    shape = (len(rows), max(len(row["input_ids"]) for row in rows))
    batch = {"input_ids": np.full(shape, pad), "position_ids": np.zeros(shape, np.int64)}
    batch["labels"] = np.full(shape, _NOT_OWN)
    for at, row in enumerate(rows):
        ids, length = row["input_ids"], len(row["input_ids"])
        batch["input_ids"][at, :length], batch["position_ids"][at, :length] = ids, row["position_ids"]
        batch["labels"][at, :length] = np.where(np.asarray(row["own"], bool), ids, _NOT_OWN)
    return {name: torch.from_numpy(values) for name, values in batch.items()}


def right(outputs: Said, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The share of the batch's own tokens that were the likeliest ones, times its rows."""
    labels = batch["labels"][:, 1:]
    own = labels != _NOT_OWN
    found = (outputs.logits.argmax(dim=-1) == labels)[own].double().mean()
    return {"accuracy": found.nan_to_num() * len(labels)}


def foretold(module: CausalLm, parts: Sequence[Part], *, pad: int, batch_size: int) -> tuple[Array, Array]:
    """Of the own tokens of each part in turn: the surprise (-log P), and whether no other token was likelier."""
    starts = np.cumsum([0, *(part.own.sum() for part in parts)])
    surprise, likeliest = np.empty(starts[-1]), np.empty(starts[-1], bool)
    ids: list[Any] = [part.ids for part in parts]
    for rows, batch in by_length(module, ids, pad=pad, batch_size=batch_size, what="predict"):
        places, real = torch.arange(batch["input_ids"].shape[1]), batch["attention_mask"].bool()
        with torch.inference_mode():
            positions = places.to(real.device) * real  # padding is no part of the sequence
            logits = module(batch["input_ids"], positions).logits
            true = batch["input_ids"][:, 1:]
            own = -logits.float().log_softmax(dim=-1).gather(2, true[..., None])[..., 0].double()
            best = logits.argmax(dim=-1) == true
        for at, row in enumerate(rows):
            (asked,) = np.nonzero(parts[row].own[1:])
            to = slice(starts[row], starts[row + 1])
            surprise[to], likeliest[to] = own[at].cpu().numpy()[asked], best[at].cpu().numpy()[asked]
    return surprise, likeliest


def _try(module: CausalLm, config: PreTrainedConfig) -> None:
    """Raise BadRequest for a model that sees the tokens behind one, as an encoder does."""
    ids = torch.tensor([[1, 2, 3, 1], [1, 2, 3, 2]]) % config.vocab_size
    training, device = module.training, next(module.parameters()).device
    with as_request(f"model.base: {config.model_type} cannot be asked for the next token"), torch.inference_mode():
        first, second = module.eval()(ids.to(device), torch.arange(4, device=device).repeat(2, 1)).logits[:, :2]
        if not torch.allclose(first, second, atol=1e-4):
            raise ValueError("what it says of a token depends on those behind it")
    module.train(training)
