"""The ONNX variant of a version: exported and equal, and who answers when something about it is not as it should be."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from core.atomic_files import sha256_file, write_json
from core.errors import HeadraceError
from core.schema.model import Architecture, Model
from core.tables.task import Base, Exportable
from core.workspace import Workspace
from flows.lineage import trace
from pipelines.register.onnx_export import compared, timed
from pipelines.tasks import find_task
from registry.store import signing, versions
from registry.store.connection import connect, exclusive
from registry.store.signing import BUNDLE
from registry.store.versions import EVIDENCE_HASH, Version
from registry.version import predict, register_version
from registry.version.onnx_choice import CLOSE, GRAPH, SECTION, chosen, exchanged, unfit
from registry.version.onnx_graph import export, opened, place, providers
from registry.version.version_lineage import Node
from serving.models.champions import Champions
from tests.places import a_learner, a_place, learnt
from tests.small_model import TEXTS, candidate, make_small_adapters, make_small_model, trusting

FAST = {"latency_p50_ms": 2.0, "latency_p95_ms": 3.0, "throughput_rows_per_s": 900.0}
SLOW = {"latency_p50_ms": 4.0, "latency_p95_ms": 5.0, "throughput_rows_per_s": 700.0}
LONG = [*TEXTS, "dull", "a film " * 40, ""]  # other lengths, and more rows, than those that were exported with
TEXT_ROWS = pd.DataFrame({"text": LONG})


def make_small_pictures(folder: Path) -> tuple[Path, pd.DataFrame]:
    """An untrained network for 8 x 8 pictures, as `train` would save it, and rows for it."""
    task, random = find_task("image_classification"), np.random.default_rng(4)
    rows = pd.DataFrame(
        [{"path": f"{n}.png", "label": "ab"[n % 2], "width": 8, "height": 8, "mode": "L"} for n in range(6)]
    )
    (folder / "encoder").mkdir(parents=True)
    (folder / "model").mkdir()
    for path in rows["path"]:
        Image.fromarray(random.integers(0, 255, (8, 8), dtype=np.uint8)).save(folder / path)
    settings = {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"}
    base = Base(Architecture(architecture="resnet", settings=settings), None, None)
    options = task.Preprocess.model_validate({})
    task.prepare([rows], options, a_place(folder / "encoder", base=base, media=folder))
    module = a_learner(
        task, Model(base=base.reference, method="pretrain"), a_place(folder / "encoder", base=base)
    ).module
    task.save(learnt(module), a_place(folder / "encoder"), into=folder / "model")
    return folder / "model", rows


def exported(predictor: Any) -> tuple[bytes, Any]:
    """The graph of a predictor, and one that asks it."""
    interface = predictor.interface()
    graph = export(predictor.module, interface)
    return graph, exchanged(predictor, opened(graph, predictor.module.state_dict(), interface.outputs))


def assert_equal(one: Any, other: Any, rows: pd.DataFrame, media: Path | None = None) -> None:
    for part in (rows, rows[:1]):
        said = other.predict(part, media)
        told = compared(one, said, one.predict(part, media))
        assert (told["rows"], told["answers_differ"]) == (len(part), 0)
        assert told["max_difference"] <= 1e-6


@pytest.mark.slow
def test_adapters_are_exported_without_any_weights(tmp_path: Path) -> None:
    """So one graph serves both methods: what it is opened with decides."""
    task = find_task("text_classification")
    adapted, headed = (
        task.load(make_small_adapters(tmp_path / method, method=method)) for method in ("lora", "transfer")
    )
    assert isinstance(headed, Exportable)
    graph, onnx_one = exported(adapted)
    assert_equal(adapted, onnx_one, TEXT_ROWS)
    assert_equal(headed, exchanged(headed, opened(graph, headed.module.state_dict(), ("logits",))), TEXT_ROWS)
    assert len(graph) < 50_000  # the base alone has 100,000 bytes
    assert str(Path(sys.prefix)).encode() not in graph


@pytest.mark.slow
def test_pictures_are_exported(tmp_path: Path) -> None:
    model, rows = make_small_pictures(tmp_path)
    torch_one = find_task("image_classification").load(model)
    _, onnx_one = exported(torch_one)
    assert_equal(torch_one, onnx_one, rows, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("bert", {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}),
        ("lstm", {"hidden_size": 16, "embedding_size": 8, "num_layers": 2}),
    ],
)
def test_what_tags_words_is_exported(tmp_path: Path, name: str, settings: dict[str, Any]) -> None:
    task, base = find_task("token_classification"), Base(Architecture(architecture=name, settings=settings), None, None)
    at = a_place(tmp_path / "encoder", base=base)
    at.folder.mkdir()
    rows = TEXT_ROWS.assign(spans='[{"start":0,"end":1,"label":"a"}]')
    task.prepare([rows], task.Preprocess.model_validate({"max_tokens": 24, "vocabulary": 300}), at)
    (tmp_path / "model").mkdir()
    task.save(a_learner(task, Model(base=base.reference, method="pretrain"), at), at, into=tmp_path / "model")
    torch_one = task.load(tmp_path / "model")
    _, onnx_one = exported(torch_one)
    assert_equal(torch_one, onnx_one, TEXT_ROWS)


def test_spans_that_differ_in_their_scores_alone_are_the_same_answer() -> None:
    class Spans:
        def answers(self, predictions: Mapping[str, Any]) -> pd.DataFrame:
            return pd.DataFrame(
                {"spans": [[{"label": "a", "end": 3, "confidence": sure}] for sure in predictions["sure"]]}
            )

    said, expected = {"sure": np.array([0.5, 0.25])}, {"sure": np.array([0.5, 0.25005])}
    assert compared(Spans(), said, expected)["answers_differ"] == 0  # type: ignore[arg-type]


def test_a_row_that_is_answered_otherwise_is_counted() -> None:
    class Signs:
        def answers(self, predictions: Mapping[str, Any]) -> pd.DataFrame:
            return pd.DataFrame({"label": predictions["score"] > 0, "confidence": predictions["score"]})

    expected = {"score": np.array([0.5, -0.25, 0.125])}
    told = compared(Signs(), {"score": np.array([0.5, 0.25, 0.125])}, expected)  # type: ignore[arg-type]
    assert told == {"rows": 3, "max_difference": 0.5, "answers_differ": 1}
    assert "error" in compared(Signs(), {"score": np.array([0.5, np.nan, 0.1])}, expected)  # type: ignore[arg-type]


def test_both_engines_are_timed_alone_and_together() -> None:
    rows, sizes = TEXT_ROWS, []
    told = timed({"torch": lambda asked: sizes.append(len(asked)), "onnx": len}, rows)
    assert set(sizes) == {1, len(LONG)}
    assert told["onnx"].keys() == told["torch"].keys() == FAST.keys()


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    """A small model, its graph compared with it."""
    model = make_small_model(tmp_path_factory.mktemp("model"))
    torch_one = find_task("text_classification").load(model)
    made, onnx_one = exported(torch_one)
    assert isinstance(torch_one, Exportable)
    assert_equal(torch_one, onnx_one, TEXT_ROWS)
    return model, made


def sound(made: bytes, **other: Any) -> dict[str, Any]:
    """The evidence of a variant that may answer."""
    return {
        "sha256": hashlib.sha256(made).hexdigest(),
        "rows": 200,
        "max_difference": 1e-7,
        "answers_differ": 0,
        "timing": {"torch": SLOW, "onnx": FAST},
        "place": place(),
        **other,
    }


@pytest.fixture(scope="module")
def var(graph: tuple[Path, bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with films/1, the champion, whose variant may answer. Who alters it puts it right again."""
    model, made = graph
    folder = tmp_path_factory.mktemp("variant")
    write(folder / "evidence" / GRAPH, made)
    about = {"name": "films", "model_hash": candidate(model, folder / "evidence").model_hash}
    write_json(folder / "evidence" / BUNDLE, {"model": about, SECTION: sound(made)})
    tags = {EVIDENCE_HASH: sha256_file(folder / "evidence" / BUNDLE)}
    with exclusive(folder / "var"):
        register_version.register(candidate(model, folder / "evidence", tags=tags), folder / "var")
    return folder / "var"


def one(var: Path) -> Version:
    return versions.resolve("films", "1", var)


def write(file: Path, content: bytes) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)


def kept(version: Version, name: str, var: Path) -> Path:
    file = versions.evidence(version, name, var)
    assert file is not None
    return file


@pytest.mark.slow
def test_an_equal_and_faster_variant_answers(var: Path) -> None:
    version = one(var)
    loaded = predict.load_version(version, var)
    assert (loaded.engine, loaded.remark) == ("onnx", None)
    predictor = find_task("text_classification").load(versions.packed_folder(version, var) / versions.MODEL_FILES)
    expected = predictor.answers(predictor.predict(TEXT_ROWS))
    said = pd.DataFrame(loaded.answer(LONG, local_files=False).rows)
    assert said["label"].tolist() == expected["label"].tolist()
    np.testing.assert_allclose(said["confidence"], expected["confidence"], atol=CLOSE)
    lines: list[str] = []
    champions = Champions(var, trusting, [], lines.append)
    champions.look()
    assert lines == ["films: version 1 answers by ONNX"]
    assert champions.serving["films"].loaded.engine == "onnx"


def alter_graph(version: Version, var: Path) -> None:
    """One bit of the graph."""
    file = kept(version, GRAPH, var)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def alter_both(version: Version, var: Path) -> None:
    """The graph, and what the evidence says of it."""
    alter_graph(version, var)
    bundle = kept(version, BUNDLE, var)
    told = json.loads(bundle.read_bytes())
    told[SECTION]["sha256"] = hashlib.sha256(kept(version, GRAPH, var).read_bytes()).hexdigest()
    write_json(bundle, told)


def remove_graph(version: Version, var: Path) -> None:
    kept(version, GRAPH, var).unlink()


def tear_evidence(version: Version, var: Path) -> None:
    bundle = kept(version, BUNDLE, var)
    bundle.write_bytes(bundle.read_bytes()[:100])


def of_another(version: Version, var: Path) -> None:
    """Evidence of another model, its hash written into the version's tags."""
    bundle = kept(version, BUNDLE, var)
    told = json.loads(bundle.read_bytes())
    write_json(bundle, {**told, "model": {"name": "films", "model_hash": "0" * 64}})
    digest = hashlib.sha256(bundle.read_bytes()).hexdigest()
    connect(var).set_model_version_tag("films", version.version, EVIDENCE_HASH, digest)


ALTERED = {
    alter_graph: "model.onnx was altered",
    alter_both: "its evidence was edited",
    remove_graph: "onnx/model.onnx is missing",
    tear_evidence: "its evidence cannot be read",
    of_another: "its evidence is that of another version",
}


@pytest.mark.slow
def test_what_was_tampered_with_never_answers(var: Path, tmp_path: Path) -> None:
    version = one(var)
    for alter, why in ALTERED.items():
        shutil.copytree(folder := kept(version, BUNDLE, var).parent, tmp_path / "copy")
        alter(version, var)
        loaded = predict.load_version(one(var), var)
        assert loaded.engine == "torch", alter
        assert why in str(loaded.remark)
        assert len(loaded.answer(TEXTS, local_files=False).rows) == len(TEXTS)
        shutil.rmtree(folder)
        shutil.move(tmp_path / "copy", folder)
    connect(var).set_model_version_tag("films", "1", EVIDENCE_HASH, version.tags[EVIDENCE_HASH])
    assert predict.load_version(one(var), var).engine == "onnx"


@pytest.mark.slow
def test_lineage_hashes_the_graph_too(var: Path) -> None:
    version = one(var)
    kept_with = trace._Kept(Workspace(var.parent), version)
    node = Node("evidence", "evidence", "evidence.json", version.tags[EVIDENCE_HASH])
    assert (kept_with.look(node) or ("", ""))[0] == "verified"
    alter_graph(version, var)
    state, why = kept_with.look(node) or ("", "")
    alter_graph(version, var)
    assert (state, "onnx/model.onnx is" in why) == ("mismatch", True)


@pytest.mark.slow
def test_without_onnxruntime_or_a_trusted_signature_pytorch_answers(var: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    version = one(var)
    predictor = find_task("text_classification").load(versions.packed_folder(version, var) / versions.MODEL_FILES)
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "onnxruntime", None)
        choice = chosen(version, predictor, var)
        assert choice.predictor is predictor
        assert "onnxruntime is not installed" in str(choice.remark)
    with monkeypatch.context() as patch:
        patch.setattr(signing, "trusted_keys", lambda: [signing.PublicKey(b"a key")])
        choice = chosen(version, predictor, var)
        assert choice.predictor is predictor
        assert "it is not signed" in str(choice.remark)


@pytest.mark.parametrize(
    ("other", "why"),
    [
        ({"answers_differ": 1}, "of 200 test rows it answers 1 otherwise"),
        ({"max_difference": 2 * CLOSE}, "scores differ by up to 0.0002"),
        ({"max_difference": float("nan")}, "scores differ by up to nan"),
        ({"max_difference": None}, "cannot be read"),
        ({"rows": 0}, "of 0 test rows"),
        ({"timing": {"torch": FAST, "onnx": SLOW}}, "it is not faster"),
        ({"timing": {"torch": FAST, "onnx": FAST}}, "it is not faster"),
        ({"timing": {"torch": SLOW, "onnx": {**FAST, "throughput_rows_per_s": 600.0}}}, "it is not faster"),
        ({"timing": {}}, "cannot be read"),
        ({"place": {"device": "cuda", "providers": ["CUDAExecutionProvider"]}}, "it was timed on cuda"),
        ({"error": "no such operator"}, "there is none: no such operator"),
    ],
)
def test_only_equal_and_faster_is_fit(other: Mapping[str, Any], why: str) -> None:
    assert unfit(sound(b""), place()) is None
    assert why in str(unfit(sound(b"", **other), place()))


def test_a_graph_that_does_not_fit_is_refused(graph: tuple[Path, bytes]) -> None:
    model, made = graph
    module: Any = find_task("text_classification").load(model)
    weights = module.module.state_dict()
    assert providers()[-1] == "CPUExecutionProvider"
    with pytest.raises(HeadraceError, match="which the model has not"):
        opened(made, {}, ("logits",))
    with pytest.raises(HeadraceError, match="does not open the graph"):
        opened(made, {name: value.reshape(-1)[:1] for name, value in weights.items()}, ("logits",))
