"""Whether a training can fit into the memory that there is, looked at before it begins: the weights, then a step.

What is counted is less than what a training takes, so that what is refused could not have been trained. `headrace plan`
measures it.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from core.errors import BadRequest
from core.process.memory import limit_bytes, resident_bytes
from core.schema.model import Method, Model, Training

if TYPE_CHECKING:
    from torch import Tensor, nn

    from core.tables.learner import TorchLearner
    from core.tables.task import Place, Task
    from pipelines.train.batches import EncodedRows

_BYTES = 4  # of a weight
_TRAINED = 4  # numbers for each weight that is trained: itself, its gradient, AdamW's two means
_FEW, _MORE = 2, 4  # rows of the two batches that tell what a row takes
_SURE = 0.9  # of the memory, what is suggested may take
_ALL = ("pretrain", "full")  # methods that train every weight


def weights_bytes(task: Task, model: Model, at: Place) -> int | None:
    """What the weights take that training starts from; None where only building them would tell."""
    if at.base.architecture is None:
        files = at.base.folder.glob("*.safetensors") if at.base.folder is not None else ()
        return sum(file.stat().st_size for file in files) or None
    import torch

    from core.tables.learner import TorchLearner
    from pipelines.train.training_state import random_parts, restore_random

    before = random_parts()
    try:
        with torch.device("meta"):  # shapes without numbers
            learner = task.learner(model, at)
    except Exception:  # noqa: BLE001  (what cannot be built so is built with memory, and then says what is wrong)
        return None
    finally:
        restore_random(*before)
    if not isinstance(learner, TorchLearner):
        return None
    return sum(each.numel() for each in learner.module.parameters()) * _BYTES


def require_weights(task: Task, model: Model, at: Place, limit: int | None = None) -> None:
    """Raise BadRequest where the weights, or what training them needs beside, cannot fit.

    limit: bytes that there are; by default the machine's, or its control group's.
    """
    limit = limit_bytes() if limit is None else limit
    weights = weights_bytes(task, model, at) or 0
    needed = weights * (_TRAINED if model.method in _ALL else 1)
    if needed > limit:
        smaller = [] if weights > limit else _smaller(task.methods, model.method)
        hints = [f"model.method: {' or '.join(smaller)}"] if smaller else []
        raise _refusal(
            f"to train {weights / _BYTES / 1e6:,.0f} million weights", needed, limit, [*hints, "a smaller model.base"]
        )


def require_step(
    learner: TorchLearner,
    rows: EncodedRows,
    training: Training,
    *,
    method: Method,
    methods: Sequence[Method],
    limit: int | None = None,
) -> None:
    """Raise BadRequest where an update of the weights on a batch of the longest rows cannot fit.

    learner.module stands where it is trained, and is left as it was, as are the random numbers.
    methods: those of the task. limit: bytes that there are; by default the machine's, or the GPU's.
    """
    import torch

    weights = sum(each.numel() for each in learner.module.parameters() if each.requires_grad)
    beside = _TRAINED - 1 + (training.average is not None) + (training.patience is not None)
    if torch.cuda.is_available():
        there, limit = torch.cuda.memory_allocated(), limit or torch.cuda.mem_get_info()[1]
    else:
        there, limit = resident_bytes(), limit or limit_bytes()
    fixed, a_row = there + weights * beside * _BYTES, _row_bytes(learner, rows)
    size = min(training.batch_size, len(rows))
    if (needed := fixed + a_row * size) <= limit:
        return
    hints = []
    fitting = int((limit * _SURE - fixed) / a_row) if a_row else 0
    if fitting > 0:
        parts = training.accumulate * math.ceil(size / fitting)
        hints.append(f"training.batch_size: {fitting} with training.accumulate: {parts}")
    able = any(getattr(part, "supports_gradient_checkpointing", False) for part in learner.module.modules())
    if able and method != "transfer" and not training.gradient_checkpointing:
        hints.append("training.gradient_checkpointing: true")
    if smaller := _smaller(methods, method):
        hints.append(f"model.method: {' or '.join(smaller)}")
    raise _refusal(f"a step of {size:,} rows", int(needed), limit, hints or ["a smaller model.base"])


def _smaller(methods: Sequence[Method], method: Method) -> list[str]:
    """The task's methods that train less and start from the same."""
    return [each for each in ("lora", "transfer") if each in methods and method == "full"]


def _refusal(what: str, needed: int, limit: int, hints: Sequence[str]) -> BadRequest:
    return BadRequest(
        f"training cannot fit: {what} takes at least {needed / 1e9:,.1f} GB of memory, and there are "
        f"{limit / 1e9:,.1f}. Would take less: {'; '.join(hints)}. `headrace plan` measures it; "
        "`headrace run --force train` tries it."
    )


def _row_bytes(learner: TorchLearner, rows: EncodedRows) -> float:
    """What one more of the longest rows adds to what a step keeps for its gradients."""
    import torch

    from pipelines.train.training_state import random_parts, restore_random

    if len(rows) < _MORE:
        return 0.0
    lengths = rows.lengths
    longest = range(_MORE) if lengths is None else heapq.nlargest(_MORE, range(len(rows)), key=lengths.__getitem__)
    module, before = learner.module, random_parts()
    buffers = {name: value.clone() for name, value in module.named_buffers()}  # a batch norm's means move in a pass
    training = module.training
    module.train()
    try:
        few, more = (_kept(learner, rows, list(longest)[:count]) for count in (_FEW, _MORE))
    finally:
        module.train(training)
        with torch.no_grad():
            for name, value in module.named_buffers():
                value.copy_(buffers[name])
        restore_random(*before)
    return max(0.0, (more - few) / (_MORE - _FEW))


def _kept(learner: TorchLearner, rows: EncodedRows, chosen: Sequence[int]) -> int:
    """Bytes of the tensors that a forward pass keeps, of the turn that keeps most."""
    import torch

    device = next(learner.module.parameters()).device
    batch = {name: value.to(device) for name, value in learner.collate(rows.__getitems__(chosen)).items()}
    return max(_kept_of(learner.module, turn.loss, batch, torch) for turn in learner.turns)


def _kept_of(module: nn.Module, loss: Any, batch: Mapping[str, Tensor], torch: Any) -> int:
    sizes: dict[int, int] = {}

    def keep(value: Tensor) -> Tensor:
        storage = value.untyped_storage()
        sizes[storage.data_ptr()] = storage.nbytes()
        return value

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
        loss(module, batch)
    return sum(sizes.values())
