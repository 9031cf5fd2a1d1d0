"""An estimator of scikit-learn as a file without pickle: skops, written so that equal estimators give equal bytes."""

from __future__ import annotations

import io
import json
import re
from itertools import count
from pathlib import Path
from typing import Any
from zipfile import BadZipFile, ZipFile, ZipInfo

from core.errors import BadRequest

_FILE, _SCHEMA = "estimator.skops", "schema.json"
# What a file may hold beside what skops itself trusts (scikit-learn's public estimators, arrays, plain values).
_METRICS = [
    f"{name}Distance{bits}" for name in ("Chebyshev", "Euclidean", "Manhattan", "Minkowski") for bits in (32, 64)
]
# What a file may hold beside what skops itself trusts (scikit-learn's public estimators, arrays, plain values).
_TRUSTED = [
    *(f"sklearn.metrics._dist_metrics.{name}" for name in _METRICS),  # of nearest neighbours
    "functools.partial",  # of check_array: gradient boosting's own way to number categories
    "numpy.dtype",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
    "sklearn.neighbors._ball_tree.BallTree",
    "sklearn.neighbors._kd_tree.KDTree",
    "sklearn.tree._tree.Tree",
    "sklearn.utils.validation.check_array",
]
_NUMBER = re.compile(r'("__id__": |"file": ")(\d+)')  # a place in memory, by which skops names objects and files


def save(estimator: Any, folder: Path) -> None:
    """estimator.skops. Raises BadRequest for an estimator that load() would refuse."""
    import skops.io

    content = skops.io.dumps(estimator)
    if others := sorted(set(skops.io.get_untrusted_types(data=content)) - set(_TRUSTED)):
        raise BadRequest(
            f"model.base.settings: with them the estimator holds {others[0]}, which is not kept. Change them."
        )
    (folder / _FILE).write_bytes(_numbered(content))


def is_kept(folder: Path) -> bool:
    """Whether save() wrote into the folder."""
    return (folder / _FILE).is_file()


def load(folder: Path) -> Any:
    """What save() wrote. Raises BadRequest for a file that is none, or that holds anything else."""
    import skops.io
    from skops.io.exceptions import UntrustedTypesFoundException

    file = folder / _FILE
    try:
        return skops.io.load(file, trusted=_TRUSTED)
    except UntrustedTypesFoundException as error:
        raise BadRequest(f"{file}: it holds what no estimator of Headrace does. {error}") from None
    except (OSError, KeyError, TypeError, ValueError, AttributeError, ImportError, BadZipFile) as error:
        raise BadRequest(f"{file}: it cannot be read ({error}).") from error


def _numbered(content: bytes) -> bytes:
    """The same file with objects numbered as they come, in place of where they lay in memory, and without times."""
    written = io.BytesIO()
    with ZipFile(io.BytesIO(content)) as old, ZipFile(written, "w") as new:
        numbers: dict[str, str] = {}
        following = count(1)

        def numbered(found: re.Match[str]) -> str:
            if found[2] not in numbers:
                numbers[found[2]] = str(next(following))
            return found[1] + numbers[found[2]]

        schema = _NUMBER.sub(numbered, json.dumps(json.loads(old.read(_SCHEMA))))
        new.writestr(ZipInfo(_SCHEMA), schema)
        for name in sorted(set(old.namelist()) - {_SCHEMA}, key=lambda name: int(numbers[Path(name).stem])):
            new.writestr(ZipInfo(numbers[Path(name).stem] + Path(name).suffix), old.read(name))
    return written.getvalue()
