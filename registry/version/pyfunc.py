"""The program that MLflow runs to load a version: what `mlflow.pyfunc.load_model` and `mlflow models serve` call.

MLflow copies this file, the task's import closure and the model's files into the version, and runs this file to load
it (models from code); of the registry it imports only what answers, and what finds the base of adapters.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from registry.store.server_bases import bring
from registry.version.answerer import load_answerer

MODEL = "model"  # names of the artifacts that MLflow keeps beside the code
ABOUT = "about"


class Served(PythonModel):
    def load_context(self, context: PythonModelContext) -> None:
        bring(Path(context.artifacts[MODEL]))
        self._answerer = load_answerer(Path(context.artifacts[MODEL]), Path(context.artifacts[ABOUT]))

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """Answers for the rows of a frame that holds the columns that are sent."""
        return self._answerer.answer(model_input, local_files=True)


mlflow.models.set_model(Served())
