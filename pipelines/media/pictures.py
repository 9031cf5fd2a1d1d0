"""Pictures as examples: a file named by its hash, and what can be measured about it."""

from __future__ import annotations

import hashlib
import shutil
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.atomic_files import sha256_file
from core.schema.columns import MEASURED
from core.workspace import leads_out

if TYPE_CHECKING:
    from PIL import Image

MAX_PIXELS = 64 * 2**20  # of one picture: 192 MB once decoded; more is a fault
_MAX_BYTES = 256 * 2**20
_FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM")
_SUFFIXES = {"JPEG": ".jpg", "TIFF": ".tif"}  # of the others, their names
_UNKNOWN = ".bin"
_SHOWN = 200  # characters of a cell that names no file of the source


class NoPicture(Exception):
    """Why media cannot be read as a picture."""


def keep(media: Path | bytes, sha256: str, folder: Path) -> tuple[str, dict[str, Any], str | None]:
    """Copy media below folder, once for each content.

    Returns its path there ("media/ab/ab12...png"), its measures, and what is wrong with it or None.
    """
    measures: dict[str, Any] = {**dict.fromkeys(MEASURED), "bytes": _size(media)}
    suffix, fault = _UNKNOWN, None
    try:
        with opened(media) as picture:
            suffix = _SUFFIXES.get(str(picture.format), f".{str(picture.format).lower()}")
            measures |= {"width": picture.width, "height": picture.height, "mode": picture.mode}
            decode(picture)
    except NoPicture as reason:
        fault = str(reason)
    name = f"media/{sha256[:2]}/{sha256}{suffix}"
    target = folder / name
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(media, bytes):
            target.write_bytes(media)
        else:
            shutil.copyfile(media, target)
    return name, measures, fault


@contextmanager
def opened(media: Path | bytes) -> Iterator[Image.Image]:
    """A picture, its head read: the one way to open what came from elsewhere.

    Only in the formats above: Pillow knows others, one of which (EPS) starts Ghostscript. Raises NoPicture for what is
    none, here and around all that is done with it.
    """
    from PIL import Image, UnidentifiedImageError

    if (size := _size(media)) > _MAX_BYTES:
        raise NoPicture(f"a file of {size:,} bytes; at most {_MAX_BYTES:,} are read")
    try:
        with Image.open(BytesIO(media) if isinstance(media, bytes) else media, formats=_FORMATS) as picture:
            yield picture
    except UnidentifiedImageError:
        raise NoPicture(f"not a picture ({', '.join(_FORMATS)} are read)") from None
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError) as error:
        raise NoPicture(f"a picture that cannot be decoded ({error})") from None


def decode(picture: Image.Image) -> None:
    """Read the pixels of an opened picture. Raises NoPicture when its head promises more than MAX_PIXELS."""
    pixels = picture.width * picture.height
    if pixels > MAX_PIXELS:
        raise NoPicture(f"a picture of {pixels:,} pixels; at most {MAX_PIXELS:,} are read")
    picture.load()


def _size(media: Path | bytes) -> int:
    return len(media) if isinstance(media, bytes) else media.stat().st_size


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
