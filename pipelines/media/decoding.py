"""Bytes -> the pixels of a picture: the one way to read what came from elsewhere, for collect, training and answers.

So what `collect` accepts every later stage can read, and a caller's picture is seen as those of training were.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from PIL import Image

MAX_PIXELS = 64 * 2**20  # of one picture: 192 MB once decoded; more is a fault
GROUND = "white"  # what shows through where a picture is transparent
RULE = "turned as EXIF says, laid on white where they are transparent, the first frame of several"
GREYS = ("1", "L", "LA", "La", "I", "I;16", "I;16B", "I;16L", "I;16N", "F")  # modes of Pillow that have no colour
_MAX_BYTES = 256 * 2**20
_FORMATS = ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM")
# What Pillow's readers raise on bytes that are not as the format has them; SyntaxError is its word for a broken file.
_BROKEN = (
    OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, AttributeError, ArithmeticError, RuntimeError,
    AssertionError, MemoryError, struct.error, zlib.error,
)  # fmt: skip
_BITS, _PHOTOMETRIC = 258, 262  # tags of TIFF: bits a channel; 0 where white is 0
_ORIENTATION = 0x0112  # tag of EXIF
_TURNS = {
    2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE", 6: "ROTATE_270", 7: "TRANSVERSE",
    8: "ROTATE_90",
}  # fmt: skip
_LEVELS = {"L;2": 85, "L;4": 17}  # PNG's greys of few bits: the distance of two of them among 256 levels


class NoPicture(Exception):
    """Why media cannot be read as a picture."""


@dataclass(frozen=True)
class Decoded:
    """pixels: 8 bits a channel, "L" or "RGB", upright. format, mode: what the file has, in Pillow's words.

    animated: whether it holds more frames than the one that is read.
    """

    pixels: Image.Image
    format: str
    mode: str
    animated: bool


def decoded(media: Path | bytes, *, ground: str | None = GROUND) -> Decoded:
    """The pixels of a picture, by RULE. ground None: alpha is left out of account, as in versions of before.

    Raises NoPicture for what is none, is cut off or too large, or has greys of which nobody knows what black is.
    """
    from PIL import Image

    with _opened(media) as picture:
        if (pixels := picture.width * picture.height) > MAX_PIXELS:
            raise NoPicture(f"a picture of {pixels:,} pixels; at most {MAX_PIXELS:,} are read")
        format, mode, clear = str(picture.format), picture.mode, _clear_value(picture)
        picture.load()
        turn = _turn(picture)  # read behind load(), which turns a TIFF by itself
        found = _opaque(_eight_bits(picture, clear), clear, ground)
        if turn is not None:
            found = found.transpose(Image.Transpose[turn])
        return Decoded(found, format, mode, format != "MPO" and _more_frames(picture))


def size_of(media: Path | bytes) -> int:
    """Bytes of a file, or of what it holds."""
    return len(media) if isinstance(media, bytes) else media.stat().st_size


@contextmanager
def _opened(media: Path | bytes) -> Iterator[Image.Image]:
    """A picture, its head read; what Pillow raises here, and in all that is done with it, becomes NoPicture.

    Only in the formats above: Pillow knows others, one of which (EPS) starts Ghostscript.
    """
    from PIL import Image, UnidentifiedImageError

    if (size := size_of(media)) > _MAX_BYTES:
        raise NoPicture(f"a file of {size:,} bytes; at most {_MAX_BYTES:,} are read")
    try:
        with Image.open(BytesIO(media) if isinstance(media, bytes) else media, formats=_FORMATS) as picture:
            yield picture
    except UnidentifiedImageError:
        raise NoPicture(f"not a picture ({', '.join(_FORMATS)} are read)") from None
    except (*_BROKEN, Image.DecompressionBombError) as error:
        raise NoPicture(f"a picture that cannot be decoded ({error or type(error).__name__})") from None


def _clear_value(picture: Image.Image) -> Any:
    """The value or values that a picture without an alpha channel has for "transparent", scaled as its pixels are."""
    clear = picture.info.get("transparency")
    tile = getattr(picture, "tile", None)
    raw_mode = tile[0].args if tile else None
    if isinstance(clear, int) and isinstance(raw_mode, str):
        return clear * _LEVELS.get(raw_mode, 1)
    if isinstance(clear, tuple) and raw_mode == "RGB;16B":
        return tuple(value >> 8 for value in clear)
    return clear


def _eight_bits(picture: Image.Image, clear: Any) -> Image.Image:
    """Greys of more bits scaled to 8, where black and white are known; Pillow itself cuts them off at 255.

    16 bits go from 0 to 65,535, 12 to 4,095, floats from 0 to 1. Raises NoPicture for others.
    """
    import numpy as np
    from PIL import Image

    tags: Mapping[int, Any] = getattr(picture, "tag_v2", {})
    bits = int(tags.get(_BITS, (16,))[0])
    if picture.mode == "F":
        values = np.asarray(picture)
        low, high = float(values.min()), float(values.max())
        if not (low >= 0 and high <= 1):
            raise NoPicture(f"32-bit floats (mode F) in the range {low:g} to {high:g}; read are those from 0 to 1")
        scaled = np.rint(values * 255).astype(np.uint8)
    elif picture.mode.startswith("I;16") or (picture.mode == "I" and picture.format == "PPM"):
        values = np.asarray(picture)
        scaled = (values >> (4 if bits == 12 else 8)).astype(np.uint8)
    elif picture.mode == "I":
        raise NoPicture(f"{bits}-bit whole numbers (mode I), whose range nobody states; save it with 8 or 16 bits")
    else:
        return picture
    if tags.get(_PHOTOMETRIC) == 0:
        scaled = 255 - scaled
    if clear is not None:
        scaled[values == clear] = 255
    return Image.fromarray(scaled)


def _opaque(picture: Image.Image, clear: Any, ground: str | None) -> Image.Image:
    """The picture in "L" or "RGB"."""
    from PIL import Image

    if ground is None or not (clear is not None or picture.has_transparency_data):
        return picture if picture.mode in ("L", "RGB") else picture.convert("RGB")
    if clear is not None and "transparency" in picture.info:
        picture.info["transparency"] = clear
    layer = picture.convert("RGBA")
    below = Image.new("RGB", layer.size, ground)
    below.paste(layer, mask=layer)
    return below


def _turn(picture: Image.Image) -> str | None:
    """How a picture is turned to stand upright; None where EXIF says nothing that can be read."""
    with suppress(*_BROKEN):
        told = picture.getexif().get(_ORIENTATION)
        return _TURNS.get(told) if isinstance(told, int) else None
    return None


def _more_frames(picture: Image.Image) -> bool:
    with suppress(*_BROKEN):
        return bool(getattr(picture, "is_animated", False))
    return False
