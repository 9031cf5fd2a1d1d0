"""The very artifact that would be served, tried before it is judged: in a fresh process, against the evaluation."""

from __future__ import annotations

import base64
import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from core.errors import HeadraceError
from registry.store.signing import KEY, PASSPHRASE

if TYPE_CHECKING:
    import pandas as pd

REHEARSAL = Path(__file__).with_name("rehearsal.py")
_TIMEOUT_S = 900.0
_SAID = 1500  # characters of what a failed process said last
_SHOWN = 120  # characters of an answer in a message
_CLOSE = 1e-3  # of numbers: another padding in the batch moves the last bits of a float32
_LEVELS = 1  # of 255, of a picture that was drawn: the same bits decide how a pixel is rounded
_PNG = "data:image/png;base64,"


@dataclass(frozen=True)
class Trial:
    """figures: SERVING, and the seconds that loading took. answers: column -> one value an input."""

    figures: Mapping[str, float]
    answers: Mapping[str, list[Any]]


def rehearse(model: Path, inputs: pd.DataFrame, *, threads: int) -> Trial:
    """Ask the MLflow model in `model` with at least two inputs. Raises HeadraceError when it cannot answer."""
    with tempfile.TemporaryDirectory(prefix="headrace-") as folder:
        asked, out = Path(folder) / "inputs.json", Path(folder) / "out.json"
        inputs.to_json(asked, orient="split")
        command = [sys.executable, "-P", str(REHEARSAL), str(model), str(asked), str(out)]
        done = subprocess.run(
            command, cwd=folder, env=environment(threads), capture_output=True, text=True, timeout=_TIMEOUT_S,
            check=False,
        )  # fmt: skip
        if done.returncode or not out.exists():
            raise HeadraceError(
                f"the packed model in {model} does not answer in a process of its own, so it is not registered. "
                f"Its last words: {done.stderr[-_SAID:].strip()}"
            )
        found = json.loads(out.read_text(encoding="utf-8"))
    return Trial(found["figures"], found["answers"])


def difference(trial: Trial, expected: pd.DataFrame) -> str | None:
    """What the served artifact answers other than the evaluation did, in words; None: the same."""
    for name in expected.columns:
        said = trial.answers.get(str(name))
        if said is None or len(said) != len(expected):
            return f"it has no answer {name!r} for each input"
        for row, (one, two) in enumerate(zip(said, expected[name].tolist(), strict=True)):
            if not same(one, two):
                return f"{name} of input {row + 1} is {_shown(one)}, the evaluation had {_shown(two)}"
    return None


def same(one: Any, two: Any, *, close: float = _CLOSE, levels: int = _LEVELS) -> bool:
    """Whether two answers say the same. close: of numbers in them; levels: of 255, of pixels in pictures."""
    within = partial(same, close=close, levels=levels)
    if isinstance(one, str) and isinstance(two, str) and one.startswith(_PNG) and two.startswith(_PNG):
        return one == two or _alike(_pixels(one), _pixels(two), levels)
    if isinstance(one, list) and isinstance(two, list):
        return len(one) == len(two) and all(map(within, one, two))
    if isinstance(one, dict) and isinstance(two, dict):
        return one.keys() == two.keys() and all(within(one[key], two[key]) for key in one)
    if isinstance(one, float) or isinstance(two, float):
        return math.isclose(one, two, rel_tol=close, abs_tol=close)
    return bool(one == two)


def _alike(one: np.ndarray[Any, Any], two: np.ndarray[Any, Any], levels: int) -> bool:
    return one.shape == two.shape and bool(np.abs(one - two).max() <= levels)


def _pixels(uri: str) -> np.ndarray[Any, Any]:
    from PIL import Image

    with Image.open(BytesIO(base64.b64decode(uri.removeprefix(_PNG))), formats=("PNG",)) as picture:
        return np.asarray(picture).astype(np.int64)


def _shown(value: Any) -> str:
    """A value for a message; of a vector its beginning."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]} ..."


def environment(threads: int) -> dict[str, str]:
    """For a process that is timed: this one's, without what would bring the workspace's own code in, nor the key."""
    kept = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", KEY, PASSPHRASE)}
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "HF_HUB_OFFLINE": "1"}
    return {**kept, **quiet, "OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"}
