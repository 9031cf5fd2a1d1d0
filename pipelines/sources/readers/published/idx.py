"""idx: pictures as MNIST has them: PART-images-idx3-ubyte and PART-labels-idx1-ubyte, packed with gzip or not.

Source of the format: Y. LeCun, http://yann.lecun.com/exdb/mnist: magic number, sizes, then bytes, big-endian.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from typing import IO

from core.errors import BadRequest
from core.schema.columns import Contract
from core.schema.data import Data
from pipelines.sources._files import Files, Found, Record, Table
from pipelines.sources._opening import open_binary

SUFFIXES = ()
COLUMNS = ("path", "label", "part")
_NAME = re.compile(r"(?:.*/)?(?P<part>[^/]+)-(?P<what>images[-.]idx3|labels[-.]idx1)-ubyte(?:\.gz)?")
_IMAGES, _LABELS = 0x803, 0x801  # unsigned bytes in 3 dimensions, in 1
_MAX_SIDE_PIXELS = 4096


def read(files: Files, *, data: Data, contract: Contract) -> Iterator[Table]:
    for part, (images, labels) in sorted(_pairs(files).items()):
        yield Table(images.name, COLUMNS, _records(part, images, labels))


def _pairs(files: Files) -> dict[str, tuple[Found, Found]]:
    found: dict[str, dict[str, Found]] = {}
    for file in files:
        name = _NAME.fullmatch(file.name)
        if name:
            found.setdefault(name["part"], {})[name["what"][:6]] = file
    for part, pair in found.items():
        if len(pair) < 2:
            there, lacks = next(iter(pair.values())).name, ({"images", "labels"} - pair.keys()).pop()
            raise BadRequest(f"{files.folder}: {there} is there, the {lacks} of {part!r} are not.")
    if not found:
        raise BadRequest(f"{files.folder} holds no *-images-idx3-ubyte(.gz) with its *-labels-idx1-ubyte(.gz).")
    return {part: (pair["images"], pair["labels"]) for part, pair in found.items()}


def _records(part: str, images: Found, labels: Found) -> Iterator[Record]:
    with ExitStack() as stack:
        pictures, numbers = (stack.enter_context(open_binary(found)) for found in (images, labels))
        count, height, width = _sizes(pictures, images, _IMAGES, 3)
        (count_labels,) = _sizes(numbers, labels, _LABELS, 1)
        if count != count_labels:
            raise BadRequest(f"{images.name} has {count:,} pictures, {labels.name} {count_labels:,} labels.")
        if not (0 < height <= _MAX_SIDE_PIXELS and 0 < width <= _MAX_SIDE_PIXELS):
            raise BadRequest(f"{images.name}: pictures of {width} x {height} pixels; each side must be 1 to 4,096.")
        for number in range(1, count + 1):
            pixels = _exactly(pictures, height * width, images)
            label = str(_exactly(numbers, 1, labels)[0])
            values = {"path": _png(pixels, width, height), "label": label, "part": part}
            yield Record(values, f"{images.name}:{number}")
        for file, found in ((pictures, images), (numbers, labels)):
            if file.read(1):
                raise BadRequest(f"{found.name}: holds more than the {count:,} that its head says.")


def _sizes(file: IO[bytes], found: Found, magic: int, dimensions: int) -> tuple[int, ...]:
    head = struct.unpack(f">{1 + dimensions}I", _exactly(file, 4 * (1 + dimensions), found))
    if head[0] != magic:
        raise BadRequest(
            f"{found.name}: not an IDX file of this kind: it starts with {head[0]:#010x}, not {magic:#010x}."
        )
    return head[1:]


def _exactly(file: IO[bytes], size: int, found: Found) -> bytes:
    data = file.read(size)
    if len(data) < size:
        raise BadRequest(f"{found.name}: cut off: it holds less than its head says. Fetch {found.path} again.")
    return data


def _png(pixels: bytes, width: int, height: int) -> bytes:
    """A grey PNG, not compressed: the same bytes under every version of zlib.

    Source: W3C, Portable Network Graphics (3rd edition), sections 5 and 11: each line starts with its filter, 0 = none.
    """
    lines = b"".join(b"\0" + pixels[at : at + width] for at in range(0, len(pixels), width))
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)  # 8 bits a pixel, grey
    chunks = ((b"IHDR", head), (b"IDAT", zlib.compress(lines, 0)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
