"""A pass over the validation rows. Imports torch at once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from core.tables.learner import TorchLearner


@torch.no_grad()
def validated(
    learner: TorchLearner,
    module: nn.Module,
    batches: Iterable[tuple[int, Mapping[str, Tensor]]],
    accelerator: Accelerator,
) -> dict[str, float]:
    """Means over the rows: eval_loss, and eval_NAME of what learner.watch sums. Keeps no more than one batch's outputs.

    module: as the loop calls it. batches: each with the number of its rows.
    """
    module.eval()
    count = 0
    sums: dict[str, float] = defaultdict(float)
    for rows, batch in batches:
        batch = {name: value.to(accelerator.device) for name, value in batch.items()}
        count += rows
        for name, value in _sums(learner, module, batch, rows, accelerator).items():
            sums[f"eval_{name}"] += float(value)
    return {name: total / count for name, total in sums.items()}


def _sums(
    learner: TorchLearner, module: nn.Module, batch: Mapping[str, Tensor], rows: int, accelerator: Accelerator
) -> dict[str, Tensor]:
    with accelerator.autocast():
        if learner.watch is None:
            return {"loss": learner.turns[0].loss(module, batch).double() * rows}
        outputs = module(**batch)
        return {"loss": outputs.loss.double() * rows, **learner.watch(outputs, batch)}
