"""Text written by a model of transformers, token by token: the likeliest one each time, or drawn by a seed.

Imports torch at once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList

from core.weights.device import ready

BATCH = 64  # prompts at once; all of one length, so none is padded and company changes no answer


@dataclass(frozen=True)
class Decoding:
    """How a text is written.

    most: tokens of it. ends: tokens that end it, and are no part of it. pad: what stands behind the end in a batch.
    temperature: where tokens are drawn, what the logits are divided by first.
    """

    most: int
    ends: tuple[int, ...]
    pad: int
    temperature: float = 1.0


class _Drawn(LogitsProcessor):  # type: ignore[misc]
    """Adds Gumbel noise: the largest sum is then a token drawn by its probability (Gumbel 1954), and argmax finds it.

    A row has a generator of its own, so what is drawn depends neither on company nor on other threads.
    """

    def __init__(self, seeds: Sequence[str | None], temperature: float) -> None:
        self.temperature = temperature
        self.generators = [None if seed is None else torch.Generator().manual_seed(_number(seed)) for seed in seeds]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        noisy = scores.clone()
        for row, generator in enumerate(self.generators):
            if generator is not None:
                drawn = torch.rand(scores.shape[1], generator=generator, dtype=torch.float64).clamp_min(1e-300)
                noisy[row] = scores[row] / self.temperature - (-drawn.log()).log().to(scores)
        return noisy


def written(
    model: Any, prompts: Sequence[Sequence[int]], decoding: Decoding, seeds: Sequence[str | None] | None = None
) -> list[list[int]]:
    """The tokens that the model writes after each prompt, or, where it has an encoder, of what it has read.

    model: of transformers, one that generates. seeds: of each prompt; None: the likeliest token each time.
    """
    ready(model)
    told = seeds or [None] * len(prompts)
    found: list[list[int]] = [[]] * len(prompts)
    for rows in _of_one_length(prompts):
        drawn = _Drawn([told[row] for row in rows], decoding.temperature)
        with torch.inference_mode():
            said = model.generate(
                torch.tensor([list(prompts[row]) for row in rows], device=model.device),
                attention_mask=torch.ones(len(rows), len(prompts[rows[0]]), dtype=torch.int64, device=model.device),
                generation_config=GenerationConfig(
                    max_new_tokens=decoding.most, do_sample=False, num_beams=1, eos_token_id=list(decoding.ends),
                    pad_token_id=decoding.pad, use_cache=getattr(model.config, "use_cache", True),
                ),
                logits_processor=LogitsProcessorList([drawn] if any(told[row] is not None for row in rows) else []),
            )  # fmt: skip
        first = 1 if model.config.is_encoder_decoder else len(prompts[rows[0]])
        for row, tokens in zip(rows, said[:, first:].tolist(), strict=True):
            end = next((at for at, token in enumerate(tokens) if token in decoding.ends), len(tokens))
            found[row] = tokens[:end]
    return found


def _of_one_length(prompts: Sequence[Sequence[int]]) -> Iterator[list[int]]:
    """The prompts' numbers, those of one length together, at most BATCH at once."""
    order = sorted(range(len(prompts)), key=lambda row: len(prompts[row]))
    for _, rows in groupby(order, key=lambda row: len(prompts[row])):
        same = list(rows)
        yield from (same[at : at + BATCH] for at in range(0, len(same), BATCH))


def _number(seed: str) -> int:
    return int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8], "big") >> 1
