"""Any transformers text encoder: built, given adapters, run over texts in batches, saved and read back.

Imports torch at once; transformers (4 s with a model's code) where one is built, and peft (5 s) only for adapters.
"""

from __future__ import annotations

import copy
import inspect
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from core.atomic_files import make_folder, said_in, swap_in, write_json
from core.errors import BadRequest
from core.progress import Progress
from core.schema.model import Lora, Model
from core.tables.task import Base
from core.weights.adapters import ADAPTER_CONFIG, ADAPTER_WEIGHTS, ADAPTERS, HEAD, WEIGHTS, merged
from core.weights.bert_config import is_plain_bert
from core.weights.device import ready
from core.weights.safety import check_code
from core.weights.tensor_files import write_tensors
from pipelines.tasks.parts.architecture import (
    as_request,
    initialise,
    new_config,
    portable,
    pretrained,
    saved_config,
    starting_dropout,
    stored_config,
)
from pipelines.tasks.parts.plain_bert import PlainBert
from pipelines.tasks.parts.tokens import keep_with_base

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

# Asked together on a CPU, padding included: 512 times a layer's width still lies in a core's cache. MiniLM, texts of 27
# tokens, ms of a core each: 32 in one batch 11.3, in batches of 512 tokens and like lengths 6.9.
CPU_TOKENS = 512
_HEAD = "head."
# Numbers of the tokenizer that an architecture was published with: no encoder reads them, transformers warns of them.
_NO_SPECIAL = dict.fromkeys(("bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id"))


def base_config(base: Base, *, vocabulary: int, pad: int) -> PreTrainedConfig:
    """The encoder's configuration, checked against the tokenizer. Raises BadRequest where they cannot work together."""
    from transformers import AutoModel

    architecture = base.architecture
    if architecture is None:
        config = stored_config(base)
    else:
        config = new_config(architecture, {**_NO_SPECIAL, "vocab_size": vocabulary, "pad_token_id": pad})
    if type(config) not in AutoModel._model_mapping or config.is_encoder_decoder or not hasattr(config, "vocab_size"):
        raise BadRequest(
            f"model.base: {config.model_type} does not read text into one vector a token. Allowed: bert, distilbert, "
            "roberta, electra, deberta-v2, modernbert and other encoders (or decoders) of transformers."
        )
    if config.vocab_size < vocabulary:
        raise BadRequest(
            f"model.base: vocab_size is {config.vocab_size:,}, and the tokenizer has {vocabulary:,} entries. "
            "Leave vocab_size out, or lower preprocess.vocabulary."
        )
    return config


def foresee(model: Model, base: Base, config: PreTrainedConfig) -> None:
    """Raise BadRequest for an encoder that cannot be built, or has no layers such as `model.lora.targets` names.

    It is built without numbers. An architecture that cannot be built so says nothing here.
    """
    from transformers import AutoModel

    try:
        with torch.device("meta"):
            encoder = initialise(AutoModel, copy.deepcopy(config), **_no_pooler(config))
            if model.method == "lora" and (lora := model.lora or Lora()).targets != Lora().targets:
                with_adapters(encoder, lora, reference=str(base.reference))
    except BadRequest as fault:
        if not isinstance(fault.__cause__, RuntimeError):  # of torch, over numbers that there are not
            raise
    except RuntimeError:
        return


def build_encoder(model: Model, base: Base, config: PreTrainedConfig) -> Any:
    """The encoder that `model.method` starts from, with adapters for lora; the base's own dropout is off."""
    from transformers import AutoModel

    starting_dropout(config, model, base)
    options = _no_pooler(config)
    if base.architecture is not None:
        encoder = initialise(AutoModel, config, **options)
    else:
        encoder = pretrained(AutoModel, base, config, fresh=lambda name: name.startswith("pooler."), **options)
    if model.method == "lora":
        encoder = with_adapters(encoder, model.lora or Lora(), reference=str(base.reference))
    return encoder


def save_encoder(
    encoder: Any,
    folder: Path,
    base: Path | None,
    *,
    head: Mapping[str, Tensor] | None = None,
    frozen: bool = False,
    settings: Mapping[str, Any] | None = None,
) -> None:
    """config.json and the weights: what was trained into `folder`, what was not into `base`.

    Where all was trained, or base is None, model.safetensors in `folder` has everything, adapters merged, and
    AutoModel.from_pretrained(folder) reads the encoder. Adapters stand in adapter/ too, as peft writes them.
    A tokenizer in `folder` goes to `base` with such weights.
    head: the parameters behind the encoder. settings: what config.json says beside the encoder's own.
    encoder: may be a whole model; where some of its weights were trained beside adapters, they are kept as a head is.
    """
    adapted = hasattr(encoder, "peft_config")
    named = {_HEAD + name: value for name, value in (head or {}).items()}
    if adapted:
        _save_adapters(encoder, folder / ADAPTERS)
    if base is not None and (frozen or (adapted and _on_linear_layers(encoder))):
        kept = _below_adapters(encoder)
        own = {} if frozen else {name: kept.pop(name) for name in _trained_whole(encoder)}
        write_tensors(kept, base / WEIGHTS)
        if named | own:
            write_tensors(named | own, folder / HEAD)
    else:
        encoder = copy.deepcopy(encoder).merge_and_unload() if adapted else encoder
        write_tensors(_each_once(encoder) | named, folder / WEIGHTS)
    write_json(folder / "config.json", portable(encoder.config) | dict(settings or {}))
    keep_with_base(folder, base)


def load_encoder(folder: Path, base: Path | None) -> tuple[Any, dict[str, Tensor]]:
    """What save_encoder() wrote: the encoder, adapters merged, and its head's parameters.

    base: where what was not trained lies; None if all stands in `folder`.
    """
    encoder, plain = _without_weights(folder)
    with as_request(f"{folder}: its weights cannot be used"):
        weights = merged(folder, base) if base else load_file(folder / WEIGHTS)
    heads = {name for name in weights if name.startswith(_HEAD)}
    head = {name.removeprefix(_HEAD): weights.pop(name) for name in heads}
    with as_request(f"{folder}: its weights are of another model"):
        if plain:
            encoder.load_state_dict({name: value.float() for name, value in weights.items()}, assign=True)
        else:
            encoder.load_state_dict(weights)
    return encoder, head


def load_model(kind: Any, folder: Path, base: Path | None) -> Any:
    """What save_encoder() wrote of a whole model of transformers. kind: the Auto class that knows it; base: as above.

    Raises BadRequest where the weights are of another model.
    """
    check_code(folder, "this model")
    with as_request(f"{folder}: its weights cannot be used"):
        weights = merged(folder, base) if base else load_file(folder / WEIGHTS)
    with as_request(f"{folder}: its weights are of another model"):
        model = initialise(kind, saved_config(folder))
        report = model.load_state_dict(weights, strict=False)
        missing = set(report.missing_keys) - model.all_tied_weights_keys.keys()
        if missing or report.unexpected_keys:
            raise ValueError(f"parameters that are missing or too many: {sorted({*missing, *report.unexpected_keys})}")
    return model


def _without_weights(folder: Path) -> tuple[Any, bool]:
    """The encoder that a folder's config.json describes, and whether it is our own."""
    check_code(folder, "this model")
    if is_plain_bert(said := said_in(folder / "config.json")):
        return PlainBert(said), True
    from transformers import AutoModel

    config = saved_config(folder)
    return initialise(AutoModel, config, **_no_pooler(config)), False


def in_batches(
    module: nn.Module,
    forward: Callable[..., Tensor],
    tokens: list[list[int]],
    *,
    pad: int,
    batch_size: int,
    what: str,
) -> Tensor:
    """What `forward` says of every text, asked in batches of like length, given back in the order of the texts."""
    return said_of(by_length(module, tokens, pad=pad, batch_size=batch_size, what=what), forward)


def said_of(batches: Iterable[tuple[list[int], Mapping[str, Tensor]]], forward: Callable[..., Tensor]) -> Tensor:
    """What `forward` says of every row, on the CPU, in the rows' order. batches: each with its rows' numbers."""
    parts, order = [], list[int]()
    for rows, batch in batches:
        with torch.inference_mode():
            parts.append(forward(**batch).cpu())
        order += rows
    back = torch.empty(len(order), dtype=torch.int64)
    back[torch.tensor(order)] = torch.arange(len(order))
    return torch.cat(parts)[back]


def by_length(
    module: nn.Module, tokens: Sequence[Sequence[int]], *, pad: int, batch_size: int, what: str
) -> Iterator[tuple[list[int], dict[str, Tensor]]]:
    """The texts in batches of like length, each with its texts' numbers; the module is ready to be asked."""
    device = ready(module)
    most_tokens = CPU_TOKENS if device.type == "cpu" else None
    with Progress(what, total=len(tokens), unit="texts") as progress:
        for rows in groups([len(ids) for ids in tokens], batch_size, most_tokens):
            batch = pad_tokens([tokens[row] for row in rows], pad)
            yield rows, {name: value.to(device) for name, value in batch.items()}
            progress.advance(len(rows))


def groups(lengths: Sequence[int], most: int, most_tokens: int | None) -> Iterator[list[int]]:
    """The texts' numbers, shortest first, in groups of at most so many.

    most_tokens: of a group, padding included; then no text of it is over half longer than another either. One text
    may have more.
    """
    group: list[int] = []
    for row in sorted(range(len(lengths)), key=lambda row: lengths[row]):
        full = len(group) == most
        if most_tokens is not None and group:
            full |= (len(group) + 1) * lengths[row] > most_tokens or lengths[row] > 1.5 * lengths[group[0]]
        if full:
            yield group
            group = []
        group.append(row)
    if group:
        yield group


def kept_vectors(path: Path, make: Callable[[], Tensor]) -> Tensor:
    """What stands at `path` since an earlier run, or what make() gives, which is put there."""
    if not path.is_file():
        vectors = make()
        make_folder(path.parent)
        beside = path.with_name(f".{path.name}.{os.getpid()}")
        save_file({"vectors": vectors}, beside)
        swap_in(beside, path)
    return load_file(path)["vectors"]


def pad_tokens(tokens: Sequence[Sequence[int]], pad: int) -> dict[str, Tensor]:
    """Token ids of unequal length as one rectangle, as wide as the longest, and its mask."""
    lengths = np.array([len(ids) for ids in tokens])
    mask = np.arange(lengths.max()) < lengths[:, None]
    input_ids = np.full(mask.shape, pad, dtype=np.int64)
    input_ids[mask] = np.concatenate([np.asarray(ids) for ids in tokens])
    return {"input_ids": torch.from_numpy(input_ids), "attention_mask": torch.from_numpy(mask.astype(np.int64))}


def with_adapters(encoder: Any, lora: Lora, *, reference: str) -> Any:
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(
        r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, target_modules=lora.targets, use_dora=lora.dora
    )  # fmt: skip
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # peft 0.21 calls what transformers 6 will drop
            adapted = get_peft_model(encoder, config)
    except ValueError as error:
        linear = (name for name, part in encoder.named_modules() if isinstance(part, nn.Linear))
        kinds = sorted({name.rpartition(".")[2] for name in linear})
        raise BadRequest(
            f"model.lora.targets: {lora.targets!r} fits this base not ({' '.join(str(error).split())[:200]}). "
            f"Its linear layers: {', '.join(kinds)}; or all-linear."
        ) from None
    config.base_model_name_or_path = reference  # peft puts this machine's path there
    return adapted


def _save_adapters(encoder: Any, folder: Path) -> None:
    from peft import get_peft_model_state_dict

    adapters = get_peft_model_state_dict(encoder, save_embedding_layers=False)
    folder.mkdir()
    write_tensors(adapters, folder / ADAPTER_WEIGHTS, metadata=None)
    config = {key: _ordered(value) for key, value in encoder.peft_config["default"].to_dict().items()}
    write_json(folder / ADAPTER_CONFIG, {key: config[key] for key in config if key != "peft_version"})


def _on_linear_layers(encoder: Any) -> bool:
    """Whether every adapter is what `merged` adds: GPT-2's layers are transposed, embeddings and DoRA have others."""
    if encoder.peft_config["default"].use_dora:
        return False
    adapted = (layer for layer in encoder.modules() if hasattr(layer, "get_delta_weight"))
    return all(isinstance(layer.get_base_layer(), nn.Linear) for layer in adapted)


def _below_adapters(encoder: Any) -> dict[str, Tensor]:
    """The weights without adapters, under the names that they have without them."""
    plain = encoder.get_base_model() if hasattr(encoder, "peft_config") else encoder
    weights = _each_once(plain).items()
    return {name.replace(".base_layer.", "."): value for name, value in weights if ".lora_" not in name}


def _trained_whole(adapted: Any) -> list[str]:
    """The weights that were trained themselves, beside the adapters: those of a new head."""
    named = adapted.get_base_model().named_parameters()
    found = (name for name, value in named if value.requires_grad and ".lora_" not in name)
    return [name.replace(".base_layer.", ".") for name in found]


def _each_once(module: Any) -> dict[str, Tensor]:
    """The weights; those that are tied under their first name alone, as transformers reads and writes them."""
    names = {name for name, _ in module.named_parameters()}
    tied = {name for name, _ in module.named_parameters(remove_duplicate=False)} - names
    return {name: value for name, value in module.state_dict().items() if name not in tied}


def _ordered(value: Any) -> Any:
    return sorted(value) if isinstance(value, set) else value


def _no_pooler(config: PreTrainedConfig) -> dict[str, bool]:
    """The option that leaves out BERT's pooler, which mean pooling does not use, for architectures that have it."""
    from transformers import AutoModel

    kind = AutoModel._model_mapping[type(config)]
    kind = kind[0] if isinstance(kind, list | tuple) else kind
    return {"add_pooling_layer": False} if "add_pooling_layer" in inspect.signature(kind.__init__).parameters else {}
