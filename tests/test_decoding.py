"""One decoder of pictures: what it makes of alpha, of greys of many bits, of turned, broken and odd files."""

from __future__ import annotations

import io
import random
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from pipelines.media.decoding import NoPicture, decoded
from pipelines.media.media_files import keep
from pipelines.tasks.parts.pictures import picture_input
from pipelines.tasks.parts.pictures.picture_input import Picture

SIDE = 8


def saved(picture: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def png(bits: int, color: int, line: bytes, clear: bytes, *, rows: int = 2, width: int = 4) -> bytes:
    """A PNG by its specification, chunk by chunk: Pillow writes no greys of few bits and no transparent 16 bits."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    head = struct.pack(">IIBBBBB", width, rows, bits, color, 0, 0, 0)
    pixels = zlib.compress((b"\0" + line) * rows)
    parts = chunk(b"IHDR", head) + chunk(b"tRNS", clear) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts


def ink(mode: str) -> Image.Image:
    """A black square on clear ground: every pixel is black, alpha alone draws."""
    layer = Image.new("LA", (SIDE, SIDE), (0, 0))
    layer.paste((0, 255), (2, 2, 6, 6))
    return layer if mode == "LA" else layer.convert(mode)


def palette_with_alpha() -> Image.Image:
    picture = Image.new("P", (SIDE, SIDE), 0)
    picture.putpalette([0, 0, 0, 0, 0, 0])
    picture.paste(1, (2, 2, 6, 6))
    return picture


ON_WHITE = np.full((SIDE, SIDE), 255, np.uint8)
ON_WHITE[2:6, 2:6] = 0
CLEAR = {
    "RGBA in PNG": saved(ink("RGBA"), "PNG"),
    "LA in PNG": saved(ink("LA"), "PNG"),
    "palette with one clear colour": saved(palette_with_alpha(), "PNG", transparency=0),
    "palette with alpha a colour": saved(palette_with_alpha(), "PNG", transparency=b"\0\xff"),
    "GIF": saved(palette_with_alpha(), "GIF", transparency=0),
    "WebP": saved(ink("RGBA"), "WEBP", lossless=True, exact=True),
    "TIFF": saved(ink("RGBA"), "TIFF"),
    "LA in TIFF": saved(ink("LA"), "TIFF"),
}


@pytest.mark.parametrize("name", CLEAR)
@pytest.mark.parametrize("channels", ["grayscale", "rgb"])
def test_what_is_transparent_is_laid_on_white_however_a_format_says_it(
    name: str, channels: str, tmp_path: Path
) -> None:
    (tmp_path / "ink").write_bytes(CLEAR[name])
    found = picture_input.pixels(["ink"], tmp_path, Picture(SIDE, channels))[0]
    assert all(np.array_equal(channel, ON_WHITE) for channel in found)


def test_half_transparent_pixels_are_mixed_with_the_ground() -> None:
    """By hand: 40 % of black on white is 153."""
    found = np.asarray(decoded(saved(Image.new("RGBA", (2, 2), (0, 0, 0, 102)), "PNG")).pixels)
    assert (found == 153).all()


@pytest.mark.parametrize(
    ("bits", "color", "line", "clear", "expected"),
    [
        (1, 0, b"\x50", b"\0\0", [255, 255, 255, 255]),  # 0 1 0 1, and 0 is clear
        (2, 0, b"\x1b", b"\0\1", [0, 255, 170, 255]),  # 0 1 2 3
        (4, 0, b"\x12\x3f", b"\0\3", [17, 34, 255, 255]),
        (8, 0, b"\1\2\3\4", b"\0\2", [1, 255, 3, 4]),
        (16, 0, b"\1\0\2\0\2\1\4\0", b"\2\0", [1, 255, 2, 4]),  # 0x0201 is another grey than the clear 0x0200
        (8, 2, b"\1\1\1\2\2\2\3\3\3\4\4\4", b"\0\2\0\2\0\2", [1, 255, 3, 4]),
        (16, 2, b"\1\0\1\0\1\0" + b"\2\0" * 3 + b"\3\0" * 3 + b"\4\0" * 3, b"\2\0" * 3, [1, 255, 3, 4]),
    ],
)
def test_a_png_may_name_one_value_that_is_clear(
    bits: int, color: int, line: bytes, clear: bytes, expected: list[int]
) -> None:
    found = decoded(png(bits, color, line, clear)).pixels.convert("L")
    assert np.asarray(found).tolist() == [expected, expected]


def test_versions_of_before_go_on_without_alpha(tmp_path: Path) -> None:
    """Their picture.json says no ground: what they learnt from transparent pictures was the colour below."""
    (tmp_path / "ink").write_bytes(CLEAR["RGBA in PNG"])
    (tmp_path / picture_input.FILE).write_text('{"size": 8, "channels": "rgb", "mean": [], "deviation": []}')
    before = picture_input.read(tmp_path)
    assert (picture_input.pixels(["ink"], tmp_path, before) == 0).all()
    picture_input.write(Picture(SIDE, "rgb"), tmp_path)
    assert picture_input.read(tmp_path).ground == "white"


GREYS: dict[str, tuple[np.ndarray[Any, Any], dict[str, Any]]] = {
    "16 bits": (np.array([[0, 128 * 256, 65535]], np.uint16), {}),
    "floats": (np.array([[0, 128 / 255, 1]], np.float32), {}),
}


@pytest.mark.parametrize("name", GREYS)
def test_greys_of_many_bits_are_scaled(name: str) -> None:
    values, options = GREYS[name]
    assert np.asarray(decoded(saved(Image.fromarray(values), "TIFF", **options)).pixels).tolist() == [[0, 128, 255]]


def test_sixteen_bits_in_other_formats_are_scaled_too() -> None:
    values = np.array([[0, 128 * 256, 65535]], np.uint16)
    in_png = np.asarray(decoded(saved(Image.fromarray(values), "PNG")).pixels).tolist()
    pgm = b"P5 3 1 65535\n" + values.astype(">u2").tobytes()
    assert in_png == np.asarray(decoded(pgm).pixels).tolist() == [[0, 128, 255]]


def test_white_that_is_zero_is_white() -> None:
    picture = Image.fromarray(np.array([[0, 65535]], np.uint16))
    assert np.asarray(decoded(saved(picture, "TIFF", tiffinfo={262: 0})).pixels).tolist() == [[255, 0]]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (np.array([[0, 200]], np.float32), r"32-bit floats \(mode F\) in the range 0 to 200"),
        (np.array([[-1, 1]], np.float32), r"in the range -1 to 1"),
        (np.array([[np.nan, 1]], np.float32), r"mode F"),
        (np.array([[0, 70_000]], np.int32), r"32-bit whole numbers \(mode I\)"),
    ],
)
def test_greys_without_a_known_black_and_white_are_refused_with_their_mode(
    values: np.ndarray[Any, Any], said: str
) -> None:
    with pytest.raises(NoPicture, match=said):
        decoded(saved(Image.fromarray(values), "TIFF"))


def test_a_second_picture_in_a_jpeg_is_left_alone(tmp_path: Path) -> None:
    """As telephones write it (MPO): read as the JPEG that it is, and kept under that name."""
    one, two = (Image.new("RGB", (SIDE, SIDE), color) for color in ("red", "blue"))
    media = saved(one, "MPO", save_all=True, append_images=[two])
    found = decoded(media)
    assert (found.format, found.animated) == ("MPO", False)
    assert np.asarray(found.pixels)[0, 0, 0] > 200
    kept = keep(media, "ab" * 32, tmp_path, holds="image")
    assert kept.fault is None and kept.path.endswith(".jpg")


@pytest.mark.parametrize(("kind", "options"), [("GIF", {}), ("WEBP", {"lossless": True}), ("PNG", {}), ("TIFF", {})])
def test_of_several_frames_the_first_is_read(kind: str, options: dict[str, Any]) -> None:
    first, second = (Image.new("RGB", (SIDE, SIDE), color) for color in ("white", "black"))
    found = decoded(saved(first, kind, save_all=True, append_images=[second], **options))
    assert found.animated and (np.asarray(found.pixels) == 255).all()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_turned_photo_stands_upright(kind: str, orientation: int) -> None:
    """Against Pillow's own exif_transpose()."""
    from PIL import ImageOps

    exif = Image.Exif()
    exif[0x0112] = orientation
    photo = Image.new("RGB", (24, 16), "white")
    photo.paste("black", (0, 0, 8, 8))
    media = saved(photo, kind, exif=exif)
    with Image.open(io.BytesIO(media)) as opened:
        expected = np.asarray(ImageOps.exif_transpose(opened).convert("RGB"))
    np.testing.assert_array_equal(np.asarray(decoded(media).pixels), expected)


def exif_block(*entries: tuple[int, int, int, bytes]) -> bytes:
    """An EXIF block with entries (tag, type, count, value or offset), and -1/0 behind them."""
    head = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", len(entries))
    body = b"".join(struct.pack("<HHI", *entry[:3]) + entry[3] for entry in entries)
    return head + body + b"\0\0\0\0" + struct.pack("<ii", -1, 0)


@pytest.mark.parametrize(
    ("block", "turned"),
    [
        (exif_block((0x0112, 3, 1, b"\6\0\0\0"), (0x011A, 5, 1, struct.pack("<I", 38))), True),  # resolution -1/0
        (exif_block((0x0112, 10, 1, struct.pack("<I", 26))), False),  # the orientation itself is -1/0
        (exif_block((0x0112, 3, 1, b"\x63\0\0\0")), False),
        (exif_block((0x0112, 3, 1, b"\6\0\0\0"))[:20], False),
        (b"Exif\0\0not a TIFF header", False),
    ],
)
def test_odd_numbers_in_exif_cost_no_photo(block: bytes, turned: bool) -> None:
    media = saved(Image.new("RGB", (24, 16)), "JPEG")
    segment = b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block
    assert decoded(media[:2] + segment + media[2:]).pixels.size == ((16, 24) if turned else (24, 16))


def test_four_colours_of_print_become_three() -> None:
    found = np.asarray(decoded(saved(Image.new("CMYK", (SIDE, SIDE), (0, 0, 0, 255)), "JPEG")).pixels)
    assert found.shape == (SIDE, SIDE, 3) and found.max() < 8


def _whole() -> dict[str, bytes]:
    noise = Image.frombytes("RGB", (32, 32), random.Random(1).randbytes(32 * 32 * 3))
    kinds = ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM"]
    return {kind: saved(noise, kind) for kind in kinds} | {"clear": saved(noise.convert("RGBA"), "PNG")}


@pytest.mark.slow
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(sorted(_whole())), st.data())
def test_a_damaged_picture_is_a_fault_or_is_read_and_never_anything_else(kind: str, data: st.DataObject) -> None:
    """What keep() takes, pixels() takes too: the same function reads both."""
    media = bytearray(_whole()[kind])
    for at in data.draw(st.lists(st.integers(0, len(media) - 1), min_size=1, max_size=6)):
        media[at] = data.draw(st.integers(0, 255))
    damaged = bytes(media[: data.draw(st.integers(1, len(media)))])
    try:
        found = decoded(damaged)
    except NoPicture:
        return
    assert found.pixels.mode in ("L", "RGB")
    assert np.array_equal(np.asarray(decoded(damaged).pixels), np.asarray(found.pixels))


def test_a_fault_names_the_file_and_costs_its_row(tmp_path: Path) -> None:
    (tmp_path / "cut.png").write_bytes(CLEAR["RGBA in PNG"][:-40])
    kept = keep(tmp_path / "cut.png", "cd" * 32, tmp_path, holds="image")
    assert kept.fault is not None and kept.fault.startswith("cut.png: a picture that cannot be decoded")


def test_pictures_of_every_format_become_one_column(tmp_path: Path) -> None:
    """A table of pictures in all modes: nothing but bytes of one shape reaches training."""
    for name, media in CLEAR.items():
        (tmp_path / name).write_bytes(media)
    found = picture_input.column(picture_input.pixels(list(CLEAR), tmp_path, Picture(SIDE, "rgb")))
    assert found.type == pa.list_(pa.uint8(), 3 * SIDE * SIDE) and len(found) == len(CLEAR)
