"""Networks that hear, new and from a base, by every method; their ONNX graphs; what does not fit is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import soundfile
import torch

from core.errors import BadRequest
from core.schema.model import Architecture, Method, Model
from core.tables.task import Base, Exportable, Place, Task
from pipelines.tasks import find_task
from pipelines.tasks.parts.headed_encoder import HeadedEncoder
from pipelines.train.batches import EncodedRows
from registry.version import onnx_graph
from registry.version.onnx_choice import exchanged
from tests.places import a_learner, a_place

AST = "audio-spectrogram-transformer"
SMALL: dict[str, dict[str, Any]] = {
    "mel_gru": {"hidden_size": 16, "num_layers": 1},
    AST: {
        "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32,
        "frequency_stride": 16, "time_stride": 16,
    },
    "wav2vec2": {
        "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32,
        "conv_dim": [8, 8], "conv_kernel": [10, 8], "conv_stride": [10, 8], "num_feat_extract_layers": 2,
        "num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2, "feat_extract_norm": "layer",
    },
}  # fmt: skip
SMALL["hubert"] = {**SMALL["wav2vec2"], "feat_extract_norm": "group"}
METHODS: list[Method] = ["full", "lora", "transfer"]


@pytest.fixture
def task() -> Task:
    return find_task("audio_classification")


@pytest.fixture
def sounds(tmp_path: Path) -> pd.DataFrame:
    """16 tones of 0.2 to 0.35 s, as `collect` would list them."""
    rows = []
    for number in range(16):
        seconds = 0.2 + 0.01 * number
        samples = 0.3 * np.sin(2 * np.pi * (300, 1500)[number % 2] * np.arange(int(8000 * seconds)) / 8000)
        soundfile.write(tmp_path / f"{number}.wav", samples, 8000)
        rows.append({"path": f"{number}.wav", "label": "ab"[number % 2], "seconds": len(samples) / 8000, "rate": 8000})
    return pd.DataFrame(rows)


def new(name: str, **settings: Any) -> Base:
    return Base(Architecture(architecture=name, settings={**SMALL.get(name, {}), **settings}), None, None)


def prepared(task: Task, rows: pd.DataFrame, media: Path, base: Base, **options: Any) -> Place:
    folder = media / f"encoder-{len(list(media.iterdir()))}"
    folder.mkdir()
    at = a_place(folder, base=base, media=media, cache=media / "cache")
    task.prepare([rows], task.Preprocess.model_validate(options), at)
    return at


def trained(task: Task, rows: pd.DataFrame, at: Place, method: Method, *, steps: int = 1) -> Any:
    """The learner after so many steps on the first rows, and its batch."""
    fresh = at.base.architecture is not None
    reference = at.base.reference if fresh else "./start"
    learner = a_learner(task, Model.model_validate({"base": reference, "method": method}), at)
    table = learner.features(task.encode(rows, at))
    batch = learner.collate(EncodedRows(table).__getitems__(range(8)))
    parameters = [each for each in learner.module.parameters() if each.requires_grad]
    optimizer = torch.optim.SGD(parameters, lr=0.1)
    for _ in range(steps):
        learner.module(**batch).loss.backward()
        optimizer.step()
    learner.module.eval()
    return learner, table, batch


def saved(task: Task, learner: Any, at: Place, into: Path) -> Path:
    into.mkdir()
    task.save(learner, at, into=into)
    return into


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_a_new_network_is_saved_and_answers_the_same(
    name: str, task: Task, sounds: pd.DataFrame, tmp_path: Path
) -> None:
    """And its ONNX graph, asked about sounds of other lengths than it was exported with, says so too."""
    at = prepared(task, sounds, tmp_path, new(name))
    learner, _, batch = trained(task, sounds, at, "pretrain")
    predictor = task.load(saved(task, learner, at, tmp_path / "model"))
    said = predictor.predict(sounds[:8], tmp_path)["probabilities"]
    if name != "hubert":  # which norms over padding: sounds are answered one by one
        with torch.inference_mode():
            expected = learner.module(**batch).logits.softmax(dim=-1).numpy()
        np.testing.assert_allclose(said, expected, atol=1e-5)
    np.testing.assert_allclose(said[3], predictor.predict(sounds[3:4], tmp_path)["probabilities"][0], atol=1e-5)
    assert isinstance(predictor, Exportable)
    interface = predictor.interface()
    graph = onnx_graph.export(predictor.module, interface)
    session = onnx_graph.opened(graph, predictor.module.state_dict(), interface.outputs)
    np.testing.assert_allclose(
        exchanged(predictor, session).predict(sounds[3:8], tmp_path)["probabilities"], said[3:8], atol=1e-4
    )


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["mel_gru", AST, "wav2vec2"])
def test_a_base_goes_on_by_every_method(
    name: str, method: Method, task: Task, sounds: pd.DataFrame, tmp_path: Path
) -> None:
    """A model of our own is the base: its spectrogram's mean stays, and what should not learn does not."""
    at = prepared(task, sounds, tmp_path, new(name))
    folder = saved(task, trained(task, sounds, at, "pretrain")[0], at, tmp_path / "start")
    shifted = sounds[4:].reset_index(drop=True)
    on = prepared(task, shifted, tmp_path, Base("./start", folder, "0" * 64))
    assert (on.folder / "sound.json").read_text() == (at.folder / "sound.json").read_text()
    if (name, method) == ("mel_gru", "lora"):
        with pytest.raises(BadRequest, match=r"model\.lora\.targets"):
            trained(task, shifted, on, method)
        return
    learner, table, _ = trained(task, shifted, on, method)
    module = learner.module
    assert isinstance(module, HeadedEncoder)
    moved = {part for part, value in module.named_parameters() if value.requires_grad and part.startswith("encoder")}
    assert {"full": bool(moved), "lora": all("lora_" in part for part in moved), "transfer": not moved}[method]
    assert ("features" in table.column_names) == (method == "transfer")
    predictor = task.load(saved(task, learner, on, tmp_path / "model"))
    said = predictor.predict(shifted, tmp_path)["probabilities"]
    assert said.shape == (12, 2)
    np.testing.assert_allclose(said[3], predictor.predict(shifted[3:4], tmp_path)["probabilities"][0], atol=1e-5)


def test_a_base_of_transformers_says_rate_bands_and_mean(task: Task, sounds: pd.DataFrame, tmp_path: Path) -> None:
    """As save_pretrained() writes AST and its extractor."""
    from transformers import ASTConfig, ASTFeatureExtractor, ASTForAudioClassification

    folder = tmp_path / "pretrained"
    ASTForAudioClassification(ASTConfig(**SMALL[AST], max_length=64, num_mel_bins=32)).save_pretrained(folder)
    ASTFeatureExtractor(num_mel_bins=32, max_length=64, mean=-3.0, std=2.0).save_pretrained(folder)
    at = prepared(task, sounds, tmp_path, Base("./pretrained", folder, "0" * 64))
    table = task.encode(sounds[:2], at)
    _, _, batch = trained(task, sounds, at, "full")
    assert batch["input_values"].shape == (8, 64, 32)
    values = np.asarray(table["values"][0].as_py()).reshape(-1, 32)
    extractor = ASTFeatureExtractor(num_mel_bins=32, max_length=64, mean=-3.0, std=2.0)
    samples = soundfile.read(tmp_path / "0.wav", dtype="float32")[0]
    from scipy.signal import resample_poly  # type: ignore[import-untyped]

    expected = extractor(resample_poly(samples, 2, 1), sampling_rate=16000, return_tensors="np")["input_values"][0]
    np.testing.assert_allclose(values, expected[: len(values)], atol=1e-3)


def test_rate_and_length_come_from_the_training_sounds(task: Task, sounds: pd.DataFrame, tmp_path: Path) -> None:
    from pipelines.tasks.parts.sounds import sound_input

    hearing = sound_input.read(prepared(task, sounds, tmp_path, new("mel_gru")).folder)
    assert (hearing.sample_rate, hearing.max_seconds, hearing.mels) == (8000, sounds["seconds"].max(), 40)
    found = np.concatenate(
        [each.ravel() for each in sound_input.spectrograms(sounds["path"].tolist(), tmp_path, hearing)]
    )
    assert hearing.mean == pytest.approx(found.mean(), abs=1e-3)
    assert hearing.deviation == pytest.approx(found.std(), abs=1e-3)


def test_sounds_that_are_heard_in_part_are_counted(
    task: Task, sounds: pd.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    prepared(task, sounds, tmp_path, new("mel_gru"), max_seconds=0.3)
    assert "5 training sounds are longer than 0.3 s" in capsys.readouterr().err


def test_the_baseline_tells_tones_apart(task: Task, sounds: pd.DataFrame, tmp_path: Path) -> None:
    """Two tones have two mean spectra, which a line separates."""
    at = prepared(task, sounds, tmp_path, new("wav2vec2"))
    found = task.baselines(sounds[:12], sounds[12:], at)
    assert list(found) == ["majority", "mean_spectrum"]
    assert found["mean_spectrum"]["probabilities"].argmax(axis=1).tolist() == [0, 1, 0, 1]


@pytest.mark.parametrize(
    ("base", "words"),
    [
        (new("bert"), "bert reads no sounds"),
        (new("mel_gru", num_mel_bins=24), "num_mel_bins is 24"),
        (new("mel_gru", hidden_size=7), "hidden_size must be even"),
        (new("mean_spectrum", mels=3), "mean_spectrum has no settings"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_refused(base: Base, words: str, task: Task, sounds: pd.DataFrame, tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match=words):
        prepared(task, sounds, tmp_path, base)


def test_samples_are_brought_to_unit_variance_for_wav2vec(task: Task, sounds: pd.DataFrame, tmp_path: Path) -> None:
    """As transformers' Wav2Vec2FeatureExtractor does it."""
    from transformers import Wav2Vec2FeatureExtractor

    at = prepared(task, sounds, tmp_path, new("wav2vec2"))
    table: pa.Table = task.encode(sounds[:1], at)
    samples = soundfile.read(tmp_path / "0.wav", dtype="float32")[0]
    extractor = Wav2Vec2FeatureExtractor(sampling_rate=8000)
    expected = extractor(samples, sampling_rate=8000, return_tensors="np")["input_values"][0]
    np.testing.assert_allclose(table["values"][0].as_py(), expected, atol=1e-5)
