"""A model's files + its task's code -> a folder that MLflow loads anywhere, without this project installed."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, metadata, packages_distributions, version
from pathlib import Path
from typing import TYPE_CHECKING

from core.closure import LOCAL_PACKAGES, closure, imported
from core.reflink import clone

if TYPE_CHECKING:
    import pandas as pd
    from mlflow.models import Model

ROOT = Path(__file__).resolve().parents[2]
_OTHER_NAMES = {"sklearn": "scikit-learn", "PIL": "pillow", "cv2": "opencv-python", "yaml": "PyYAML"}
_LOADER = "mlflow.pyfunc.loaders.code_model"  # what MLflow writes for a model from code
SERVED = Path(__file__).with_name("pyfunc.py").resolve()


@dataclass(frozen=True)
class Contents:
    """What goes into a version.

    inputs: the columns that are sent. media: what the files in them hold. example: a few inputs. answers: what the
    evaluation says about them. optional: inputs that a caller may leave out.
    """

    model: Path
    task: str
    inputs: tuple[str, ...]
    media: str | None
    example: pd.DataFrame
    answers: pd.DataFrame
    optional: tuple[str, ...] = ()


def pack(contents: Contents, folder: Path, mlflow_model: Model) -> None:
    """Write the MLflow model into `folder`, which must not exist yet."""
    import mlflow

    files = code_files(contents.task)
    with tempfile.TemporaryDirectory(prefix="headrace-") as scratch:
        about, tree = Path(scratch) / "about.json", Path(scratch) / "code"
        about.write_text(_about(contents), encoding="utf-8")
        for file in _with_packages(files):
            target = tree / file.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
        mlflow.pyfunc.save_model(
            path=str(folder),
            python_model=str(SERVED),
            artifacts={"model": str(_without_links(contents.model, Path(scratch) / "model")), "about": str(about)},
            code_paths=[str(path) for path in sorted(tree.iterdir())],
            signature=_signature(contents),
            input_example=contents.example,
            pip_requirements=requirements([*files, SERVED]),
            mlflow_model=mlflow_model,
        )
    for compiled in folder.rglob("__pycache__"):
        shutil.rmtree(compiled)


def _without_links(model: Path, copy: Path) -> Path:
    """The folder, or where links are in it a copy that has files in their place: MLflow takes no links (and DVC makes
    them where it is told `cache.type symlink`).
    """
    if not any(path.is_symlink() for path in model.rglob("*")):
        return model
    shutil.copytree(model, copy, copy_function=clone)
    return copy


def holds_own_code(folder: Path, task: str) -> bool:
    """Whether a packed model runs this workspace's code of the task and nothing else: then it may be run here."""
    from mlflow.models import Model

    flavor = Model.load(str(folder)).flavors.get("python_function", {})
    loaded = (flavor.get("loader_module"), Path(flavor.get("model_code_path", "")).name, flavor.get("code"))
    code = folder / "code"
    found = {ROOT / file.relative_to(code): file for file in code.rglob("*") if file.is_file()}
    return (
        loaded == (_LOADER, SERVED.name, code.name)
        and (folder / SERVED.name).read_bytes() == SERVED.read_bytes()
        and found.keys() == _with_packages(code_files(task))
        and all(file.read_bytes() == mine.read_bytes() for mine, file in found.items())
    )


def is_own(folder: Path, contents: Contents) -> bool:
    """Whether a packed model is what this workspace would pack of these contents: then it may be signed."""
    about = folder / "artifacts" / "about.json"
    told = about.read_text(encoding="utf-8") if about.is_file() else None
    return told == _about(contents) and holds_own_code(folder, contents.task)


def code_files(task: str) -> list[Path]:
    """The files of this project that a served version of the task runs, beside pyfunc.py itself."""
    (file,) = (ROOT / "pipelines" / "tasks").glob(f"*/{task}.py")
    return [path for path in closure(ROOT, SERVED, file) if path != SERVED]


def _signature(contents: Contents) -> object:
    """Which columns go in and come out."""
    from mlflow.models import ModelSignature, infer_signature
    from mlflow.types import ColSpec, Schema, TensorSpec

    with warnings.catch_warnings(action="ignore"):  # it advises on integer columns with gaps
        found = infer_signature(contents.example, contents.answers)
    sent: list[ColSpec | TensorSpec] = [
        ColSpec(each.type, each.name, required=each.name not in contents.optional) for each in found.inputs
    ]
    return ModelSignature(Schema(sent), found.outputs)


def requirements(files: Iterable[Path]) -> list[str]:
    """The installed distributions that these files import, pinned, and mlflow."""
    names = {"mlflow"}.union(*(imported(ROOT, file) for file in files)).difference(LOCAL_PACKAGES)
    return sorted({pin for module in names - sys.stdlib_module_names if (pin := _pin(module))}, key=str.lower)


@cache
def _pin(module: str) -> str | None:
    """The distribution that installs a module, and its version.

    Most have the module's name; reading all 400 to find the others takes seconds.
    """
    try:
        name = str(metadata(_OTHER_NAMES.get(module, module))["Name"])
    except PackageNotFoundError:
        name = min(packages_distributions().get(module, []), default="")
    return f"{name}=={version(name).partition('+')[0]}" if name else None


def _about(contents: Contents) -> str:
    return json.dumps({"task": contents.task, "inputs": contents.inputs, "media": contents.media}, sort_keys=True)


def _with_packages(files: Iterable[Path]) -> set[Path]:
    """The files, and the __init__.py of every package on the way to them."""
    inits = {ROOT / parent / "__init__.py" for file in files for parent in file.relative_to(ROOT).parents}
    return {*files, *(init for init in inits if init.is_file())}
