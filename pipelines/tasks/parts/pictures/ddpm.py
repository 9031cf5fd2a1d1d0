"""A diffusion model told the class: noise is taken out of a picture step by step. Imports torch at once.

Sources: Ho et al. 2020 (the model), Nichol & Dhariwal 2021, section 3.2 (the cosine schedule), Salimans & Ho 2022,
section 4 (predicting v), Song et al. 2021 (the steps of drawing), Ho & Salimans 2022 (guidance without a classifier).
"""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from core.schema.section import Section
from core.tables.learner import Turn
from pipelines.tasks.parts.pictures.drawn import Drawn, Loss, Shape
from pipelines.tasks.parts.pictures.unet import UNet

_OFFSET = 0.008  # Nichol & Dhariwal's s: the first step adds some noise at least
_CHECKED_AT = 0  # seed of the noise of a validation pass, which is the same in every one


class Settings(Section):
    widths: Annotated[
        list[Annotated[int, Field(ge=8, multiple_of=8)]],
        Field(min_length=1, default_factory=lambda: [64, 96], description="channels at each level"),
    ]
    patch: Annotated[int, Field(ge=1, description="pixels a side that the first level takes as one place")] = 2
    steps: Annotated[int, Field(ge=2, description="of noise in training")] = 1000
    drawing_steps: Annotated[int, Field(ge=1, description="of noise taken out of a drawn picture")] = 25
    unlabelled: Annotated[float, Field(ge=0, lt=1, description="share of the training pictures without a class")] = 0.1
    guidance: Annotated[float, Field(ge=0, description="how far the class is followed; 1 is as learnt")] = 1.0

    def fault(self, shape: Shape) -> str | None:
        """Why no network of these settings takes pictures of this shape."""
        smallest = self.patch * 2 ** (len(self.widths) - 1)
        return f"pictures of {shape[1]} pixels a side cannot be divided by {smallest}" if shape[1] % smallest else None


class Diffusion(nn.Module):
    """What is trained; `sampler` is the part that draws, and all that is kept."""

    def __init__(self, settings: Settings, shape: Shape, classes: int) -> None:
        super().__init__()
        self.unlabelled, self.classes = settings.unlabelled, classes
        self.sampler = Sampler(settings, shape, classes)

    def forward(self, pixels: Tensor, labels: Tensor) -> Loss:
        """The mean squared error of what the network says of pictures with noise in them.

        pixels: (n, channels, side, side), -1 to 1. labels: (n,). In training, times and noise are drawn from torch's
        generator; in a validation pass they are the same every time.
        """
        steps, device = len(self.sampler.signal), pixels.device
        if self.training:
            times = torch.randint(steps, (len(pixels),), device=device)
            noise = torch.randn_like(pixels)
            forgotten = torch.rand(len(pixels), device=device) < self.unlabelled
            labels = torch.where(forgotten, self.classes, labels)
        else:
            times = torch.arange(len(pixels), device=device) * steps // len(pixels)
            generator = torch.Generator().manual_seed(_CHECKED_AT)
            noise = torch.randn(pixels.shape, generator=generator).to(device)
        signal, spread = self.sampler.shares(times)
        said = self.sampler.unet(signal * pixels + spread * noise, times, labels)
        return Loss(functional.mse_loss(said, signal * noise - spread * pixels))


class Sampler(nn.Module):
    """Noise and classes -> pictures, in `drawing_steps` steps of the network."""

    signal: Tensor

    def __init__(self, settings: Settings, shape: Shape, classes: int) -> None:
        super().__init__()
        self.noise_shape, self.classes, self.guidance = shape, classes, settings.guidance
        self.unet = UNet(shape[0], classes, settings.widths, patch=settings.patch)
        self.register_buffer("signal", cosine_schedule(settings.steps), persistent=False)
        self.times = drawing_times(settings.steps, settings.drawing_steps)

    def shares(self, times: Tensor) -> tuple[Tensor, Tensor]:
        """How much of a picture and of noise there is at the times (n,): two of (n, 1, 1, 1), squares add up to 1."""
        signal = self.signal[times].view(-1, 1, 1, 1)
        return signal, (1 - signal.square()).sqrt()

    def forward(self, noise: Tensor, labels: Tensor) -> Drawn:
        noisy = noise
        for time, following in zip(self.times, [*self.times[1:], None], strict=True):
            at = torch.full((len(noise),), time, device=noise.device)
            said = self._said(noisy, at, labels)
            later = None if following is None else torch.full_like(at, following)
            noisy = self.step(noisy, said, at, later)
        return Drawn(noisy)

    def step(self, noisy: Tensor, said: Tensor, times: Tensor, following: Tensor | None) -> Tensor:
        """The same pictures with the noise of `following`; None: with none at all.

        said: the network's v, signal x noise - spread x picture. Song et al. 2021, equation 12 with sigma 0.
        """
        signal, spread = self.shares(times)
        picture = (signal * noisy - spread * said).clamp(-1, 1)
        if following is None:
            return picture
        noise = (noisy - signal * picture) / spread
        signal, spread = self.shares(following)
        return signal * picture + spread * noise

    def _said(self, noisy: Tensor, times: Tensor, labels: Tensor) -> Tensor:
        """What the network says, moved away from what it says of a picture of no class."""
        if self.guidance == 1:
            said: Tensor = self.unet(noisy, times, labels)
            return said
        nothing = torch.full_like(labels, self.classes)
        both = self.unet(noisy.repeat(2, 1, 1, 1), times.repeat(2), torch.cat([labels, nothing]))
        told, untold = both.chunk(2)
        guided: Tensor = untold + self.guidance * (told - untold)
        return guided


def cosine_schedule(steps: int) -> Tensor:
    """(steps,) float32: the share of the picture that is left at each time, falling from about 1 to about 0."""
    angles = (torch.arange(1, steps + 1, dtype=torch.float64) / steps + _OFFSET) / (1 + _OFFSET) * math.pi / 2
    start = math.cos(_OFFSET / (1 + _OFFSET) * math.pi / 2)
    return (angles.cos() / start).clamp(min=1e-3).float()


def drawing_times(steps: int, wanted: int) -> list[int]:
    """The times at which a drawing stops, from the last down, evenly spread; never more than there are."""
    count = min(wanted, steps)
    return [(steps * (count - at)) // count - 1 for at in range(count)]


TURNS = (Turn(),)
