"""`python -P registry/version/rehearsal.py MODEL INPUTS OUT`: load a model as any server does, ask it, and time it.

Runs in a process of its own and imports nothing of this project: what it finds is the code inside the model.
"""

from __future__ import annotations

import json
import resource
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import pandas as pd

_ROUNDS = 2  # over the inputs one by one
_KILOBYTES_A_MB = 1024  # of ru_maxrss on Linux


def main(model: str, inputs: str, out: str) -> None:
    """Answer the inputs one by one and all at once; write the answers and the figures."""
    began = time.perf_counter()
    served = mlflow.pyfunc.load_model(model)
    loaded_s = time.perf_counter() - began
    rows = pd.read_json(inputs, orient="split", dtype=False, convert_dates=False)
    answers = served.predict(rows)
    alone = [_seconds(served, rows.iloc[[at]]) for _ in range(_ROUNDS) for at in range(len(rows))]
    together_s = _seconds(served, rows)
    figures = {
        "latency_p50_ms": round(1000 * statistics.median(alone), 3),
        "latency_p95_ms": round(1000 * statistics.quantiles(alone, n=20, method="inclusive")[-1], 3),
        "throughput_rows_per_s": round(len(rows) / together_s, 1),
        "peak_memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _KILOBYTES_A_MB, 1),
        "load_s": round(loaded_s, 2),
    }
    Path(out).write_text(json.dumps({"figures": figures, "answers": answers.to_dict(orient="list")}), encoding="utf-8")


def _seconds(served: Any, rows: pd.DataFrame) -> float:
    began = time.perf_counter()
    served.predict(rows)
    return time.perf_counter() - began


if __name__ == "__main__":
    main(*sys.argv[1:])
