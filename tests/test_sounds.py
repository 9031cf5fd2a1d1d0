"""Sounds: decoded, measured and resampled against references of others, and every fault that a contract names."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
from PIL import Image
from transformers import ASTFeatureExtractor

from core.errors import BadRequest
from core.schema.columns import MEASURED
from core.workspace import Workspace as Root
from pipelines.collect import collect
from pipelines.media import sound_decoding
from pipelines.media.media_files import keep
from pipelines.media.sound_decoding import MAX_SECONDS, NoSound, decoded_sound, resampled
from pipelines.settings import settings
from pipelines.tasks.parts.sounds.sound_input import Hearing, heard, log_mel
from pipelines.validate import validate
from tests.conftest import Workspace, copy_code

RATE = 8000
CLEAN = 40
RECIPE = """\
task: audio_classification
data: {{source: sounds, reader: folders, name_pattern: "{{label}}_{{take}}.wav"}}
contract: {{at_most: 0.5}}
preprocess: {{{options}}}
model: {{base: {{architecture: mean_spectrum}}, method: pretrain}}
"""


def tone(seconds: float = 0.5, rate: int = RATE, hertz: float = 440.0, loud: float = 0.3) -> np.ndarray[Any, Any]:
    return loud * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def wav(samples: np.ndarray[Any, Any], rate: int = RATE, **options: Any) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=options.pop("format", "WAV"), **options)
    return file.getvalue()


def png() -> bytes:
    file = io.BytesIO()
    Image.new("L", (8, 8)).save(file, "PNG")
    return file.getvalue()


NOISE = 0.1 * np.random.default_rng(0).standard_normal(RATE)
WHOLE = wav(NOISE)
FAULTS = {  # of one file each -> bytes, and words of the reason
    "undecodable": (b"RIFF" + bytes(range(256)) * 4, "not a sound that can be decoded"),
    "empty": (b"", "an empty file"),
    "picture": (png(), "not a sound that can be decoded"),
    "text": (b"this is no sound\n" * 40, "not a sound that can be decoded"),
    "silent": (wav(np.zeros(RATE)), "silent"),
    "constant": (wav(np.full(RATE, 0.25)), "silent"),
    "nearly silent": (wav(tone(loud=1e-4), subtype="PCM_24"), "silent"),
    "clipped": (wav(np.clip(20 * NOISE, -1, 1)), "clipped"),
    "other rate": (wav(tone(rate=22050), 22050), "its rate is 22050, and nearly all have 8000"),
    "too short": (wav(tone(seconds=0.03)), "too short"),
    "too long": (wav(np.tile(NOISE, MAX_SECONDS + 1)), f"at most {MAX_SECONDS} s"),
    "a rate that nobody records": (wav(NOISE, 2_000_000_011), "2,000,000,011 samples a second"),
    "a rate of nearly none": (wav(NOISE[:50], 7), "7 samples a second"),
    "cut off": (WHOLE[: len(WHOLE) // 2], "cut off"),
    "cut at its head": (WHOLE[:44], "cut off"),
    "no samples": (wav(np.zeros(0)), "without samples"),
    "cut flac": (wav(NOISE, format="FLAC")[:4000], "not a sound"),
}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("sounds") / "workspace"
    root.mkdir()
    copy_code(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        yield root


def judged(root: Path, files: dict[str, bytes], options: str = "") -> dict[str, str]:
    """What validate says of each file that it sets aside, by the file's take."""
    workspace = Workspace(root, {})
    for file in root.glob("sounds/*"):
        file.unlink()
    for at in range(CLEAN):
        path = workspace.path("sounds", f"{'ab'[at % 2]}_{at}.wav")
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(wav(tone(hertz=300 + 10 * at)))
    for name, content in files.items():
        workspace.path("sounds", f"a_{name}.wav").write_bytes(content)
    workspace.write("recipes/tiny.yaml", RECIPE.format(options=options))
    workspace.write("recipes/tiny.lock", "source: {kind: path}\nbases: {}\nreference: null\n")
    workspace.live(recipes={"tiny": {"task": "audio_classification", "watch": "recipes/tiny.yaml"}})
    for stage in (settings, collect, validate):
        stage.run(Root(root).job("recipe", "tiny"))
    rows = pq.read_table(Root(root).job("recipe", "tiny").folder / "validated" / "quarantine.parquet").to_pylist()
    return {row["take"]: row["reason"] for row in rows}


def test_every_fault_is_caught_and_no_clean_sound_is(root: Path) -> None:
    reasons = judged(root, {name: content for name, (content, _) in FAULTS.items()})
    assert reasons.keys() == FAULTS.keys()
    assert [name for name, (_, words) in FAULTS.items() if words not in reasons[name]] == []


def test_a_rate_below_the_recipes_is_a_fault_and_a_higher_one_is_resampled(root: Path) -> None:
    files = {"low": wav(tone(rate=4000), 4000), "high": wav(tone(rate=44100), 44100)}
    reasons = judged(root, files, "sample_rate: 8000")
    assert reasons.keys() == {"low"}
    assert "its rate is 4000, below the 8,000 that the recipe asks" in reasons["low"]


def test_a_mixture_of_rates_is_no_fault(root: Path) -> None:
    assert judged(root, {str(rate): wav(tone(rate=rate), rate) for rate in (11025, 16000, 22050, 44100)}) == {}


def test_what_is_measured_of_a_file(tmp_path: Path) -> None:
    """A square wave between full scale and zero: half its samples are clipped, its deviation is half of full scale."""
    square = np.tile([1.0, 1.0, 0.0, 0.0], 2000)
    media = wav(np.stack([square, square], axis=1), 16000)
    kept = keep(media, "ab" * 32, tmp_path, holds="audio")
    assert kept.measures == {
        "bytes": len(media), "seconds": 0.5, "rate": 16000, "channels": 2, "level": pytest.approx(0.5, abs=1e-4),
        "clipped": 0.5,
    }  # fmt: skip
    assert kept.measures.keys() == MEASURED["audio"].keys()
    assert (kept.path, kept.fault) == (f"media/ab/{'ab' * 32}.wav", None)
    assert (tmp_path / kept.path).read_bytes() == media


def test_few_bytes_that_are_many_samples_are_not_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Silence in eight channels takes next to nothing as FLAC: its head says how much it would be."""
    monkeypatch.setattr(sound_decoding, "_MAX_SAMPLES", 8 * RATE - 1)
    with pytest.raises(NoSound, match="64,000 samples in 8 channels; at most 63,999"):
        decoded_sound(wav(np.zeros((RATE, 8)), format="FLAC"))


@pytest.mark.parametrize("format", ["WAV", "FLAC", "OGG", "MP3", "AIFF"])
def test_formats_say_the_same_tone(format: str) -> None:
    """The loudest frequency of what is read is that of what was written."""
    sound = decoded_sound(wav(tone(1.0, 16000), 16000, format=format))
    assert sound.rate == 16000
    spectrum = np.abs(np.fft.rfft(sound.samples[:16000]))
    assert spectrum.argmax() * 16000 / len(sound.samples[:16000]) == pytest.approx(440, abs=2)


def test_channels_become_their_mean() -> None:
    left, right = tone(), tone(hertz=700)
    samples = decoded_sound(wav(np.stack([left, right], axis=1), subtype="FLOAT")).samples
    np.testing.assert_allclose(samples, (left + right) / 2, atol=1e-6)


def test_resampling_keeps_a_tone_and_drops_what_the_new_rate_has_no_room_for() -> None:
    """Against the tone itself at the new rate; 7 kHz would come back as 1 kHz at 8,000 samples a second."""
    sound = decoded_sound(wav(tone(1.0, 44100), 44100, subtype="FLOAT"))
    found, expected = resampled(sound, RATE), tone(1.0)
    np.testing.assert_allclose(found[400:-400], expected[400 : len(found) - 400], atol=5e-3)
    high = decoded_sound(wav(tone(1.0, 44100, hertz=7000), 44100, subtype="FLOAT"))
    assert np.abs(resampled(high, RATE)[400:-400]).max() < 0.01


def test_the_spectrogram_is_that_of_asts_extractor(tmp_path: Path) -> None:
    """transformers' own, with its own mean, deviation and padding."""
    samples = (0.1 * np.random.default_rng(1).standard_normal(16000)).astype(np.float32)
    soundfile.write(tmp_path / "noise.wav", samples, 16000, subtype="FLOAT")
    extractor = ASTFeatureExtractor(max_length=120)
    expected = extractor(samples, sampling_rate=16000, return_tensors="np")["input_values"][0]
    hearing = Hearing("spectrogram", 16000, 5.0, 128, 120, extractor.mean, 2 * extractor.std)
    (found,) = heard(["noise.wav"], tmp_path, hearing)
    assert found.shape == (98, 128)
    np.testing.assert_allclose(found, expected[:98], atol=1e-4)
    np.testing.assert_allclose(expected[98:], hearing.padding, atol=1e-4)


def test_a_sound_shorter_than_a_window_is_one_window() -> None:
    assert log_mel(np.ones(50, np.float32), RATE, 40).shape == (1, 40)


def test_of_a_long_sound_the_beginning_is_heard(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "one.wav", NOISE, RATE)
    soundfile.write(tmp_path / "half.wav", NOISE[: RATE // 2], RATE)
    one, half = heard(["one.wav", "half.wav"], tmp_path, Hearing("spectrogram", RATE, 0.5))
    np.testing.assert_array_equal(one, half)


@pytest.mark.parametrize("content", [b"", b"no sound", WHOLE[:9000]], ids=["empty", "text", "cut"])
def test_what_is_no_sound_is_refused_where_it_is_asked_about(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "input 1").write_bytes(content)
    with pytest.raises(BadRequest, match="input 1: cannot be heard: "):
        heard(["input 1"], tmp_path, Hearing("spectrogram", RATE, 1.0))


def test_a_stream_whose_writer_did_not_know_its_length_is_read() -> None:
    """ffmpeg writes the largest size into a head that it cannot go back to."""
    stream = bytearray(WHOLE)
    stream[4:8] = stream[40:44] = b"\xff\xff\xff\xff"
    assert decoded_sound(bytes(stream)).seconds == 1.0


def test_foreign_formats_are_refused() -> None:
    with pytest.raises(NoSound, match="format VOC"):
        decoded_sound(wav(NOISE, format="VOC"))
