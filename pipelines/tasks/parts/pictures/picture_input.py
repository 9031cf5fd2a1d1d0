"""Pictures as a network takes them: their size, their channels, and how bytes become numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from core.atomic_files import read_json, write_json
from core.errors import BadRequest
from core.schema.section import Section
from pipelines.media.decoding import GREYS, GROUND, NoPicture, decoded

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa
    from torch import Tensor

    from core.tables.task import Base, Place

LARGEST_SIDE = 224  # pixels, unless the recipe says more: what most pretrained models were trained on
FILE = "picture.json"
_AT_ONCE = 64  # pictures decoded together
_MEASURED = 5000  # pictures that the mean and deviation are taken from
_MODES = {"grayscale": "L", "rgb": "RGB"}


class Options(Section):
    size: Annotated[
        int | None, Field(ge=8, le=1024, description="pixels a side; by default the largest of the data, at most 224")
    ] = None
    channels: Annotated[
        Literal["grayscale", "rgb"] | None, Field(description="by default rgb if any training picture has colour")
    ] = None


@dataclass(frozen=True)
class Picture:
    """How pictures go in. A network sees (value - mean) / deviation of each channel, values being 0 to 1.

    ground: what shows through where they are transparent; None in versions of before, which learnt without alpha.
    """

    size: int
    channels: str
    mean: Sequence[float] = ()
    deviation: Sequence[float] = ()
    ground: str | None = GROUND

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height, width."""
        return (1 if self.channels == "grayscale" else 3, self.size, self.size)


def write(picture: Picture, folder: Path, **more: Any) -> None:
    """more: what a task keeps beside it."""
    write_json(folder / FILE, {**asdict(picture), **more})


def read(folder: Path) -> Picture:
    """What write() left."""
    told = read_json(folder / FILE)
    return Picture(told["size"], told["channels"], told["mean"], told["deviation"], told.get("ground"))


def chosen(options: Options, batches: Iterable[pd.DataFrame], at: Place) -> Picture:
    """How pictures go in: as the recipe says, else as a pretrained base wants them, else as the training rows are."""
    known = _of_base(at.base)
    picture = Picture(
        side(options, batches, known.get("size")),
        channels(options, batches, known.get("channels")),
        known.get("mean") or (),
        known.get("deviation") or (),
    )
    if picture.mean and picture.deviation:
        return picture
    some = list(islice((path for rows in batches for path in rows["path"]), _MEASURED))
    return measured(some, at.media, picture)


def foreseen(options: Options, base: Base) -> Picture | None:
    """How pictures go in, as far as it is known without rows. None: their channels are for rows to say."""
    known, settings = _of_base(base), base.architecture.settings if base.architecture is not None else {}
    gray = "grayscale" if settings.get("num_channels") == 1 else "rgb"
    channels = options.channels or known.get("channels") or (gray if base.architecture is not None else None)
    return Picture(options.size or known.get("size") or LARGEST_SIDE, channels) if channels else None


def side(options: Options, batches: Iterable[pd.DataFrame], known: int | None = None) -> int:
    """Pixels a side: the recipe's, else the base's, else the largest of the rows, at most LARGEST_SIDE."""
    told = options.size or known
    return told or min(LARGEST_SIDE, max(int(rows[["width", "height"]].max().max()) for rows in batches))


def channels(options: Options, batches: Iterable[pd.DataFrame], known: str | None = None) -> str:
    """The recipe's channels, else the base's, else rgb if any of the rows is a picture with colour."""
    told = options.channels or known
    return told or ("grayscale" if all(rows["mode"].isin(GREYS).all() for rows in batches) else "rgb")


def pixels(paths: Sequence[str], media: Path, picture: Picture) -> np.ndarray[Any, Any]:
    """Decoded pictures at one size: (pictures, channels, size, size) in uint8.

    paths: relative to media. Raises BadRequest for what is no picture.
    """
    import numpy as np
    from PIL import Image

    count, size, _ = picture.shape
    found = np.empty((len(paths), count, size, size), dtype=np.uint8)
    for at, path in enumerate(paths):
        try:
            upright = decoded(media / path, ground=picture.ground).pixels.convert(_MODES[picture.channels])
        except (OSError, NoPicture) as error:
            raise BadRequest(f"{path}: no picture that can be decoded ({error}).") from None
        if upright.size != (size, size):
            upright = upright.resize((size, size), Image.Resampling.BILINEAR)
        found[at] = np.asarray(upright).reshape(size, size, count).transpose(2, 0, 1)
    return found


def column(found: np.ndarray[Any, Any]) -> pa.Array:
    """Pixels as a column of encoded rows: a list of fixed length each."""
    import pyarrow as pa

    return pa.FixedSizeListArray.from_arrays(pa.array(found.reshape(-1)), math.prod(found.shape[1:]))


def stacked(rows: Sequence[Mapping[str, Any]], shape: tuple[int, int, int]) -> np.ndarray[Any, Any]:
    """The column `pixels` of a batch of encoded rows, (rows, channels, height, width)."""
    import numpy as np

    return np.stack([row["pixels"] for row in rows]).reshape(-1, *shape)


def scaled(found: np.ndarray[Any, Any], picture: Picture) -> Tensor:
    """uint8 pixels as the network wants them, float32."""
    import torch

    mean, deviation = (torch.tensor(values).view(1, -1, 1, 1) for values in (picture.mean, picture.deviation))
    return (torch.from_numpy(found).float() / 255 - mean) / deviation


def measured(paths: Sequence[str], media: Path, picture: Picture) -> Picture:
    """The same with the mean and standard deviation of each channel in these pictures, a few in memory at a time."""
    import numpy as np

    sums = np.zeros((2, picture.shape[0]))
    for start in range(0, len(paths), _AT_ONCE):
        values = pixels(paths[start : start + _AT_ONCE], media, picture) / 255
        sums += [values.sum(axis=(0, 2, 3)), (values**2).sum(axis=(0, 2, 3))]
    mean, square = sums / (len(paths) * picture.size**2)
    deviation = np.sqrt(np.maximum(square - mean**2, 1e-6))
    return replace(picture, mean=mean.round(6).tolist(), deviation=deviation.round(6).tolist())


def spread(batches: Iterable[pd.DataFrame], most: int) -> pd.DataFrame:
    """At most so many of the rows, evenly from the first to the last."""
    import pandas as pd

    every = -(-sum(len(rows) for rows in batches) // most)
    parts, before = [], 0
    for rows in batches:
        parts.append(rows[-before % every :: every])
        before += len(rows)
    return pd.concat(parts, ignore_index=True)


def _of_base(base: Base) -> dict[str, Any]:
    """How a pretrained base wants its pictures: from its picture.json or preprocessor_config.json, if it has one."""
    if base.folder is None:
        return {}
    if (base.folder / FILE).is_file():
        return dict(read_json(base.folder / FILE))
    if not (base.folder / "preprocessor_config.json").is_file():
        return {}
    told = read_json(base.folder / "preprocessor_config.json")
    size = told.get("size")
    height = size.get("height", size.get("shortest_edge")) if isinstance(size, dict) else size
    mean = told.get("image_mean")
    gray = mean is not None and len(mean) == 1
    kind = "grayscale" if gray else "rgb"
    return {"size": height, "channels": kind, "mean": mean, "deviation": told.get("image_std")}
