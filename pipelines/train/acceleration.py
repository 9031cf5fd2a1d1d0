"""How a module is computed: device and precision, recomputed activations, compiled code. Imports torch at once."""

from __future__ import annotations

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import nn

from core.errors import BadRequest
from core.schema.model import Training

_PRECISIONS = {"float32": "no", "bf16": "bf16", "fp16": "fp16"}  # as accelerate calls them


def accelerator_of(training: Training) -> Accelerator:
    """What knows the device and the precision.

    Raises BadRequest for fp16 where no GPU computes it, and where this process is one of several that train together:
    their gradients and their random numbers would go apart.
    """
    if training.precision == "fp16" and not torch.cuda.is_available():
        raise BadRequest("training.precision: fp16 needs a GPU, and there is none here. Allowed here: float32, bf16.")
    AcceleratorState._reset_state()  # one a process: it would hold to the precision of a training before this one
    accelerator = Accelerator(mixed_precision=_PRECISIONS[training.precision])
    if accelerator.num_processes > 1:
        raise BadRequest(f"the loop trains in one process, and here are {accelerator.num_processes} (WORLD_SIZE).")
    return accelerator


def ready(module: nn.Module, training: Training, accelerator: Accelerator) -> nn.Module:
    """The module as the loop calls it, on its device; the module itself is still what is saved."""
    module.to(accelerator.device)
    if training.gradient_checkpointing:
        _recompute(module)
    if not training.compile:
        return module
    torch.use_deterministic_algorithms(True, warn_only=True)  # tells the compiler too, which steady() leaves out
    return torch.compile(module)  # type: ignore[return-value]


def _recompute(module: nn.Module) -> None:
    """Have activations computed again for the gradients instead of kept. Raises BadRequest if no part can do it."""
    able = [part for part in module.modules() if getattr(part, "supports_gradient_checkpointing", False)]
    for part in able:
        part.activation_checkpointing_enable()  # type: ignore[operator]
    if not able:
        raise BadRequest(
            f"training.gradient_checkpointing: no part of {type(module).__name__} can compute its activations again. "
            "Leave it out."
        )
