"""Named entities by every method on small encoders: what is trained, kept and answered; an LSTM, and a dictionary."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModel, BertConfig, BertModel

from core.cells.spans import Span, of_tags, written
from core.errors import BadData, BadRequest
from core.manifest import write_manifest
from core.schema.model import Architecture, Lora, Method, Model
from core.tables.learner import TorchLearner
from core.tables.task import Base, Place, Task
from core.weights.base_store import FOLDER, seal
from core.weights.safety import check_weights
from pipelines.tasks import find_task
from pipelines.tasks.parts import recurrent, tokens
from pipelines.tasks.parts.encoder import pad_tokens
from pipelines.tasks.parts.entities.entity_dictionary import EntityDictionary
from pipelines.tasks.parts.entities.token_windows import NO_TAG
from pipelines.tasks.text.token_classification import SpanPredictor
from pipelines.train.batches import EncodedRows
from tests.conftest import ROOT
from tests.places import a_place

SMALL = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64,
    "max_position_embeddings": 40, "vocab_size": 320,
}  # fmt: skip
NAMES, PLACES = ["Ann", "Bo", "Cy Twombly", "Dee"], ["Rome", "New York", "Oslo"]
LSTM = Architecture(architecture="lstm", settings={"hidden_size": 32, "embedding_size": 16, "num_layers": 2})
BERT = Architecture(architecture="bert", settings={key: value for key, value in SMALL.items() if key != "vocab_size"})
DICTIONARY = Architecture(architecture="dictionary")


def sentences(count: int) -> pd.DataFrame:
    """Who goes where: every word says by itself what it is."""
    made = []
    for at in range(count):
        name, place = NAMES[at % len(NAMES)].split(), PLACES[at % len(PLACES)].split()
        words = [*name, "goes", "to", *place, *["slowly"] * (at % 3), "."]
        tags = ["B-per", *["I-per"] * (len(name) - 1), "O", "O", "B-loc", *["I-loc"] * (len(place) - 1)]
        text, spans = of_tags(words, [*tags, *["O"] * (at % 3 + 1)])
        made.append({"row_id": f"r{at}", "text": text, "spans": written(spans)})
    return pd.DataFrame(made)


ROWS = sentences(24)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    """A small BERT as save_pretrained() writes it, with a tokenizer."""
    folder = tmp_path_factory.mktemp("base")
    tokens.learn(ROWS["text"].tolist(), folder, size=320)
    torch.manual_seed(1)
    BertModel(BertConfig(**SMALL)).save_pretrained(folder)
    return Base("./base", folder, "0" * 64)


@pytest.fixture
def task() -> Task:
    return find_task("token_classification")


def prepared(task: Task, base: Base, folder: Path, **options: int) -> Place:
    folder.mkdir(parents=True, exist_ok=True)
    at = a_place(folder, base=base, cache=folder.parent / "cache")
    given = task.Preprocess.model_validate({"max_tokens": 32, "vocabulary": 320, **options})
    task.prepare([ROWS[:10], ROWS[10:]], given, at)
    return at


def learner_of(task: Task, at: Place, method: Method, **settings: Any) -> TorchLearner:
    learner = task.learner(Model(base=at.base.reference, method=method, **settings), at)
    assert isinstance(learner, TorchLearner)
    return learner


def overfitted(learner: TorchLearner, table: pa.Table, *, steps: int = 120, rate: float = 1e-2) -> float:
    """Train on one batch of all rows; returns the last loss."""
    torch.set_num_threads(1)
    rows = EncodedRows(learner.features(table))
    batch = learner.collate(rows.__getitems__(range(len(rows))))
    optimizer = torch.optim.Adam([each for each in learner.module.parameters() if each.requires_grad], lr=rate)
    learner.module.train()
    for _ in range(steps):
        optimizer.zero_grad()
        loss = learner.module(**batch).loss
        loss.backward()
        optimizer.step()
    return float(loss)


def f1(task: Task, said: Any) -> float:
    measured = task.measure({**said, "spans": ROWS["spans"].to_numpy(dtype=object)})
    return task.score(measured, np.ones(len(ROWS)))["f1"]


def saved(task: Task, learner: Any, at: Place, folder: Path) -> Path:
    folder.mkdir()
    task.save(learner, at, into=folder)
    return folder


def saved_apart(task: Task, learner: Any, at: Place, folder: Path) -> Path:
    """As `train` saves a model: what was not trained beside it, in a folder of its own."""
    for name in (FOLDER, "model"):
        (folder / name).mkdir(parents=True)
    task.save(learner, at, into=folder / "model", base=folder / FOLDER)
    seal(folder / FOLDER, folder / "model", reference="./base", sha256="0" * 64)
    write_manifest(folder / "model", {})
    return folder / "model"


def test_importing_the_task_loads_nothing_heavy() -> None:
    heavy = ("torch", "transformers", "sklearn", "peft", "pandas", "tokenizers")
    code = f"import sys, pipelines.tasks.text.token_classification; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_words_first_token_has_its_tag_and_a_long_text_several_rows(task: Task, base: Base, tmp_path: Path) -> None:
    at = prepared(task, base, tmp_path / "encoder")
    table = task.encode(ROWS[:2], at)
    assert table["of"].to_pylist() == [0, 1]
    tags = [tag for tag in table["labels"][0].as_py() if tag != NO_TAG]
    assert tags == [3, 0, 0, 1, 0], "labels by name: B-loc 1, I-loc 2, B-per 3, I-per 4"
    assert table["length"].to_pylist() == [len(ids) for ids in table["input_ids"].to_pylist()]
    long = pd.DataFrame([{"row_id": "long", "text": " ".join(ROWS["text"]), "spans": "[]"}, dict(ROWS.iloc[0])])
    parts = task.encode(long, at)["of"].to_pylist()
    assert len(parts) > 5 and parts == [0] * (len(parts) - 1) + [1]


@pytest.mark.parametrize("method", ["full", "lora", "transfer", "pretrain"])
def test_what_a_method_trains(task: Task, base: Base, tmp_path: Path, method: Method) -> None:
    at = prepared(task, base if method != "pretrain" else Base(BERT, None, None), tmp_path)
    module = learner_of(task, at, method).module
    trained = {name for name, parameter in module.named_parameters() if parameter.requires_grad}
    assert any(name.startswith("head.") for name in trained), "the fresh head always learns"
    inner = {name for name in trained if name.startswith("encoder.")}
    if method in ("full", "pretrain"):
        assert inner == {name for name, _ in module.named_parameters() if name.startswith("encoder.")}
    else:
        assert bool(inner) == (method == "lora")
        assert all("lora_" in name for name in inner)


@pytest.mark.parametrize(
    ("method", "architecture"),
    [("full", None), ("lora", None), ("transfer", None), ("pretrain", BERT), ("pretrain", LSTM)],
)
def test_one_batch_is_overfitted_and_the_saved_model_says_so(
    task: Task, base: Base, tmp_path: Path, method: Method, architecture: Architecture | None
) -> None:
    at = prepared(task, Base(architecture, None, None) if architecture else base, tmp_path / "encoder")
    settings = {"lora": Lora(rank=8, alpha=32.0)} if method == "lora" else {}
    learner = learner_of(task, at, method, **settings)
    assert overfitted(learner, task.encode(ROWS, at)) < 0.1
    whole = task.load(saved(task, learner, at, tmp_path / "whole")).predict(ROWS)
    assert f1(task, whole) == 1.0
    apart = task.load(saved_apart(task, learner, at, tmp_path / "apart"))
    assert isinstance(apart, SpanPredictor)
    assert apart.predict(ROWS)["predicted"].tolist() == whole["predicted"].tolist()
    check_weights(tmp_path / "whole", "the model")
    again = saved(task, learner, at, tmp_path / "again")
    assert (again / "model.safetensors").read_bytes() == (tmp_path / "whole/model.safetensors").read_bytes()


def test_a_long_text_is_answered_to_its_end(task: Task, base: Base, tmp_path: Path) -> None:
    """Windows of 32 tokens: what a model knows of short texts it finds everywhere in one of a thousand words."""
    at = prepared(task, base, tmp_path / "encoder")
    learner = learner_of(task, at, "full")
    overfitted(learner, task.encode(ROWS, at))
    predictor = task.load(saved(task, learner, at, tmp_path / "model"))
    text = " ".join(ROWS["text"].tolist() * 5)
    said = predictor.answers(predictor.predict(pd.DataFrame({"text": [text, "Bo goes to Oslo .", ""]})))["spans"]
    found = {(span["text"], span["label"]) for span in said[0]}
    assert {(name, "per") for name in NAMES} | {(place, "loc") for place in PLACES} <= found
    assert said[0][-1]["start"] > len(text) - 40
    assert all(text[span["start"] : span["end"]] == span["text"] and 0 < span["confidence"] <= 1 for span in said[0])
    assert [span["text"] for span in said[1]] == ["Bo", "Oslo"]
    assert said[2] == []


def test_a_text_is_answered_alone_as_among_others(task: Task, tmp_path: Path) -> None:
    """The LSTM that runs backwards never sees the padding."""
    at = prepared(task, Base(LSTM, None, None), tmp_path / "encoder")
    model = task.load(saved(task, learner_of(task, at, "pretrain"), at, tmp_path / "model"))
    assert isinstance(model, SpanPredictor)
    batch = pad_tokens([[5, 6, 7, 8, 9, 10], [5, 6, 7]], 0)
    alone = pad_tokens([[5, 6, 7]], 0)
    with torch.inference_mode():
        among, single = model.module(**batch).logits[1, :3], model.module(**alone).logits[0]
    torch.testing.assert_close(among, single, atol=1e-6, rtol=0)


@pytest.mark.parametrize(("name", "cell"), [("lstm", nn.LSTM), ("gru", nn.GRU), ("rnn", nn.RNN)])
def test_a_recurrent_encoder_is_two_networks_of_torch(
    name: str, cell: Callable[..., nn.RNNBase], tmp_path: Path
) -> None:
    """Against torch's bidirectional network on a packed batch, with the same weights."""
    recurrent.register()
    config = AutoConfig.for_model(name, vocab_size=30, hidden_size=12, num_layers=1, embedding_size=5)
    ours = AutoModel.from_config(config).eval()
    theirs = cell(5, 6, batch_first=True, bidirectional=True)
    theirs.load_state_dict(
        ours.along[0].state_dict() | {f"{name}_reverse": value for name, value in ours.against[0].state_dict().items()}
    )
    batch = pad_tokens([[3, 4, 5, 6], [7, 8]], 0)
    with torch.inference_mode():
        hidden = ours(**batch).last_hidden_state
        lengths = batch["attention_mask"].sum(dim=1)
        packed = nn.utils.rnn.pack_padded_sequence(ours.embeddings(batch["input_ids"]), lengths, batch_first=True)
        expected, _ = nn.utils.rnn.pad_packed_sequence(theirs(packed)[0], batch_first=True)
    torch.testing.assert_close(hidden[0], expected[0])
    torch.testing.assert_close(hidden[1, :2], expected[1, :2])
    ours.save_pretrained(tmp_path)
    again = AutoModel.from_pretrained(tmp_path).eval()
    with torch.inference_mode():
        torch.testing.assert_close(again(**batch).last_hidden_state, hidden)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hidden_size": 7}, "hidden_size must be even"),
        ({"layers": 2}, "model.base.settings.layers: lstm has no such setting"),
        ({"num_layers": 0}, "at least 1"),
    ],
)
def test_settings_of_the_lstm_that_cannot_be(task: Task, tmp_path: Path, settings: Any, message: str) -> None:
    with pytest.raises(BadRequest, match=message):
        prepared(task, Base(Architecture(architecture="lstm", settings=settings), None, None), tmp_path)


def test_a_frozen_base_is_asked_once(task: Task, base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at = prepared(task, base, tmp_path / "encoder")
    learner = learner_of(task, at, "transfer")
    table = task.encode(ROWS, at)
    first = learner.features(table)
    assert {"features", "labels", "length"} <= set(first.column_names)
    monkeypatch.setattr(learner.module, "vectors", None)
    again = learner.features(table)
    assert again.equals(first)
    words = [len([tag for tag in tags if tag != NO_TAG]) for tags in table["labels"].to_pylist()]
    assert first["length"].to_pylist() == words
    assert [len(row) for row in first["features"].to_pylist()] == [32 * count for count in words]


def test_a_window_without_a_word_teaches_nothing(task: Task, base: Base, tmp_path: Path) -> None:
    at = prepared(task, base, tmp_path / "encoder")
    empty = pd.DataFrame([{"row_id": "a", "text": "", "spans": "[]"}])
    full = learner_of(task, at, "full")
    rows = EncodedRows(full.features(task.encode(empty, at)))
    assert float(full.module(**full.collate(rows.__getitems__([0]))).loss) == 0.0
    frozen = learner_of(task, at, "transfer")
    assert len(frozen.features(task.encode(pd.concat([empty, ROWS[:2]], ignore_index=True), at))) == 2


def test_training_reports_the_share_of_texts_that_are_right(task: Task, base: Base, tmp_path: Path) -> None:
    at = prepared(task, base, tmp_path / "encoder")
    learner = learner_of(task, at, "full")
    table = task.encode(ROWS, at)
    overfitted(learner, table)
    rows = EncodedRows(table)
    batch = learner.collate(rows.__getitems__(range(len(rows))))
    assert learner.watch is not None
    assert int(learner.watch(learner.module.eval()(**batch), batch)["exact"]) == len(ROWS)


def test_how_the_module_is_called_for_another_runtime(task: Task, base: Base, tmp_path: Path) -> None:
    at = prepared(task, base, tmp_path / "encoder")
    predictor = task.load(saved(task, learner_of(task, at, "full"), at, tmp_path / "model"))
    assert isinstance(predictor, SpanPredictor)
    interface = predictor.interface()
    said = predictor.module(**interface.inputs)
    assert said.logits.shape == (2, 3, 5)
    assert interface.outputs == ("logits",)


def test_baselines_are_nothing_and_a_dictionary(task: Task, base: Base, tmp_path: Path) -> None:
    at = prepared(task, base, tmp_path / "encoder")
    said = task.baselines(ROWS[:4], ROWS, at)
    assert list(said) == ["nothing", "dictionary"]
    assert f1(task, said["nothing"]) == 0.0
    assert f1(task, said["dictionary"]) == 1.0
    assert task.truth(ROWS, at)["spans"].tolist() == ROWS["spans"].tolist()


def test_the_dictionary_can_be_the_model(task: Task, base: Base, tmp_path: Path) -> None:
    at = prepared(task, Base(DICTIONARY, None, None), tmp_path / "encoder")
    learner = task.learner(Model(base=DICTIONARY, method="pretrain"), at)
    assert isinstance(learner, EntityDictionary)
    table = task.encode(ROWS, at)
    assert table.column_names == ["text", "spans"]
    assert learner.fit(table, table.slice(0, 0)) == []
    model = task.load(saved_apart(task, learner, at, tmp_path / "model"))
    assert f1(task, model.predict(ROWS)) == 1.0
    known = json.loads((tmp_path / "model/model/dictionary.json").read_text())
    assert ["cy", "twombly", "per", 1.0] not in known and [["cy", "twombly"], "per", 1.0] in known


@pytest.mark.parametrize("settings", [{"settings": {"words": 3}}, {"tokenizer": "some/model"}])
def test_a_dictionary_has_no_settings(task: Task, tmp_path: Path, settings: Any) -> None:
    with pytest.raises(BadRequest, match="dictionary has no settings and no tokenizer"):
        prepared(task, Base(Architecture(architecture="dictionary", **settings), None, None), tmp_path)


def test_there_must_be_something_to_find(task: Task, base: Base, tmp_path: Path) -> None:
    rows = pd.DataFrame({"text": ["nobody", "nowhere"], "spans": ["[]", "[]"]})
    with pytest.raises(BadData, match="no training row has a span"):
        task.prepare([rows], task.Preprocess(), a_place(tmp_path, base=base))


def test_a_test_row_may_have_a_label_that_no_training_row_has(task: Task, base: Base, tmp_path: Path) -> None:
    """It cannot be learned, and counts as missed."""
    at = prepared(task, base, tmp_path / "encoder")
    rows = pd.DataFrame([{"row_id": "a", "text": "a lynx", "spans": written([Span(2, 6, "animal")])}])
    assert [tag for tag in task.encode(rows, at)["labels"][0].as_py() if tag != NO_TAG] == [0]
    measured = task.measure({**task.baselines(ROWS, rows, at)["dictionary"], **task.truth(rows, at)})
    assert measured["missed"].tolist() == [[1.0, 0.0]]
