"""{train: ADDRESS, validation: ADDRESS, test: ADDRESS}: published splits, each from a source of files.

The lock says of each what its own source says; the rows of each have its name in the column `split`.
"""

from __future__ import annotations

import os
from pathlib import Path

from core.errors import BadRequest
from core.schema.data import Data, SplitName, SplitSource
from pipelines.sources import Identity, find_source, watch_path
from pipelines.sources._files import Files

SCHEMES = ("splits",)


def identify(data: Data, root: Path) -> Identity:
    found: Identity = {"kind": "splits"}
    for name, part in _parts(data).items():
        found |= {f"{name}.{key}": value for key, value in find_source(part.source).identify(part, root).items()}
    return found


def fetch(data: Data, root: Path, *, downloads: Path, identity: Identity) -> Files:
    splits: dict[SplitName, Files] = {}
    for name, part in _parts(data).items():
        own = {key.removeprefix(f"{name}."): value for key, value in identity.items() if key.startswith(f"{name}.")}
        fetched = find_source(part.source).fetch(part, root, downloads=downloads, identity=own)
        if not isinstance(fetched, Files):
            raise BadRequest(
                f"source {part.source}: hands over rows. Its own columns may say the split: `split.given`."
            )
        splits[name] = fetched
    return Files(Path(os.path.commonpath([files.folder for files in splits.values()])), splits=splits)


def watch(data: Data) -> str | None:
    """The folder that holds all splits on this machine; None when all lie elsewhere. Raises BadRequest for a mix."""
    places = [watch_path(part) for part in _parts(data).values()]
    here = [place for place in places if place is not None]
    if here and len(here) < len(places):
        raise BadRequest("source: some splits lie on this machine and some elsewhere. Bring them to one side.")
    if len({Path(place).is_absolute() for place in here}) > 1:
        raise BadRequest("source: some splits are named from the workspace and some from the root. Name all alike.")
    return os.path.commonpath(here) if here else None


def _parts(data: Data) -> dict[SplitName, Data]:
    """What each split is read from, with its own checksum."""
    assert isinstance(data.source, SplitSource)
    sums = data.sha256 if isinstance(data.sha256, dict) else {}
    return {
        name: data.model_copy(update={"source": address, "sha256": sums.get(name)})
        for name, address in data.source.addresses.items()
    }
