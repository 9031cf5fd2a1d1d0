"""Pictures that are brighter on one side."""

from __future__ import annotations

from core.schema.model import Architecture
from tests.samples import PICTURES, Sample, write_pictures

SAMPLE = Sample(
    write_pictures,
    f"task: image_classification\n{PICTURES}\nmodel: {{base: {{architecture: resnet}}, method: pretrain}}\n",
    "picture",
    Architecture(
        architecture="resnet",
        settings={"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"},
    ),
)
