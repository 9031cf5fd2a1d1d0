"""Media as examples: a file named by its hash, and what can be measured about it."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.atomic_files import sha256_file
from core.schema.columns import MEASURED
from core.workspace import leads_out
from pipelines.media.decoding import NoPicture, decoded, size_of
from pipelines.media.sound_decoding import NoSound, decoded_sound

# Of other formats, their names in lower case.
_SUFFIXES = {"JPEG": ".jpg", "MPO": ".jpg", "TIFF": ".tif", "WAVEX": ".wav", "AIFF": ".aif"}
_UNKNOWN = ".bin"
_SHOWN = 200  # characters of a cell that names no file of the source


@dataclass(frozen=True)
class Kept:
    """path: below raw/, "media/ab/ab12...png". fault: what is wrong with the file, or None.

    more_frames: whether it is an animated picture; the first frame is what is read.
    """

    path: str
    measures: Mapping[str, Any]
    fault: str | None
    more_frames: bool


@dataclass(frozen=True)
class _Measured:
    """What a file turned out to be. format: in its library's words."""

    format: str
    measures: Mapping[str, Any]
    more_frames: bool = False


def keep(media: Path | bytes, sha256: str, folder: Path, *, holds: str | None) -> Kept:
    """Copy media below folder, once for each content. holds: image or audio."""
    measure = _MEASURES[holds or "image"]
    measures: dict[str, Any] = {**dict.fromkeys(MEASURED[holds or "image"]), "bytes": size_of(media)}
    suffix, fault, more_frames = _UNKNOWN, None, False
    try:
        found = measure(media)
        suffix = _SUFFIXES.get(found.format, f".{found.format.lower()}")
        measures |= found.measures
        more_frames = found.more_frames
    except (NoPicture, NoSound) as reason:
        fault = f"{media.name}: {reason}" if isinstance(media, Path) else str(reason)
    name = f"media/{sha256[:2]}/{sha256}{suffix}"
    target = folder / name
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(media, bytes):
            target.write_bytes(media)
        else:
            shutil.copyfile(media, target)
    return Kept(name, measures, fault, more_frames)


def _picture(media: Path | bytes) -> _Measured:
    found = decoded(media)
    measures = {"width": found.pixels.width, "height": found.pixels.height, "mode": found.mode}
    return _Measured(found.format, measures, found.animated)


def _sound(media: Path | bytes) -> _Measured:
    found = decoded_sound(media)
    measures = {name: getattr(found, name) for name in MEASURED["audio"] if name != "bytes"}
    return _Measured(found.format, measures)


_MEASURES: Mapping[str, Callable[[Path | bytes], _Measured]] = {"image": _picture, "audio": _sound}


def sha256_of(media: Path | bytes) -> str:
    return hashlib.sha256(media).hexdigest() if isinstance(media, bytes) else sha256_file(media)


def media_of(value: Any, root: Path) -> tuple[Path | bytes | None, str | None]:
    """The bytes that a cell of a table stands for, or what is wrong with it.

    value: a Path; bytes; {"bytes": ..., "path": ...} as Hugging Face has it; or a path below the source's `root`.
    """
    if isinstance(value, Mapping) and {"bytes", "path"} <= value.keys():
        value = value["bytes"] if value["bytes"] is not None else value["path"]
    if isinstance(value, bytes):
        return value, None
    if isinstance(value, str) and value:
        path = root / value
        if leads_out(path, root):
            return None, f"{value[:_SHOWN]!r} lies outside the source's folder"
        value = path.resolve()
    if not isinstance(value, Path):
        return None, "no media file" if value in (None, "") else f"not a media file but {type(value).__name__}"
    if not value.is_file():
        return None, f"no such file: {value.name}"
    return value, None
