"""Which libraries a registered version was trained with: recorded in its run, never a reason to train again."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed
from pathlib import Path

from registry.connection import answering, connect
from registry.versions import Version

_TAG = "version."  # tags of the run: version.transformers


def trained_with(version: Version, var: Path) -> dict[str, str]:
    """Library -> its version in the training run; empty when the run is gone or said nothing."""
    from mlflow.exceptions import MlflowException

    with answering():
        try:
            tags = connect(var).get_run(version.run_id).data.tags
        except MlflowException as error:
            if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                return {}
            raise
    return {key.removeprefix(_TAG): value for key, value in tags.items() if key.startswith(_TAG)}


def moved(then: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Library -> (version then, version now), of those that have another one now; "none" when it is gone."""
    now = {library: _installed(library) for library in then if library != "python"}
    return {library: (then[library], version) for library, version in now.items() if version != then[library]}


def _installed(library: str) -> str:
    try:
        return installed(library)
    except PackageNotFoundError:
        return "none"
