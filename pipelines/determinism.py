"""Equal inputs, seed and thread count, equal results: what torch must be told for it."""

from __future__ import annotations

import os


def steady(*, threads: int) -> None:
    """Fix this process's thread count and choose kernels that add in the same order every time."""
    import torch

    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # NVIDIA's condition for reproducible results
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True, warn_only=True)
    # by default every new tensor is then filled once more
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
