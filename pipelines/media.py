"""Pictures as examples: a file named by its hash, and what can be measured about it."""

from __future__ import annotations

import hashlib
import shutil
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from pipelines.workspace import sha256_file

MEASURED = ("bytes", "width", "height", "mode")
MAX_PIXELS = 64 * 2**20  # of one picture: 192 MB once decoded; more is a fault
_MAX_BYTES = 256 * 2**20
_SUFFIXES = {
    "PNG": ".png",
    "JPEG": ".jpg",
    "GIF": ".gif",
    "BMP": ".bmp",
    "TIFF": ".tif",
    "WEBP": ".webp",
    "PPM": ".ppm",
}
_UNKNOWN = ".bin"


@dataclass(frozen=True)
class Media:
    """The bytes of one example: in a file, or in memory."""

    content: Path | bytes

    def open(self) -> BinaryIO:
        return BytesIO(self.content) if isinstance(self.content, bytes) else self.content.open("rb")

    def sha256(self) -> str:
        if isinstance(self.content, bytes):
            return hashlib.sha256(self.content).hexdigest()
        return sha256_file(self.content)

    def keep(self, folder: Path, sha256: str) -> tuple[str, dict[str, Any], str | None]:
        """Copy it below folder, once for each content.

        Returns its path there ("media/ab/ab12...png"), its measures, and what is wrong with it or None.
        """
        measures, suffix, fault = self.measure()
        name = f"media/{sha256[:2]}/{sha256}{suffix}"
        target = folder / name
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            with self.open() as source, target.open("wb") as copy:
                shutil.copyfileobj(source, copy, 2**20)
        return name, measures, fault

    def measure(self) -> tuple[dict[str, Any], str, str | None]:
        """Decode it. Returns measures, the suffix of its format, and what is wrong with it or None."""
        from PIL import Image, UnidentifiedImageError

        size = len(self.content) if isinstance(self.content, bytes) else self.content.stat().st_size
        measures: dict[str, Any] = {"bytes": size, "width": None, "height": None, "mode": None}
        if size > _MAX_BYTES:
            return measures, _UNKNOWN, f"a file of {size:,} bytes; at most {_MAX_BYTES:,} are read"
        try:
            with self.open() as file, Image.open(file, formats=list(_SUFFIXES)) as picture:
                suffix = _SUFFIXES[str(picture.format)]
                measures |= {"width": picture.width, "height": picture.height, "mode": picture.mode}
                pixels = picture.width * picture.height
                if pixels > MAX_PIXELS:
                    return measures, suffix, f"a picture of {pixels:,} pixels; at most {MAX_PIXELS:,} are read"
                picture.load()
        except UnidentifiedImageError:
            return measures, _UNKNOWN, f"not a picture ({', '.join(_SUFFIXES)} are read)"
        except (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError) as error:
            return measures, _UNKNOWN, f"a picture that cannot be decoded ({error})"
        return measures, suffix, None


def media_of(value: Any, root: Path) -> tuple[Media | None, str | None]:
    """The bytes that a cell of a table stands for, or what is wrong with it.

    value: a Path; bytes; {"bytes": ..., "path": ...} as Hugging Face has it; or a path below the source's `root`.
    """
    if isinstance(value, Mapping) and {"bytes", "path"} <= value.keys():
        value = value["bytes"] if value["bytes"] is not None else value["path"]
    if isinstance(value, bytes):
        return Media(value), None
    if isinstance(value, str) and value:
        path = (root / value).resolve()
        if not path.is_relative_to(root.resolve()):
            return None, f"{value!r} lies outside the source's folder"
        value = path
    if not isinstance(value, Path):
        return None, "no media file" if value in (None, "") else f"not a media file but {type(value).__name__}"
    if not value.is_file():
        return None, f"no such file: {value.name}"
    return Media(value), None
