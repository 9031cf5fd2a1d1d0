"""package://PACKAGE/inner/path: data inside an installed Python package, found without importing it."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path

from core.schema.data import Data
from core.weights.packages import package_parts, package_path
from pipelines.sources import Identity
from pipelines.sources._files import Files, local

SCHEMES = ("package",)


def identify(data: Data, root: Path) -> Identity:
    name = package_parts(str(data.source))[0]
    sha256, _ = _files(data).checksum()
    return {"kind": "package", "package": name, "version": package_version(name), "sha256": sha256}


def fetch(data: Data, root: Path, *, downloads: Path, identity: Identity) -> Files:
    return _files(data)


def package_version(name: str) -> str | None:
    """The version of the distribution that an importable package came with, where one says so."""
    try:
        return version(name)
    except PackageNotFoundError:
        owners = packages_distributions().get(name)
        return version(owners[0]) if owners else None


def _files(data: Data) -> Files:
    return local(package_path(str(data.source)), named=str(data.source))
