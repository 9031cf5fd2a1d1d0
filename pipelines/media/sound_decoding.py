"""Bytes -> the samples of a sound: the one way to read what came from elsewhere, for collect, training and answers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import BadRequest
from pipelines.media.decoding import size_of

if TYPE_CHECKING:
    import numpy as np

MAX_SECONDS = 600  # of one sound; a longer one is a fault
FORMATS = ("WAV", "WAVEX", "FLAC", "OGG", "MP3", "AIFF", "AU", "CAF", "W64", "RF64")  # in libsndfile's words
SOUND_RULE = "all channels as one, their mean, resampled to the recipe's rate"
_MAX_BYTES = 256 * 2**20
_MAX_SAMPLES = MAX_SECONDS * 2 * 48_000  # of all channels: 230 MB once decoded, whatever few bytes they come in
_RATES = range(1_000, 384_001)  # what is recorded; resampling from others would take memory without bound
_FULL = 32766 / 32768  # of 16 bits, the last step but one
# What libsndfile notes of a file whose head says more bytes of sound than there are.
_CUT = re.compile(r"^\s*(?:data|SSND)\s*:\s*(\d+) \(should be (\d+)\)", re.MULTILINE)
_STREAMED = 0x7FFF0000  # from here on a head's size says that its writer did not know it


class NoSound(Exception):
    """Why media cannot be read as a sound."""


@dataclass(frozen=True)
class Sound:
    """samples: (samples,) in float32, 1.0 being full scale; all channels as one. rate: samples a second.

    clipped: share of the samples, of all channels, that stand at full scale. format: in libsndfile's words.
    """

    samples: np.ndarray[Any, Any]
    rate: int
    channels: int
    clipped: float
    format: str

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.rate

    @property
    def level(self) -> float:
        """The root of the mean square, as a share of full scale; a constant offset is no sound."""
        return float(self.samples.std())


def decoded_sound(media: Path | bytes) -> Sound:
    """Raises NoSound for what is none, is empty or cut off, too long or too large."""
    import numpy as np

    library = _library()
    if (size := size_of(media)) > _MAX_BYTES:
        raise NoSound(f"a file of {size:,} bytes; at most {_MAX_BYTES:,} are read")
    if not size:
        raise NoSound("an empty file")
    try:
        with library.SoundFile(BytesIO(media) if isinstance(media, bytes) else str(media)) as file:
            _require_readable(file)
            samples = file.read(dtype="float32", always_2d=True)
            declared, rate, channels, format = file.frames, file.samplerate, file.channels, file.format
    except (library.SoundFileError, RuntimeError, OSError, ValueError, TypeError) as error:
        if isinstance(error, OSError) and not isinstance(error, library.SoundFileError):
            raise
        raise NoSound(f"not a sound that can be decoded ({', '.join(FORMATS)} are read)") from None
    if len(samples) < declared:
        raise NoSound(f"cut off: its head says {declared / rate:.2f} s, and {len(samples) / rate:.2f} s are there")
    if not np.isfinite(samples).all():
        raise NoSound("it holds samples that are no finite numbers")
    full = float((np.abs(samples) >= _FULL).mean())
    return Sound(samples.mean(axis=1, dtype=np.float32), rate, channels, full, format)


def resampled(sound: Sound, rate: int) -> np.ndarray[Any, Any]:
    """The samples at another rate, (samples,) in float32, by a polyphase filter that lets no aliases through."""
    import numpy as np

    if sound.rate == rate:
        return sound.samples
    from math import gcd

    from scipy.signal import resample_poly  # type: ignore[import-untyped]  # scikit-learn brings it

    common = gcd(sound.rate, rate)
    return np.asarray(resample_poly(sound.samples, rate // common, sound.rate // common), dtype=np.float32)


def _require_readable(file: Any) -> None:
    """Raise NoSound, by what the head says, before samples are read."""
    if file.format not in FORMATS:
        raise NoSound(f"a sound in the format {file.format}. Read are: {', '.join(FORMATS)}")
    for said, there in _CUT.findall(file.extra_info):
        if int(there) < int(said) < _STREAMED:
            raise NoSound(f"cut off: its head says {int(said):,} bytes of sound, and {int(there):,} are there")
    if not file.frames:
        raise NoSound("a sound without samples")
    if file.samplerate not in _RATES:
        raise NoSound(f"a sound of {file.samplerate:,} samples a second; {_RATES[0]:,} to {_RATES[-1]:,} are read")
    if (seconds := file.frames / file.samplerate) > MAX_SECONDS:
        raise NoSound(f"a sound of {seconds:,.0f} s; at most {MAX_SECONDS} s are read")
    if (samples := file.frames * file.channels) > _MAX_SAMPLES:
        raise NoSound(f"a sound of {samples:,} samples in {file.channels} channels; at most {_MAX_SAMPLES:,} are read")


def _library() -> Any:
    """soundfile, which brings libsndfile. Raises BadRequest where it is not installed."""
    try:
        import soundfile
    except (ImportError, OSError) as error:
        raise BadRequest(
            f"sounds are read by soundfile ({error}). `pip install 'headrace[audio]'` brings it."
        ) from None
    return soundfile
