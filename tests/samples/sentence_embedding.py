"""Questions and the passages that answer them, from a small base."""

from __future__ import annotations

import numpy as np

from tests.conftest import Workspace
from tests.samples import Sample, pin_base
from tests.small_pairs import make_base, pair_rows


def _pairs(workspace: Workspace) -> None:
    workspace.write_rows([*pair_rows(160), {"query": "who wrote story 7", "passage": " ", "negative": ""}])
    make_base(workspace.path("start"))
    pin_base(workspace)


SAMPLE = Sample(
    _pairs,
    "task: sentence_embedding\ndata: {source: rows.csv, split: {train: 0.6, validation: 0.2, test: 0.2}}\n"
    "model: {base: ./start}\n",
    "empty",
    None,
    said=lambda said: np.stack(list(said["vector"])),
    expected=lambda module, batch, units: module.embed(batch["query_ids"], batch["query_mask"]),
    rate=5e-3,
    drawn=False,
    like=[{"question": f"who did thing {at}?", "answer": f"it was number {at}"} for at in range(9)],
)
