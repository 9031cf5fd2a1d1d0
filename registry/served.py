"""A registered version -> answers: the pyfunc that MLflow loads, and the same thing for `headrace predict`.

MLflow copies this file, the task's import closure and the model's files into the version, and runs this file to load
it (models from code); so it imports nothing of the registry.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from pipelines.errors import BadRequest
from pipelines.task import Predictor, find_task

MODEL = "model"  # names of the artifacts that MLflow keeps beside the code
ABOUT = "about"


@dataclass(frozen=True)
class About:
    """What one must know to ask a model. content: the column that holds its inputs."""

    task: str
    content: str
    media: str | None  # image, audio: the column holds a file's path, or the file itself in base64


@dataclass(frozen=True)
class Answerer:
    """A loaded version."""

    about: About
    predictor: Predictor

    def answer(self, inputs: pd.DataFrame) -> pd.DataFrame:
        """One row an input: label, confidence, or whatever the task answers.

        Raises BadRequest when the content column is missing or holds something that is none.
        """
        column = self.about.content
        if column not in inputs.columns:
            raise BadRequest(f"the input has no column {column!r}; it has {', '.join(map(str, inputs.columns))}.")
        rows = inputs[[column]].reset_index(drop=True)
        for row, value in enumerate(rows[column]):
            if not isinstance(value, str):
                raise BadRequest(f"input {row + 1}, column {column!r}: must be a string, got {value!r}.")
        if self.about.media is None:
            return self._ask(rows, None)
        with tempfile.TemporaryDirectory(prefix="headrace-") as folder:
            files = [_media_file(value, Path(folder), row) for row, value in enumerate(rows[column])]
            return self._ask(rows.assign(**{column: files}), Path(folder))

    def _ask(self, rows: pd.DataFrame, media: Path | None) -> pd.DataFrame:
        return self.predictor.answers(self.predictor.predict(rows, media))


class Served(PythonModel):
    """What `mlflow.pyfunc.load_model` and `mlflow models serve` call."""

    def load_context(self, context: PythonModelContext) -> None:
        self._answerer = load_answerer(Path(context.artifacts[MODEL]), Path(context.artifacts[ABOUT]))

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Answers for the rows of a frame that holds the content column."""
        return self._answerer.answer(model_input)


def load_answerer(model: Path, about: Path) -> Answerer:
    """A model's folder, as its task saved it, and the file that says which task that is.

    Raises BadRequest when that file says something else.
    """
    try:
        told = About(**json.loads(about.read_text(encoding="utf-8")))
    except (OSError, TypeError, ValueError, RecursionError) as error:
        raise BadRequest(f"{about}: does not say what this model is ({error}). Register the model again.") from None
    return Answerer(told, find_task(str(told.task)).load(model))


def _media_file(value: str, folder: Path, row: int) -> str:
    """The absolute path of an input that is a path, or a file written from one that is base64."""
    if os.path.isfile(value):  # noqa: PTH113  Path.is_file() raises for a name that is too long
        return str(Path(value).resolve())
    try:
        content = base64.b64decode(value.partition("base64,")[2] or value, validate=True)
    except binascii.Error:
        raise BadRequest(f"input {row + 1}: neither a file on this machine nor base64: {value[:80]!r}.") from None
    file = folder / hashlib.sha256(content).hexdigest()
    file.write_bytes(content)
    return str(file)


mlflow.models.set_model(Served())
