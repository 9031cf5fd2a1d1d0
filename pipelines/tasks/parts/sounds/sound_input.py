"""Sounds as a network takes them: their rate, how much of each is heard, and how samples become a log-mel spectrogram.

The spectrogram is the one that transformers' ASTFeatureExtractor makes, at any rate: windows of 25 ms every 10 ms.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field

from core.atomic_files import read_json, said_in, write_json
from core.errors import BadRequest
from core.schema.section import Section
from pipelines.media.sound_decoding import NoSound, decoded_sound, resampled

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from core.tables.task import Base, Place

FILE = "sound.json"
HIGHEST_RATE = 16_000  # samples a second, unless the recipe says more: speech has little above 8 kHz
MOST_SECONDS = 10.0  # unless the recipe says more
MELS = 40
HOP_S = 0.01
_WINDOW_S = 0.025
_LOWEST_HZ = 20
_FLOOR = 1.192092955078125e-07  # of a band's energy: the smallest step of a 32-bit float at 1, as Kaldi has it
_MEASURED = 2000  # sounds that the mean and deviation are taken from
_LEAST_DEVIATION = 1e-3

Array = np.ndarray[Any, np.dtype[Any]]


class Options(Section):
    sample_rate: Annotated[
        int | None,
        Field(
            ge=4000, le=48_000,
            description="samples a second that all sounds are brought to; recorded with less, one is set aside. By "
            "default the base's, else the training sounds' highest, at most 16,000",
        ),
    ] = None  # fmt: skip
    max_seconds: Annotated[
        float | None,
        Field(
            ge=0.1, le=60,
            description="of each sound that are heard, from its beginning; by default as long as the training sounds' "
            "longest, at most 10",
        ),
    ] = None  # fmt: skip
    mels: Annotated[int | None, Field(ge=8, le=256, description="bands of the spectrogram; by default 40")] = None


@dataclass(frozen=True)
class Hearing:
    """How sounds go in. takes: the samples themselves, or their log-mel spectrogram.

    frames: how many windows a spectrogram is padded or cut to; None: as many as the sound has. mean, deviation: of the
    training sounds' spectrograms, all bands together; a network sees (value - mean) / deviation.
    """

    takes: Literal["samples", "spectrogram"]
    sample_rate: int
    max_seconds: float
    mels: int = MELS
    frames: int | None = None
    mean: float = 0.0
    deviation: float = 1.0

    @property
    def padding(self) -> float:
        """What a network sees behind a sound's end: a silence of samples, or the spectrogram value 0, as AST's has."""
        return 0.0 if self.takes == "samples" else -self.mean / self.deviation

    @property
    def width(self) -> int:
        """Numbers a step."""
        return 1 if self.takes == "samples" else self.mels


def write(hearing: Hearing, folder: Path) -> None:
    write_json(folder / FILE, asdict(hearing))


def read(folder: Path) -> Hearing:
    """What write() left."""
    return Hearing(**read_json(folder / FILE))


def chosen(
    options: Options, batches: Iterable[pd.DataFrame], at: Place, *, takes: Literal["samples", "spectrogram"]
) -> Hearing:
    """As the recipe says, else as a pretrained base was trained, else as the training rows are."""
    known = of_base(at.base)
    rate = options.sample_rate or known.get("sample_rate")
    rate = rate or min(HIGHEST_RATE, max(int(rows["rate"].max()) for rows in batches))
    longest = max(float(rows["seconds"].max()) for rows in batches)
    seconds = options.max_seconds or known.get("max_seconds") or min(MOST_SECONDS, longest)
    mels = known.get("mels") or options.mels or MELS
    hearing = Hearing(takes, int(rate), float(seconds), int(mels))
    if beyond := sum(int((rows["seconds"] > hearing.max_seconds).sum()) for rows in batches):
        told = f"{beyond:,} training sounds are longer than {hearing.max_seconds:g} s: the rest of each is not heard"
        print(told, file=sys.stderr, flush=True)
    if "mean" in known:
        return replace(hearing, mean=known["mean"], deviation=known["deviation"])
    some = list(islice((path for rows in batches for path in rows["path"]), _MEASURED))
    return measured(some, at.media, hearing)


def foreseen(options: Options, base: Base, *, takes: Literal["samples", "spectrogram"]) -> Hearing:
    """How sounds go in as far as is known without rows; what they would say is put at its usual value."""
    known = of_base(base)
    return Hearing(
        takes,
        options.sample_rate or known.get("sample_rate") or HIGHEST_RATE,
        options.max_seconds or known.get("max_seconds") or 1.0,
        known.get("mels") or options.mels or MELS,
    )


def of_base(base: Base) -> dict[str, Any]:
    """How a pretrained base was trained: from its sound.json or preprocessor_config.json, if it has one."""
    if base.folder is None:
        return {}
    if (base.folder / FILE).is_file():
        return dict(read_json(base.folder / FILE))
    told = said_in(base.folder / "preprocessor_config.json")
    found = {"sample_rate": told.get("sampling_rate"), "mels": told.get("num_mel_bins")}
    if isinstance(told.get("mean"), float) and told.get("std"):  # the extractor divides by twice the deviation
        found |= {"mean": told["mean"], "deviation": 2 * told["std"]}
    return {name: value for name, value in found.items() if value is not None}


def frames_of(seconds: float, rate: int) -> int:
    """How many windows lie in so many seconds, one at least."""
    window, hop = _steps(rate)
    return 1 + max(0, int(seconds * rate) - window) // hop


def heard(paths: Sequence[str], media: Path, hearing: Hearing) -> list[Array]:
    """What a network sees of each sound: (samples,) or (frames, mels), float32. paths: relative to media.

    Raises BadRequest for what is no sound.
    """
    if hearing.takes == "spectrogram":
        return [normalised(found, hearing) for found in spectrograms(paths, media, hearing)]
    return [_of_unit_variance(samples) for samples in _samples(paths, media, hearing)]


def spectra(paths: Sequence[str], media: Path, hearing: Hearing) -> Array:
    """Of each sound the mean and the deviation over time of every band: (sounds, 2 * mels)."""
    found = (normalised(each, hearing) for each in spectrograms(paths, media, hearing))
    return np.stack([np.concatenate([each.mean(axis=0), each.std(axis=0)]) for each in found])


def spectrograms(paths: Sequence[str], media: Path, hearing: Hearing) -> Iterable[Array]:
    """Of each sound the logarithm of every band's energy in every window: (frames, mels)."""
    for samples in _samples(paths, media, hearing):
        yield log_mel(samples, hearing.sample_rate, hearing.mels)


def log_mel(samples: Array, rate: int, mels: int) -> Array:
    """(frames, mels) in float32. samples: (samples,); fewer than a window are filled up with silence."""
    from transformers.audio_utils import spectrogram

    window, hop = _steps(rate)
    shape, filters, length = _filters(rate, mels)
    values = np.pad(samples, (0, max(0, window - len(samples))))
    found = spectrogram(
        values, shape, frame_length=window, hop_length=hop, fft_length=length, power=2.0, center=False,
        preemphasis=0.97, mel_filters=filters, log_mel="log", mel_floor=_FLOOR, remove_dc_offset=True,
    )  # fmt: skip
    return np.asarray(found.T, dtype=np.float32)


def normalised(spectrogram: Array, hearing: Hearing) -> Array:
    return np.asarray((spectrogram - hearing.mean) / hearing.deviation, dtype=np.float32)


def measured(paths: Sequence[str], media: Path, hearing: Hearing) -> Hearing:
    """The same with the mean and standard deviation of these sounds' spectrograms."""
    sums = np.zeros(3)
    for found in spectrograms(paths, media, hearing):
        sums += [found.size, found.sum(dtype=np.float64), np.square(found, dtype=np.float64).sum()]
    mean = sums[1] / sums[0]
    deviation = max(_LEAST_DEVIATION, float(np.sqrt(max(0.0, sums[2] / sums[0] - mean**2))))
    return replace(hearing, mean=round(float(mean), 6), deviation=round(deviation, 6))


def columns(found: Sequence[Array]) -> dict[str, pa.Array]:
    """What heard() gave as columns of encoded rows: the numbers in one list each, and how many steps there are."""
    import pyarrow as pa

    values = pa.array([each.reshape(-1) for each in found], pa.list_(pa.float32()))
    return {"values": values, "length": pa.array([len(each) for each in found], pa.int32())}


def stacked(rows: Sequence[Mapping[str, Any]], width: int) -> list[Array]:
    """The column `values` of a batch of encoded rows, each as heard() gave it."""
    return [row["values"] if width == 1 else row["values"].reshape(-1, width) for row in rows]


def _samples(paths: Sequence[str], media: Path, hearing: Hearing) -> Iterable[Array]:
    """The samples of each sound at the rate that is heard, cut behind max_seconds."""
    for path in paths:
        try:
            sound = decoded_sound(media / path)
        except (OSError, NoSound) as error:
            raise BadRequest(f"{path}: cannot be heard: {error}.") from None
        heard_of_it = replace(sound, samples=sound.samples[: int(np.ceil(hearing.max_seconds * sound.rate))])
        yield resampled(heard_of_it, hearing.sample_rate)


def _of_unit_variance(samples: Array) -> Array:
    """As wav2vec 2.0's feature extractor has it (Baevski et al. 2020, section 2)."""
    return np.asarray((samples - samples.mean()) / np.sqrt(samples.var() + 1e-7), dtype=np.float32)


def _steps(rate: int) -> tuple[int, int]:
    """Samples of a window, and from one window to the next."""
    return round(_WINDOW_S * rate), round(HOP_S * rate)


@cache
def _filters(rate: int, mels: int) -> tuple[Array, Array, int]:
    """The window's shape, the bands' filters, and the length of the Fourier transform."""
    from transformers.audio_utils import mel_filter_bank, optimal_fft_length, window_function

    window, _ = _steps(rate)
    length = optimal_fft_length(window)
    filters = mel_filter_bank(
        num_frequency_bins=length // 2 + 1, num_mel_filters=mels, min_frequency=_LOWEST_HZ, max_frequency=rate // 2,
        sampling_rate=rate, norm=None, mel_scale="kaldi", triangularize_in_mel_space=True,
    )  # fmt: skip
    return window_function(window, "hann", periodic=False), filters, length
