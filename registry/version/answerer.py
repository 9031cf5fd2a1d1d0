"""A registered version -> answers: the same for MLflow's pyfunc, for serving and for `headrace predict`.

It is packed into each version, and imports no MLflow: that costs more than an answer.
"""

from __future__ import annotations

import base64
import json
import os
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from core.errors import BadRequest
from core.schema.columns import Column, Contract
from core.tables.keys import label_name
from core.tables.task import OfFeatures, Predictor
from pipelines.tasks import find_task


@dataclass(frozen=True)
class About:
    """What one must know to ask a model. inputs: the columns that are sent."""

    task: str
    inputs: tuple[str, ...]
    media: str | None  # image, audio: a column holds a file's path, or the file itself in base64


@dataclass(frozen=True)
class Answerer:
    """A loaded version. contract: its task's, with the columns that its recipe named."""

    about: About
    contract: Contract
    predictor: Predictor

    @property
    def plain(self) -> str | None:
        """The column that a mere text stands for: the only one that must be sent. None: there is no such column."""
        columns = {name: self.contract.columns.get(name, Column("text")) for name in self.about.inputs}
        required = [name for name, column in columns.items() if column.filled]
        return required[0] if len(required) == 1 else None

    def answer(self, inputs: pd.DataFrame, *, local_files: bool) -> pd.DataFrame:
        """One row an input: label, confidence, or whatever the task answers.

        local_files: whether media may be paths of files of this machine; never for a caller from elsewhere.
        Raises BadRequest when a column is missing or holds something that is no input.
        """
        rows = inputs.reset_index(drop=True)
        for name in self.about.inputs:
            _check(rows, name, self.contract.columns.get(name, Column("text")))
        if self.about.media is None:
            return self.predictor.answers(self.predictor.predict(rows, None))
        column = str(self.contract.file)
        with tempfile.TemporaryDirectory(prefix="headrace-") as folder:
            scratch, files = Path(folder), []
            for number, value in enumerate(rows[column], start=1):
                if local_files and os.path.isfile(value):  # noqa: PTH113  is_file() raises if too long
                    files.append(str(Path(value).resolve()))
                else:
                    files.append(_written_file(value, scratch, number, local_files=local_files))
            return self.predictor.answers(self.predictor.predict(rows.assign(**{column: files}), scratch))


def load_answerer(model: Path, about: Path) -> Answerer:
    """A model's folder, as its task saved it, and the file that says which task that is.

    Raises BadRequest when that file says something else.
    """
    try:
        told = _about(json.loads(about.read_text(encoding="utf-8")))
    except (OSError, TypeError, ValueError, RecursionError) as error:
        raise BadRequest(f"{about}: does not say what this model is ({error}). Register the model again.") from None
    task = find_task(told.task)
    predictor = task.load(model)
    features = predictor.features if isinstance(predictor, OfFeatures) else {}
    return Answerer(told, replace(task.contract, columns={**task.contract.columns, **features}), predictor)


def _about(told: dict[str, Any]) -> About:
    if "content" in told:  # versions of before several columns could be sent
        told = {"task": told["task"], "inputs": [told["content"]], "media": told["media"]}
    about = About(**told)
    return About(str(about.task), tuple(map(str, about.inputs)), about.media)


def _check(rows: pd.DataFrame, name: str, column: Column) -> None:
    """Raise BadRequest for a missing column, and for what is no text where one is wanted."""
    if name not in rows.columns:
        if column.filled:
            raise BadRequest(f"the input has no column {name!r}; it has {', '.join(map(str, rows.columns))}.")
        return
    if column.kind not in ("text", "category", "media"):
        return  # the task looks at it
    for row, value in enumerate(rows[name]):
        text = isinstance(value, str) or (column.kind == "category" and label_name(value) is not None)
        if not text and (column.filled or not pd.isna(value)):
            raise BadRequest(f"input {row + 1}, column {name!r}: must be a string, got {value!r}.")


def _written_file(value: str, folder: Path, number: int, *, local_files: bool) -> str:
    """The name in `folder` of a file written from an input that is base64, called by the input's number."""
    try:
        content = base64.b64decode(value.partition("base64,")[2] or value, validate=True)
    except ValueError:  # binascii.Error, and what is not ASCII
        allowed = "neither a file on this machine nor base64" if local_files else "not base64 of a file"
        raise BadRequest(f"input {number}: {allowed}: {value[:80]!r}.") from None
    name = f"input {number}"
    (folder / name).write_bytes(content)
    return name
