"""The examples' data: what can be had here, and files of published addresses put where downloads are kept."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from core.atomic_files import sha256_file
from core.errors import HeadraceError
from core.schema.data import Data
from core.workspace import Workspace
from pipelines.recipes.read import read_recipe
from pipelines.sources import find_source
from pipelines.sources._opening import download_name
from tests.conftest import ROOT

EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))


def place_downloads(data: Data, workspace: Workspace, folder: Path | None) -> None:
    """Put the files of the addresses that an example names by sha256 where a run would download them to.

    folder: where such files lie under whatever names; those with the sha256 are taken.
    """
    if folder is None:
        return
    wanted = dict(_pinned(data))
    for path in folder.rglob("*"):
        if wanted and path.is_file() and (sha256 := sha256_file(path)) in wanted:
            target = workspace.var / "downloads" / sha256 / download_name(wanted.pop(sha256))
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)


def missing(example: Path, workspace: Workspace) -> str | None:
    """Why an example's data cannot be had here; None where they can."""
    data = read_recipe(example).data
    try:
        find_source(data.source).identify(data, workspace.root)
        left = [url for sha256, url in _pinned(data) if not _downloaded(workspace, sha256, url)]
    except (HeadraceError, OSError) as fault:
        return str(fault)
    return f"not downloaded: {', '.join(left)}" if left else None


def _downloaded(workspace: Workspace, sha256: str, url: str) -> bool:
    return (workspace.var / "downloads" / sha256 / download_name(url)).is_file()


def _pinned(data: Data) -> Iterator[tuple[str, str]]:
    """sha256 and address of each file that has both."""
    if isinstance(data.sha256, str):
        yield data.sha256, str(data.source)
    elif data.sha256 is not None:
        addresses = getattr(data.source, "addresses", {})
        yield from ((sha256, addresses[split]) for split, sha256 in data.sha256.items())
