"""A number and a category say the target."""

from __future__ import annotations

from core.schema.model import Architecture
from tests.samples import Sample, write_table

SAMPLE = Sample(
    write_table,
    "task: tabular_regression\ndata: {source: rows.csv, split: {train: 0.6, validation: 0.2, test: 0.2}}\n"
    "preprocess: {numbers: [size, width], categories: [color], dates: [day]}\n"
    "model: {base: {architecture: mlp}, method: pretrain}\n",
    "not a number: 'wide'",
    Architecture(architecture="mlp", settings={"hidden_sizes": [32]}),
    said=lambda said: said["number"],
    expected=lambda module, batch, units: module(**batch).logits[:, 0],
    like=[{"rooms": at % 4, "price": 1.5 * at} for at in range(30)],
)
