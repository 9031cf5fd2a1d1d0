"""register's ONNX variant of a model: exported, compared with the evaluation row by row, and timed beside PyTorch.

All of it in a process of its own, `python -m pipelines.register.onnx_export TASK RECIPE_FOLDER OUT`: exporting takes
memory that the stage would not give back, and what brings the runtime down is then a variant that does not exist, not a
failed stage.
"""

from __future__ import annotations

import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from core.atomic_files import read_json, sha256_file, write_json
from core.schema.columns import ROW_ID
from core.tables.predictions import read_predictions
from core.tables.prepared import ENCODER, read_rows
from core.tables.task import Exportable, Predictions, Predictor
from pipelines.evidence.evidence import as_registered
from pipelines.tasks import find_task
from registry.store import versions
from registry.store.versions import Version
from registry.version.onnx_choice import CLOSE, GRAPH, SECTION, Timing, exchanged, unfit
from registry.version.trial import environment, same

_TOLD = "evidence.json"  # in the folder of the graph; what counts is the copy in the version's bundle
_LIBRARIES = ("torch", "onnxruntime")  # another version of these: exported and timed anew
_TIMEOUT_S = 1800.0
_SAID = 300  # characters of what a failed process said last
_TIMED = 32  # rows, asked one by one and all at once
_ROUNDS = 5  # over them: a batch's median of three wavered from 0.91 to 1.2 times on busy cores


def variant(task: str, recipe: Path, out: Path, *, threads: int) -> dict[str, Any]:
    """The evidence of a variant, or {"error": why there is none}.

    recipe: the folder with the stages' outputs. out: a new folder, where graph and evidence are left.
    """
    out.mkdir()
    env = environment(threads) | {"PYTHONPATH": os.environ.get("PYTHONPATH", "")}  # this project's own code runs
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pipelines.register.onnx_export", task, str(recipe), str(out)],
            env=env, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return {"error": f"it was not done within {_TIMEOUT_S:.0f} s"}
    if done.returncode:
        return {"error": " ".join(done.stderr.strip().rpartition("\n")[2].split())[:_SAID]}
    told: dict[str, Any] = read_json(out / _TOLD)
    return told


def kept(known: Version, var: Path) -> dict[str, Any] | None:
    """The evidence of the variant that a version has; None when it is to be made, or to be given another chance."""
    bundle, graph = as_registered(known, var), versions.evidence(known, GRAPH, var)
    told: dict[str, Any] = (bundle or {}).get(SECTION) or {}
    if graph is None or told.get("versions") != _versions() or told.get("sha256") != sha256_file(graph):
        return None
    return told if unfit(told, told["place"]) is None else None


def compared(one: Predictor, said: Predictions, expected: Predictions) -> dict[str, Any]:
    """How far two engines' predictions for the same rows lie apart, and how many rows they answer differently."""
    scores = [name for name in expected if expected[name].dtype.kind == "f"]
    apart = max((float(np.abs(said[name] - expected[name]).max()) for name in scores), default=0.0)
    answers, others = one.answers(said), one.answers(expected)
    words = [name for name in answers.columns if answers[name].dtype.kind != "f"]
    pairs = zip(answers[words].to_dict("records"), others[words].to_dict("records"), strict=True)
    differ = np.array([not same(mine, other, close=CLOSE, levels=0) for mine, other in pairs])
    if not math.isfinite(apart):
        return {"error": "its scores are no numbers where PyTorch's are"}
    return {"rows": len(answers), "max_difference": apart, "answers_differ": int(differ.sum())}


def timed(engines: Mapping[str, Callable[[pd.DataFrame], Any]], rows: pd.DataFrame) -> dict[str, dict[str, float]]:
    """What each engine takes for the rows one by one and all at once.

    In turns row by row: on a machine that has other work too, a minute each said 0.8 times where turns say 3.8.
    """
    alone: dict[str, list[float]] = {name: [] for name in engines}
    together: dict[str, list[float]] = {name: [] for name in engines}
    for ask in engines.values():
        ask(rows)
    for _ in range(_ROUNDS):
        for at in range(len(rows)):
            for name, ask in engines.items():
                alone[name].append(_seconds(ask, rows.iloc[[at]]))
        for name, ask in engines.items():
            together[name].append(_seconds(ask, rows))
    return {name: asdict(_timing(alone[name], together[name], len(rows))) for name in engines}


def _timing(alone: list[float], together: list[float], rows: int) -> Timing:
    return Timing(
        latency_p50_ms=round(1000 * statistics.median(alone), 3),
        latency_p95_ms=round(1000 * statistics.quantiles(alone, n=20, method="inclusive")[-1], 3),
        throughput_rows_per_s=round(rows / statistics.median(together), 1),
    )


def _seconds(ask: Callable[[pd.DataFrame], Any], rows: pd.DataFrame) -> float:
    began = time.perf_counter()
    ask(rows)
    return time.perf_counter() - began


def _versions() -> dict[str, str]:
    return {name: version(name) for name in _LIBRARIES}


def _found(task: str, recipe: Path, out: Path) -> dict[str, Any]:
    from registry.version import onnx_graph

    prepared, media = recipe / "prepared", recipe / "raw"
    rows = find_task(task).units(read_rows(prepared, "test"), prepared / ENCODER)
    answered = read_predictions(recipe / "evaluation" / "predictions.parquet")
    rows = rows.set_index(ROW_ID).loc[list(answered.row_ids)].reset_index()
    torch_one = find_task(task).load(recipe / "model")
    if not isinstance(torch_one, Exportable):
        return {"error": f"the task {task} does not say how its module is called"}
    interface = torch_one.interface()
    graph = onnx_graph.export(torch_one.module, interface)
    onnx_one = exchanged(torch_one, onnx_graph.opened(graph, torch_one.module.state_dict(), interface.outputs))
    (out / Path(GRAPH).name).write_bytes(graph)
    engines = {"torch": partial(torch_one.predict, media=media), "onnx": partial(onnx_one.predict, media=media)}
    return {
        "sha256": sha256_file(out / Path(GRAPH).name),
        "bytes": len(graph),
        **compared(torch_one, engines["onnx"](rows), answered.model),
        "timing": timed(engines, rows[:_TIMED]),
        "place": onnx_graph.place(),
        "versions": _versions(),
    }


if __name__ == "__main__":
    _, name, recipe_folder, out_folder = sys.argv
    write_json(Path(out_folder) / _TOLD, _found(name, Path(recipe_folder), Path(out_folder)))
