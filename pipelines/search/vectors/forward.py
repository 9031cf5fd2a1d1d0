"""The two ways through an embedder: OpenVINO on the processor, torch for other models and for a GPU.

Ids of texts -> unit vectors. On a processor a pass holds one text at its own length, and one thread computes it: so a
vector's bits depend on the text and the weights alone, not on what is beside it, on when, or on the number of threads.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from core.atomic_files import read_json
from core.weights.pooling import Pooling, mean_pool, pooling_of

if TYPE_CHECKING:
    from torch import Tensor

Vectors = np.ndarray[Any, np.dtype[np.float32]]
Ids = Sequence[Sequence[int]]
_GPU_TOKENS = 65_536  # a pass, padding included
_GPU_PAD_TO = 32


class OpenVino:
    """A graph with one text's ids as input: as many texts at a time as there are threads."""

    texts = 128  # best handed over at once, so that all threads have work

    def __init__(self, graph: Any, threads: int) -> None:
        import openvino as ov

        # threads are not pinned to cores: stages run beside each other, and pinned ones would wait for the same core
        options = {
            "INFERENCE_PRECISION_HINT": "f32",
            "NUM_STREAMS": threads,
            "INFERENCE_NUM_THREADS": threads,
            "ENABLE_CPU_PINNING": False,
        }
        self.compiled = ov.Core().compile_model(graph, "CPU", options)
        self.threads = threads
        self.dim = int(self.compiled.output(0).get_partial_shape()[1].get_length())

    def __call__(self, ids: Ids) -> Vectors:
        found = np.zeros((len(ids), self.dim), np.float32)
        # no AsyncInferQueue: its callbacks want Python's lock on a thread that the model's end waits for, holding it
        requests = [self.compiled.create_infer_request() for _ in range(min(self.threads, len(ids)))]
        for row in range(len(ids) + len(requests)):
            request, before = requests[row % len(requests)], row - len(requests)
            if before >= 0:
                request.wait()
                found[before] = request.get_output_tensor(0).data[0]
            if row < len(ids):
                request.start_async({0: np.array([ids[row]], np.int32)})
        return found


@dataclass(frozen=True)
class Torch:
    """Through transformers: any encoder, one text a pass; on a GPU many.

    There a pass of some length has always the same number of rows, filled up with copies, so company changes no bits.
    """

    model: Callable[[Tensor, Tensor], Tensor]  # (ids, mask) -> (texts, tokens, dim)
    pooling: Pooling
    dim: int
    padding_id: int
    max_tokens: int
    device: str = "cpu"
    pass_tokens: int | None = None  # padding included; None: one text a pass
    texts: int = 128  # best handed over at once: on a GPU so many that its passes are full

    def __call__(self, ids: Ids) -> Vectors:
        found = np.zeros((len(ids), self.dim), np.float32)
        by_length: dict[int, list[int]] = {}
        for row, one in enumerate(ids):
            length = len(one)
            if self.pass_tokens:
                length = min(-(-length // _GPU_PAD_TO) * _GPU_PAD_TO, self.max_tokens)
            by_length.setdefault(length, []).append(row)
        for length, rows in by_length.items():
            size = max(1, self.pass_tokens // length) if self.pass_tokens else 1
            for first in range(0, len(rows), size):
                batch = rows[first : first + size]
                found[batch] = self._pass([ids[row] for row in batch], length, size)
        return found

    def _pass(self, ids: Ids, length: int, size: int) -> Vectors:
        import torch

        rows = [*ids, *[ids[0]] * (size - len(ids))]
        padded = torch.tensor([[*row, *[self.padding_id] * (length - len(row))] for row in rows], device=self.device)
        mask = torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in rows], device=self.device)
        with torch.inference_mode():
            hidden = self.model(padded, mask).float()
            pooled = mean_pool(hidden, mask) if self.pooling == "mean" else hidden[:, 0]
            unit = torch.nn.functional.normalize(pooled, dim=1)
        vectors: Vectors = unit[: len(ids)].cpu().numpy()
        return vectors


Forward = OpenVino | Torch


def has_gpu() -> bool:
    """Whether torch finds one; it is imported only where the driver is."""
    if not Path("/proc/driver/nvidia/version").exists():
        return False
    import torch

    return torch.cuda.is_available()


def through_transformers(folder: Path, max_tokens: int, threads: int, *, half: bool) -> Torch:
    """Any encoder that transformers knows; half: in bfloat16."""
    import torch
    from transformers import AutoModel

    torch.set_num_threads(threads)
    gpu = has_gpu()
    model = AutoModel.from_pretrained(
        folder,
        attn_implementation="sdpa",
        dtype=torch.bfloat16 if half else torch.float32,
        local_files_only=True,
        use_safetensors=True,
        trust_remote_code=False,
    )
    model = model.eval().to("cuda" if gpu else "cpu")

    def hidden(ids: Tensor, mask: Tensor) -> Tensor:
        states: Tensor = model(input_ids=ids, attention_mask=mask).last_hidden_state
        return states

    padding_id = int(read_json(folder / "config.json").get("pad_token_id") or 0)
    found = Torch(hidden, pooling_of(folder), int(model.config.hidden_size), padding_id, max_tokens)
    return replace(found, device="cuda", pass_tokens=_GPU_TOKENS, texts=8192) if gpu else found
