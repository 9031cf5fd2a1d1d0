"""A generative adversarial network told the class: one network draws, another one tells drawn from real.

Imports torch at once. Sources: Goodfellow et al. 2014 (the game), Miyato & Koyama 2018 (a discriminator told the
class), Miyato et al. 2018 (spectral normalisation and the hinge loss), Zhao et al. 2020 (the discriminator sees real
and drawn pictures moved about, so that it cannot learn the real ones by heart).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

from core.schema.section import Section
from core.tables.learner import Turn
from pipelines.tasks.parts.pictures.drawn import Drawn, Shape

BETAS = (0.0, 0.9)  # of both optimizers, as Miyato et al. have them
SLOWER = 0.25  # rate of the generator's, in terms of the discriminator's (Heusel et al. 2017; measured: docs/tasks)
_CHECKED_AT = 0  # seed of the noise of a validation pass
SMALLEST = 4  # pixels a side of what the generator begins with
_GROUPS = 4
_LEAK = 0.2


class Settings(Section):
    noise: Annotated[int, Field(ge=1, description="numbers that a picture is drawn from")] = 64
    width: Annotated[int, Field(ge=4, multiple_of=4, description="channels at full size; more at smaller ones")] = 32
    shift: Annotated[int, Field(ge=0, description="pixels that the discriminator's pictures are moved at most")] = 0

    def fault(self, shape: Shape) -> str | None:
        """Why no network of these settings takes pictures of this shape."""
        sizes = [SMALLEST * 2**level for level in range(1, 9)]
        return (
            None
            if shape[1] in sizes
            else f"pictures of {shape[1]} pixels a side; allowed: {', '.join(map(str, sizes))}"
        )


class Gan(nn.Module):
    """What is trained; `sampler` is the part that draws, and all that is kept."""

    def __init__(self, settings: Settings, shape: Shape, classes: int) -> None:
        super().__init__()
        self.shift = settings.shift
        self.sampler = Generator(settings, shape, classes)
        self.discriminator = Discriminator(settings, shape, classes)

    def drawn(self, labels: Tensor) -> Tensor:
        """A picture of each class, from noise of torch's generator; in a validation pass the same every time."""
        generator = None if self.training else torch.Generator().manual_seed(_CHECKED_AT)
        noise = torch.randn(len(labels), *self.sampler.noise_shape, generator=generator).to(labels.device)
        pictures: Tensor = self.sampler(noise, labels).pictures
        return pictures

    def scores(self, pictures: Tensor, labels: Tensor) -> Tensor:
        """(n,): how real the discriminator finds pictures of these classes."""
        scores: Tensor = self.discriminator(moved(pictures, self.shift if self.training else 0), labels)
        return scores


def discriminator_loss(module: Any, batch: Mapping[str, Tensor]) -> Tensor:
    """Hinge loss: real pictures are to score above 1, drawn ones below -1."""
    labels = batch["labels"]
    with torch.no_grad():
        drawn = module.drawn(labels)
    real, fake = module.scores(torch.cat([batch["pixels"], drawn]), labels.repeat(2)).chunk(2)
    return functional.relu(1 - real).mean() + functional.relu(1 + fake).mean()


def generator_loss(module: Any, batch: Mapping[str, Tensor]) -> Tensor:
    """Drawn pictures are to score high."""
    labels = batch["labels"]
    loss: Tensor = -module.scores(module.drawn(labels), labels).mean()
    return loss


class Generator(nn.Module):
    """Noise (n, noise) and classes (n,) -> pictures, from the smallest size up, each twice as large."""

    def __init__(self, settings: Settings, shape: Shape, classes: int) -> None:
        super().__init__()
        self.noise_shape = (settings.noise,)
        widths = level_widths(settings.width, shape)
        told = 2 * settings.noise
        self.label = nn.Embedding(classes, settings.noise)
        self.enter = nn.Linear(told, widths[-1] * SMALLEST**2)
        self.levels = nn.ModuleList(Level(a, b, told) for a, b in pairwise(reversed(widths)))
        self.leave = nn.Conv2d(widths[0], shape[0], 3, padding=1)

    def forward(self, noise: Tensor, labels: Tensor) -> Drawn:
        told = torch.cat([noise, self.label(labels)], dim=1)
        hidden = self.enter(told).unflatten(1, (-1, SMALLEST, SMALLEST))
        for level in self.levels:
            hidden = level(hidden, told)
        return Drawn(self.leave(functional.relu(hidden)).tanh())


class Level(nn.Module):
    """Twice the size; what is told scales and shifts the channels."""

    def __init__(self, wide: int, narrow: int, told: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(wide, narrow, 3, padding=1)
        self.norm = nn.GroupNorm(_GROUPS, narrow)
        self.told = nn.Linear(told, 2 * narrow)

    def forward(self, hidden: Tensor, told: Tensor) -> Tensor:
        larger = functional.interpolate(functional.relu(hidden), scale_factor=2.0, mode="nearest")
        scale, shift = self.told(told)[:, :, None, None].chunk(2, dim=1)
        after: Tensor = self.norm(self.convolution(larger)) * (1 + scale) + shift
        return after


class Discriminator(nn.Module):
    """Pictures and classes -> one score each: a general part, and how the features lie to the class's own vector."""

    def __init__(self, settings: Settings, shape: Shape, classes: int) -> None:
        super().__init__()
        widths = level_widths(settings.width, shape)
        halving = (nn.Conv2d(a, b, 4, stride=2, padding=1) for a, b in pairwise(widths))
        first, last = (nn.Conv2d(a, b, 3, padding=1) for a, b in ((shape[0], widths[0]), (widths[-1], widths[-1])))
        self.layers = nn.ModuleList(spectral_norm(layer) for layer in (first, *halving, last))
        self.general = spectral_norm(nn.Linear(widths[-1], 1))
        self.label = spectral_norm(nn.Embedding(classes, widths[-1]))

    def forward(self, pictures: Tensor, labels: Tensor) -> Tensor:
        hidden = pictures
        for layer in self.layers:
            hidden = functional.leaky_relu(layer(hidden), _LEAK)
        features = hidden.sum(dim=(2, 3))
        scores: Tensor = self.general(features)[:, 0] + (self.label(labels) * features).sum(dim=1)
        return scores


def level_widths(width: int, shape: Shape) -> list[int]:
    """Channels at each size, the full one first, down to the smallest."""
    levels = (shape[1] // SMALLEST).bit_length()
    return [width * 2**level for level in range(levels)]


def moved(pictures: Tensor, most: int) -> Tensor:
    """The pictures moved by up to so many pixels each way; what comes in from outside is the picture's edge."""
    if most == 0:
        return pictures
    count, _, height, width = pictures.shape
    padded = functional.pad(pictures, (most,) * 4, mode="replicate")
    down, right = torch.randint(0, 2 * most + 1, (2, count, 1, 1), device=pictures.device)
    rows = torch.arange(height, device=pictures.device).view(-1, 1) + down
    columns = torch.arange(width, device=pictures.device) + right
    each = torch.arange(count, device=pictures.device).view(-1, 1, 1)
    return padded.permute(0, 2, 3, 1)[each, rows, columns].permute(0, 3, 1, 2)


def _of(part: str) -> Callable[[nn.Module], Iterable[nn.Parameter]]:
    return lambda module: module.get_submodule(part).parameters()


TURNS = (
    Turn(discriminator_loss, _of("discriminator"), betas=BETAS, name="discriminator"),
    Turn(generator_loss, _of("sampler"), betas=BETAS, rate=SLOWER, name="generator"),
)
