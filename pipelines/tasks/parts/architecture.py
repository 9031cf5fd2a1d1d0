"""A transformers configuration and module from a recipe's base, every way it can be wrong said in one line.

transformers is imported by those functions that need it: a saved BERT is read without (plain_bert.py).
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import BadRequest
from core.schema.model import Architecture, Model
from core.tables.task import Base
from core.weights.safety import check_code

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedConfig


def new_config(architecture: Architecture, defaults: Mapping[str, Any]) -> PreTrainedConfig:
    """The configuration of an architecture; `defaults` count where the recipe is silent and the architecture has them.

    Raises BadRequest for an unknown architecture or setting, or a value it refuses.
    """
    from transformers import CONFIG_MAPPING

    name = architecture.architecture
    register_own()
    if name not in CONFIG_MAPPING:
        raise BadRequest(
            f"model.base.architecture: {name!r} is no model type of transformers.{_near(name, CONFIG_MAPPING)}"
        )
    kind = CONFIG_MAPPING[name]
    known = {*kind().to_dict(), *getattr(kind, "attribute_map", {})}
    for key in architecture.settings:
        if key not in known:
            raise BadRequest(f"model.base.settings.{key}: {name} has no such setting.{_near(key, known)}")
    values = {key: value for key, value in defaults.items() if key in known} | architecture.settings
    with as_request(f"model.base.settings: {name} refuses them"):
        return kind(**values)


def stored_config(base: Base) -> PreTrainedConfig:
    """The configuration in a base's folder. Raises BadRequest when it has none that transformers knows."""
    assert base.folder is not None
    if not (base.folder / "config.json").is_file():
        raise BadRequest(
            f"model.base {base.reference!r}: {base.folder} has no config.json, so it is no transformers model. "
            "Allowed: a folder as save_pretrained() writes it, a hub id, package://NAME, models:/NAME@ALIAS."
        )
    from transformers import AutoConfig

    register_own()
    with as_request(f"model.base {base.reference!r}: its config.json is not one that transformers reads"):
        return AutoConfig.from_pretrained(base.folder, local_files_only=True, trust_remote_code=False)


def saved_config(folder: Path) -> PreTrainedConfig:
    """The configuration of a model that save() wrote, wherever it has been since. Raises BadRequest."""
    from transformers import AutoConfig

    check_code(folder, "this model")
    register_own()
    with as_request(f"{folder}: its config.json is not one that transformers reads"):
        return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)


def saved_weights(folder: Path) -> dict[str, Tensor]:
    """The tensors of a model that save() wrote. Raises BadRequest."""
    from safetensors.torch import load_file

    with as_request(f"{folder}: its weights cannot be used"):
        return load_file(folder / "model.safetensors")


def set_dropout(config: PreTrainedConfig, share: float) -> None:
    """Set every dropout that the architecture has; each names its own (hidden_dropout_prob, attention_dropout ...)."""
    for name, value in config.to_dict().items():
        if "dropout" in name and isinstance(value, float):
            setattr(config, name, share)


def starting_dropout(config: PreTrainedConfig, model: Model, base: Base) -> None:
    """Set the recipe's dropout; where it says none, that of a base is off, and an architecture keeps its own."""
    share = model.dropout if model.dropout is not None else (0.0 if base.architecture is None else None)
    if share is not None:
        set_dropout(config, share)


def initialise(kind: Any, config: PreTrainedConfig, **options: bool) -> Any:
    """A module with fresh weights; `kind` is AutoModel or one of its relatives.

    Raises BadRequest when the architecture does not fit the kind, or its settings do not fit each other.
    """
    name = config.model_type
    with as_request(f"model.base.settings: no {name} can be built from them"):
        return kind.from_config(config, trust_remote_code=False, **options)


def pretrained(kind: Any, base: Base, config: PreTrainedConfig, *, fresh: Callable[[str], bool], **options: Any) -> Any:
    """A module with the base's weights.

    fresh: whether a parameter of that name may be missing in the base. Raises BadRequest when the weights are missing,
    torn, or of other shapes than the configuration says.
    """
    assert base.folder is not None
    what = f"model.base {base.reference!r}: the weights in {base.folder} cannot be used"
    with as_request(what), _quietly():
        module, report = kind.from_pretrained(
            base.folder, config=config, local_files_only=True, use_safetensors=True, trust_remote_code=False,
            output_loading_info=True, **options,
        )  # fmt: skip
    other = {name[0] if isinstance(name, tuple) else name for name in report.get("mismatched_keys", ())}
    missing = sorted(name for name in {*report["missing_keys"], *other} if not fresh(name))
    if missing:
        raise BadRequest(f"{what}: {len(missing)} parameters are missing or of another shape, {missing[0]} first.")
    return module


def portable(config: PreTrainedConfig) -> dict[str, Any]:
    """What config.json should say: no path of this machine, no version (versions are recorded, not keyed), no code."""
    left_out = ("_name_or_path", "transformers_version", "auto_map", "custom_pipelines")
    return {key: value for key, value in config.to_diff_dict().items() if key not in left_out}


@contextmanager
def as_request(what: str) -> Iterator[None]:
    """Turn what transformers and safetensors raise over a model's files into one line."""
    try:
        yield
    except _refusals() as error:
        raise BadRequest(f"{what}: {' '.join(str(error).split())[:400]}") from error


def _refusals() -> tuple[type[Exception], ...]:
    """Asked when something was raised."""
    from huggingface_hub.errors import StrictDataclassError
    from safetensors import SafetensorError

    return (
        TypeError, ValueError, KeyError, AttributeError, RuntimeError, ZeroDivisionError, OSError,
        IndexError, ImportError, SafetensorError, StrictDataclassError,
    )  # fmt: skip


def register_own() -> None:
    """Make the architectures of our own known to transformers' Auto classes."""
    from pipelines.tasks.parts import recurrent
    from pipelines.tasks.parts.generation import lstm_lm
    from pipelines.tasks.parts.sounds import mel_gru

    recurrent.register()
    lstm_lm.register()
    mel_gru.register()


@contextmanager
def _quietly() -> Iterator[None]:
    """Without transformers' report of unused weights: what matters of it is checked here."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        logging.enable_progress_bar()


def _near(name: str, allowed: Iterable[str]) -> str:
    names = sorted(allowed)
    near = difflib.get_close_matches(name, names, n=3)
    return f" Did you mean {' or '.join(near)}?" if near else f" Allowed: {', '.join(names[:40])} ..."
