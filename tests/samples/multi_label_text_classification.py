"""Film reviews again, each with what it says and how: two labels, one or none."""

from __future__ import annotations

import json

from tests.conftest import Workspace, film_rows
from tests.samples import BERT, Sample


def _several(workspace: Workspace) -> None:
    rows = [
        {"text": row["text"], "labels": json.dumps([row["label"]] * (at % 5 > 0) + ["even"] * (at % 2 == 0))}
        for at, row in enumerate(film_rows(160))
    ]
    workspace.write_rows([*rows, {"text": "one more", "labels": '["pos"'}])


SAMPLE = Sample(
    _several,
    "task: multi_label_text_classification\n"
    "data: {source: rows.csv, split: {train: 0.6, validation: 0.2, test: 0.2}}\n"
    "model: {base: {architecture: bert}, method: pretrain}\n",
    "not a JSON list",
    BERT,
    expected=lambda module, batch, units: module(**batch).logits.sigmoid(),
    like=[{"text": f"Film {at} of many", "genres": ["sea"]} for at in range(9)],
)
