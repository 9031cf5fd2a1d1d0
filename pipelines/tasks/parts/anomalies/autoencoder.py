"""A network that says vectors again out of a short code; what it cannot say well is unlike what it learnt.

Sources: Sakurada & Yairi 2014, "Anomaly Detection Using Autoencoders with Nonlinear Dimensionality Reduction"; Kingma &
Welling 2014, "Auto-Encoding Variational Bayes"; Rybkin et al. 2021, "Simple and Effective VAE Training with Calibrated
Decoders", for the weight between a variational one's two losses. Imports torch at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from core.atomic_files import read_json, write_json
from core.schema.model import Model
from core.tables.task import Base, Interface
from core.weights.device import ready
from core.weights.tensor_files import write_tensors
from pipelines.tasks.parts.anomalies.vectors import Array
from pipelines.tasks.parts.architecture import as_request, saved_weights
from pipelines.tasks.parts.tables.estimators import VARIATIONAL, CodeSettings

_CONFIG = "network.json"
_AT_ONCE = 4096  # vectors that are said again together
_LEAST = 1e-6  # of a mean squared error whose logarithm is a loss


@dataclass
class Rebuilt:
    """rebuilt: the vectors said again, (rows, width). loss: a mean over the rows."""

    loss: Tensor
    rebuilt: Tensor


class Autoencoder(nn.Module):
    """Vectors -> hidden layers -> code -> the same layers backwards -> vectors.

    Of a variational one, training draws the code from a normal distribution around what the layers say.
    """

    def __init__(self, width: int, settings: CodeSettings, *, variational: bool, dropout: float = 0.0) -> None:
        super().__init__()
        hidden, code = settings.hidden_sizes, settings.code_size
        self.config = {"width": width, "variational": variational, **settings.model_dump()}
        self.variational = variational
        self.encoder = _layers([width, *hidden, code * (2 if variational else 1)], dropout)
        self.decoder = _layers([code, *reversed(hidden), width], dropout)

    def forward(self, vectors: Tensor) -> Rebuilt:
        code = self.encoder(vectors)
        if not self.variational:
            rebuilt = self.decoder(code)
            return Rebuilt(((rebuilt - vectors) ** 2).mean(), rebuilt)
        mean, log_variance = code.chunk(2, dim=1)
        drawn = mean + (log_variance / 2).exp() * torch.randn_like(mean) if self.training else mean
        rebuilt = self.decoder(drawn)
        squared = ((rebuilt - vectors) ** 2).mean()
        divergence = (mean**2 + log_variance.exp() - 1 - log_variance).sum(dim=1).mean() / 2
        return Rebuilt(vectors.shape[1] / 2 * squared.clamp(min=_LEAST).log() + divergence, rebuilt)


def build(model: Model, base: Base, width: int, *, seed: int) -> Autoencoder:
    """A network with fresh weights."""
    assert base.architecture is not None
    torch.manual_seed(seed)
    settings = base.architecture.settings_as(CodeSettings)
    return Autoencoder(width, settings, variational=base.starts(VARIATIONAL), dropout=model.dropout or 0.0)


def save(module: Any, folder: Path) -> None:
    write_tensors(module.state_dict(), folder / "model.safetensors")
    write_json(folder / _CONFIG, module.config)


def load(folder: Path) -> Autoencoder:
    """What save() wrote, ready to predict. Raises BadRequest."""
    with as_request(f"{folder}: its weights are of another model"):
        told = read_json(folder / _CONFIG)
        width, variational = told.pop("width"), told.pop("variational")
        module = Autoencoder(width, CodeSettings.model_validate(told), variational=variational)
        module.load_state_dict(saved_weights(folder))
    return module.eval()


def rebuilt(module: nn.Module, vectors: Array) -> Array:
    """The vectors said again, some thousand at a time."""
    device, parts = ready(module), [torch.zeros(0, vectors.shape[1])]
    with torch.inference_mode():
        for start in range(0, len(vectors), _AT_ONCE):
            part = torch.from_numpy(vectors[start : start + _AT_ONCE]).to(device)
            parts.append(module(vectors=part).rebuilt.cpu())
    return torch.cat(parts).numpy()


def interface(width: int) -> Interface:
    """How rebuilt() calls the network."""
    return Interface({"vectors": torch.zeros(2, width)}, {"vectors": ("rows", None)}, ("rebuilt",))


def _layers(sizes: Sequence[int], dropout: float) -> nn.Sequential:
    """Linear maps from size to size, with ReLU and dropout between them."""
    between = [
        layer for one, two in pairwise(sizes[:-1]) for layer in (nn.Linear(one, two), nn.ReLU(), nn.Dropout(dropout))
    ]
    return nn.Sequential(*between, nn.Linear(sizes[-2], sizes[-1]))
