"""A small U-Net that is told the time and the class. Imports torch at once.

Source of the shape: Ronneberger et al. 2015; as a network for diffusion: Ho et al. 2020, appendix B.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

_GROUPS = 8
_LONGEST_PERIOD = 10_000.0  # of the sinusoids, in steps: Vaswani et al. 2017, section 3.5


class UNet(nn.Module):
    """Pictures (n, channels, side, side), times (n,) and class numbers (n,) -> one value a pixel.

    widths: channels at each level; each level has half the side of the one before, the first that of the picture
    divided by `patch`. The class number `classes` stands for no class.
    """

    def __init__(self, channels: int, classes: int, widths: Sequence[int], *, patch: int) -> None:
        super().__init__()
        self.patch, self.width, told = patch, widths[0], 4 * widths[0]
        self.time = nn.Sequential(nn.Linear(widths[0], told), nn.SiLU(), nn.Linear(told, told))
        self.label = nn.Embedding(classes + 1, told)
        self.enter = nn.Conv2d(channels * patch**2, widths[0], 3, padding=1)
        narrow = [widths[0], *widths[:-1]]
        self.down = nn.ModuleList(Block(a, b, told) for a, b in zip(narrow, widths, strict=True))
        self.middle = nn.ModuleList([Attention(widths[-1]), Block(widths[-1], widths[-1], told)])
        self.up = nn.ModuleList(Block(2 * b, a, told) for a, b in zip(narrow, widths, strict=True))
        self.leave = nn.Sequential(
            nn.GroupNorm(_GROUPS, widths[0]), nn.SiLU(), zeroed(nn.Conv2d(widths[0], channels * patch**2, 3, padding=1))
        )

    def forward(self, noisy: Tensor, times: Tensor, labels: Tensor) -> Tensor:
        told = self.time(sinusoids(times, self.width)) + self.label(labels)
        hidden = self.enter(functional.pixel_unshuffle(noisy, self.patch))
        kept = []
        for level, block in enumerate(self.down):
            hidden = block(functional.avg_pool2d(hidden, 2) if level else hidden, told)
            kept.append(hidden)
        attention, block = self.middle
        hidden = block(attention(hidden), told)
        for level in reversed(range(len(self.up))):
            hidden = self.up[level](torch.cat([hidden, kept[level]], dim=1), told)
            if level:
                hidden = functional.interpolate(hidden, scale_factor=2.0, mode="nearest")
        return functional.pixel_shuffle(self.leave(hidden), self.patch)


class Block(nn.Module):
    """Two convolutions around a shortcut; what is told scales and shifts the channels between them."""

    def __init__(self, narrow: int, wide: int, told: int) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.GroupNorm(_GROUPS, narrow), nn.SiLU(), nn.Conv2d(narrow, wide, 3, padding=1))
        self.told = nn.Sequential(nn.SiLU(), nn.Linear(told, 2 * wide))
        self.norm = nn.GroupNorm(_GROUPS, wide)
        self.second = nn.Sequential(nn.SiLU(), zeroed(nn.Conv2d(wide, wide, 3, padding=1)))
        self.shortcut = nn.Identity() if narrow == wide else nn.Conv2d(narrow, wide, 1)

    def forward(self, hidden: Tensor, told: Tensor) -> Tensor:
        scale, shift = self.told(told)[:, :, None, None].chunk(2, dim=1)
        between = self.norm(self.first(hidden)) * (1 + scale) + shift
        after: Tensor = self.shortcut(hidden) + self.second(between)
        return after


class Attention(nn.Module):
    """Every place of a picture looks at every other one."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(_GROUPS, width)
        self.asked = nn.Conv2d(width, 3 * width, 1)
        self.leave = zeroed(nn.Conv2d(width, width, 1))

    def forward(self, hidden: Tensor) -> Tensor:
        query, key, value = self.asked(self.norm(hidden)).flatten(2).transpose(1, 2).chunk(3, dim=2)
        seen = functional.scaled_dot_product_attention(query, key, value).transpose(1, 2)
        after: Tensor = hidden + self.leave(seen.reshape(hidden.shape))
        return after


def sinusoids(times: Tensor, width: int) -> Tensor:
    """(n, width): sines and cosines of the times, in periods of 2 pi steps and longer."""
    rates = torch.exp(torch.arange(width // 2, device=times.device) * (-math.log(_LONGEST_PERIOD) / (width // 2)))
    angles = times[:, None].float() * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def zeroed(layer: nn.Conv2d) -> nn.Conv2d:
    """A last layer that begins with nothing, so that its block begins as its shortcut."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer
