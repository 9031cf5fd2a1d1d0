"""Pictures to be drawn, brighter on the side that is asked for."""

from __future__ import annotations

import numpy as np

from core.schema.model import Architecture
from pipelines.tasks.parts.pictures import drawn
from tests.samples import PICTURES, Sample, write_pictures

SAMPLE = Sample(
    write_pictures,
    f"task: image_generation\n{PICTURES}\npreprocess: {{size: 8}}\n"
    "model: {base: {architecture: gan}, method: pretrain}\n",
    "picture",
    Architecture(architecture="gan", settings={"noise": 4, "width": 8}),
    said=lambda said: drawn.as_pictures(np.stack([drawn.from_uri(uri) for uri in said["picture"]])).numpy(),
    expected=lambda module, batch, units: (
        module.sampler(drawn.noise(units["seed"], module.sampler.noise_shape), batch["labels"]).pictures
    ),
    close=1.01 / 127.5,  # a level of 255
)
