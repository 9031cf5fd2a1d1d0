"""package://PACKAGE/inner/path: data inside an installed Python package, found without importing it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pipelines.errors import BadRequest
from pipelines.schema.data import Data
from pipelines.sources import Identity
from pipelines.sources._files import Files, local

PREFIX = "package://"


def schemes() -> Iterable[str]:
    return ("package",)


def identify(data: Data, root: Path) -> Identity:
    name = _parts(str(data.source))[0]
    sha256, _ = _files(data).checksum()
    return {"kind": "package", "package": name, "version": package_version(name), "sha256": sha256}


def fetch(data: Data, root: Path, *, downloads: Path, identity: Identity) -> Files:
    return _files(data)


def watch(data: Data) -> None:
    return None


def package_path(reference: str) -> Path:
    """Where package://PACKAGE/inner/path lies. Raises BadRequest when it is not installed or has no such path."""
    from importlib.util import find_spec

    name, inner = _parts(reference)
    spec = find_spec(name) if name.isidentifier() else None
    places = list(spec.submodule_search_locations or []) if spec else []
    if not places:
        raise BadRequest(
            f"{reference}: no Python package {name!r} is installed. `pip install {name.replace('_', '-')}` "
            "(the examples' packages: `pip install 'headrace[demo]'`)."
        )
    for place in places:
        if (Path(place) / inner).exists():
            return Path(place) / inner
    holds = sorted(path.name for path in Path(places[0]).iterdir() if not path.name.startswith("_"))
    raise BadRequest(f"{reference}: {places[0]} has no {inner!r}. It holds: {', '.join(holds[:20])}")


def package_version(name: str) -> str | None:
    """The version of the distribution that an importable package came with, where one says so."""
    from importlib.metadata import PackageNotFoundError, packages_distributions, version

    try:
        return version(name)
    except PackageNotFoundError:
        owners = packages_distributions().get(name)
        return version(owners[0]) if owners else None


def _files(data: Data) -> Files:
    return local(package_path(str(data.source)), named=str(data.source))


def _parts(reference: str) -> tuple[str, str]:
    name, _, inner = reference[len(PREFIX) :].partition("/")
    return name, inner.strip("/")
