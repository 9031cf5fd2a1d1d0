"""Texts from texts: scores, tokens, every kind of model and method, baselines, the faults that the contract tells."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch
from sacrebleu.metrics import BLEU, CHRF

from core.errors import BadData, BadRequest
from core.schema.model import Architecture, Method, Model
from core.tables.task import Base, Place
from core.weights.adapters import HEAD, WEIGHTS
from core.weights.base_store import FOLDER
from core.workspace import Workspace as Root
from pipelines.collect import collect
from pipelines.settings import settings
from pipelines.tasks.parts import tokens
from pipelines.tasks.parts.translation import pair_input, seq2seq, text_scores
from pipelines.tasks.parts.translation.translator import Translator
from pipelines.tasks.text.sequence_to_sequence import SequenceToSequence
from pipelines.train.batches import EncodedRows
from pipelines.validate import validate
from tests.conftest import Workspace, copy_code
from tests.places import a_learner, a_place
from tests.samples.sequence_to_sequence import report_rows
from tests.test_token_classification import saved_apart

TASK = SequenceToSequence()
ROWS = pd.DataFrame(report_rows(48)).assign(row_id=[f"r{at}" for at in range(48)])
HALVES = {
    "d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2, "decoder_attention_heads": 2,
    "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "max_position_embeddings": 64,
}  # fmt: skip
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "t5": {"d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 1, "num_heads": 2},
    "bart": HALVES,
    "marian": HALVES,
    "lstm": {"hidden_size": 32, "embedding_size": 16, "num_layers": 2},
    "gru": {"hidden_size": 32, "embedding_size": 16},
}


def new(architecture: str, **settings: Any) -> Base:
    told = Architecture(architecture=architecture, settings=ARCHITECTURES.get(architecture, {}) | settings)
    return Base(told, None, None)


def prepared(folder: Path, base: Base, rows: pd.DataFrame = ROWS, **options: Any) -> Place:
    folder.mkdir()
    at = a_place(folder, base=base)
    TASK.prepare(
        [rows], pair_input.Options(**{"vocabulary": 400, "max_tokens": 64, "max_target_tokens": 12} | options), at
    )
    return at


def one_step(learner: Any, at: Place) -> float:
    """A step of training on all rows; returns the loss before it."""
    features = EncodedRows(learner.features(TASK.encode(ROWS, at)))
    batch = learner.collate(features.__getitems__(range(len(features))))
    learner.module.train()
    loss = learner.turns[0].loss(learner.module, batch)
    loss.backward()
    torch.optim.AdamW([p for p in learner.module.parameters() if p.requires_grad], lr=1e-2).step()
    return float(loss)


# --- scores ---

TRUE = ["Zentral Singapur", "die Katze saß auf der Matte", "Kirchenslawisch", "", "日本語"]
SAID = ["Zentral-Singapur", "die Katze saß auf der Matte", "Kirchen", "etwas", "日本"]


def test_chrf_and_bleu_are_sacrebleus_with_rows_counted_as_often_as_they_weigh() -> None:
    measured = text_scores.measure(SAID, TRUE)
    for weights in ([1, 1, 1, 1, 1], [3, 0, 2, 1, 4]):
        said, true = (np.repeat(texts, weights).tolist() for texts in (SAID, TRUE))
        found = text_scores.score(measured, np.array(weights, float))
        assert found["chrf"] == pytest.approx(CHRF().corpus_score(said, [true]).score / 100)
        assert found["bleu"] == pytest.approx(BLEU().corpus_score(said, [true]).score / 100)
        assert found["exact_match"] == pytest.approx(np.mean([one == two for one, two in zip(said, true, strict=True)]))
    alone = [CHRF().sentence_score(one, [two]).score / 100 for one, two in zip(SAID, TRUE, strict=True)]
    np.testing.assert_allclose(text_scores.chrf_of(measured["chrf"]), alone)


def test_rouge_l_is_lins() -> None:
    """The sentences of Lin 2004, section 3.1, in which both texts have four words."""
    true = "police killed the gunman"
    assert text_scores.rouge_l("Police kill the gunman.", true) == 0.75
    assert text_scores.rouge_l("the gunman kill police", true) == 0.5
    assert (text_scores.rouge_l("", ""), text_scores.rouge_l("", true)) == (1, 0)


def test_a_text_that_differs_in_blanks_alone_counts_as_right() -> None:
    found = TASK.by_row({"text": np.array(["a b", "x"]), "target": np.array(["ab", "y"])}, {})
    assert found.said == ["ab", "x"] and found.error.tolist() == [0, 1]


# --- tokens ---


def test_a_learnt_tokenizer_gives_every_text_back_and_ends_each(tmp_path: Path) -> None:
    texts = ["Ärger mit %(name)s", "naïve  Zoë", "日本 😀", "ROME", "line\nbreak"]
    for name, order in (("one", texts), ("two", texts[::-1])):
        (tmp_path / name).mkdir()
        tokens.learn_to_write(order, tmp_path / name, size=300)
    tokenizer = tokens.read(tmp_path / "one", max_tokens=99)
    ids = tokens.token_ids(tokenizer, texts)
    assert [tokenizer.decode(each).strip() for each in ids] == texts
    assert {each[-1] for each in ids} == {pair_input.end_id(tokenizer)}
    assert (tmp_path / "one" / tokens.FILE).read_bytes() == (tmp_path / "two" / tokens.FILE).read_bytes()


def test_what_is_too_long_is_cut_and_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    at = prepared(tmp_path / "at", new("lstm"), max_tokens=8, max_target_tokens=3, prefix="sum up: ")
    said = capsys.readouterr().err
    assert "48 training sources have more than 8 tokens: the rest of each is cut off (preprocess.max_tokens)" in said
    assert "48 training targets have more than 3 tokens" in said
    table, tokenizer = TASK.encode(ROWS, at), tokens.read(tmp_path / "at", max_tokens=99)
    end = pair_input.end_id(tokenizer)
    assert {(len(ids), ids[-1] == end) for ids in table["input_ids"].to_pylist()} == {(8, True)}
    assert {(len(ids), end in ids) for ids in table["labels"].to_pylist()} == {(3, False)}
    assert tokenizer.decode(table["input_ids"][0].as_py()).strip().startswith("sum up: Ann"[:6])


def test_targets_that_are_their_sources_teach_nothing(tmp_path: Path) -> None:
    same = ROWS.assign(target=ROWS["source"])
    with pytest.raises(BadData, match="each target is its source"):
        prepared(tmp_path / "at", new("lstm"), same)


# --- models ---


@pytest.mark.parametrize("architecture", sorted(ARCHITECTURES))
def test_every_architecture_learns_is_saved_and_writes_the_same(architecture: str, tmp_path: Path) -> None:
    at = prepared(tmp_path / "at", new(architecture))
    TASK.foresee(
        Model(base=at.base.reference, method="pretrain"),
        pair_input.Options(max_tokens=64, max_target_tokens=12),
        at.base,
    )
    learner = a_learner(TASK, Model(base=at.base.reference, method="pretrain", dropout=0.0), at)
    assert one_step(learner, at) > one_step(learner, at)
    (tmp_path / "model").mkdir()
    TASK.save(learner, at, into=tmp_path / "model")
    before = Translator(learner.module, at.folder).predict(ROWS)
    after = TASK.load(tmp_path / "model").predict(ROWS)
    assert before["text"].tolist() == after["text"].tolist()
    np.testing.assert_allclose(before["confidence"], after["confidence"], atol=1e-6)


def test_padding_changes_nothing_of_what_an_lstm_says(tmp_path: Path) -> None:
    at = prepared(tmp_path / "at", new("lstm"))
    module = a_learner(TASK, Model(base=at.base.reference, method="pretrain"), at).module.eval()
    long, short, labels = list(range(2, 12)), [5, 6, 7], [8, 9, 1]
    row = {"input_ids": short, "labels": labels}
    alone = module(**seq2seq.collate([row], pad=0)).logits[0]
    beside = module(**seq2seq.collate([{"input_ids": long, "labels": [*labels, 1]}, row], pad=0)).logits[1, :3]
    torch.testing.assert_close(alone, beside)


@pytest.mark.parametrize(
    ("base", "options", "message"),
    [
        (new("bert"), {}, "model.base: bert does not write a text from a text. Allowed: t5, bart"),
        (new("bart"), {"max_target_tokens": 65}, "preprocess.max_target_tokens: 65 is more than the 64 positions"),
        (new("bart", encoder_attention_heads=5), {}, "model.base.settings: no bart can be built"),
        (new("lstm", heads=2), {}, "model.base.settings.heads: lstm has no such setting"),
    ],
)
def test_a_base_that_cannot_be_is_refused_before_there_are_rows(
    base: Base, options: dict[str, Any], message: str
) -> None:
    told = pair_input.Options(**{"max_tokens": 64, "max_target_tokens": 12} | options)
    with pytest.raises(BadRequest, match=message.replace(".", r"\.")):
        TASK.foresee(Model(base=base.reference, method="pretrain"), told, base)


@pytest.fixture(scope="module", params=["t5", "lstm"])
def base(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Base:
    """A model of this very task, saved, as another recipe's `models:/NAME@champion` is."""
    folder: Path = tmp_path_factory.mktemp(request.param)
    at = prepared(folder / "at", new(request.param))
    learner = a_learner(TASK, Model(base=at.base.reference, method="pretrain"), at)
    (folder / "base").mkdir()
    TASK.save(learner, at, into=folder / "base")
    return Base("./base", folder / "base", "0" * 64)


@pytest.mark.parametrize("method", ["full", "lora", "transfer"])
def test_methods_train_what_they_say_and_are_saved(method: Method, base: Base, tmp_path: Path) -> None:
    at = prepared(tmp_path / "at", base)
    learner = a_learner(TASK, Model(base="./base", method=method), at)
    before = {name: value.clone() for name, value in learner.module.state_dict().items()}
    one_step(learner, at)
    moved = {name for name, value in learner.module.state_dict().items() if not torch.equal(value, before[name])}
    encoder = {name for name in before if name.startswith(("encoder.", "shared."))}
    if method == "full":
        assert moved & encoder and moved - encoder
    elif method == "lora":
        assert moved and all(".lora_" in name for name in moved)
    else:
        assert moved and not moved & encoder
    folder = saved_apart(TASK, learner, at, tmp_path / "saved")
    assert (folder.parent / FOLDER / WEIGHTS).exists() == (method == "lora") and not (folder / HEAD).exists()
    said, again = Translator(learner.module, at.folder).predict(ROWS), TASK.load(folder).predict(ROWS)
    assert said["text"].tolist() == again["text"].tolist()
    np.testing.assert_allclose(said["confidence"], again["confidence"], atol=1e-5)


def test_baselines_are_the_source_its_beginning_the_nearest_and_the_base(base: Base, tmp_path: Path) -> None:
    at = prepared(tmp_path / "at", base)
    units = pd.DataFrame({"source": ["Bo saw a ship in Rome and so on", "Ann saw a tree in Rome"]})
    train = pd.DataFrame({"source": ["a ship in Rome, said Bo", "Ann and a tree"], "target": ["Bo: ship", "Ann: tree"]})
    found = TASK.baselines(train, units, at)
    said = {name: each["text"].tolist() for name, each in found.items()}
    assert list(said) == ["copy", "lead", "memory", "base"]
    assert said["copy"] == units["source"].tolist()
    assert said["lead"] == ["Bo saw", "Ann saw"] and said["memory"] == ["Bo: ship", "Ann: tree"]
    assert said["base"] == TASK.load(at.base.folder).predict(units)["text"].tolist()  # type: ignore[arg-type]


# --- the contract ---

GOOD: dict[str, Any] = {"source": "Church Slavic", "target": "Kirchenslawisch"}
FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "an empty source": ({"source": " "}, "source .* is empty"),
    "an empty target": ({"target": ""}, "target .* is empty"),
    "no source": ({"source": None}, "source is missing"),
    "no target": ({"target": None}, "target is missing"),
    "a source that is no text": ({"source": 5}, "source: not text but int"),
    "a target that is a list": ({"target": ["Kirchenslawisch"]}, "target: not text but list"),
    "half a character": ({"target": "Kirchen\ud83d"}, "half a character"),
}


def test_every_listed_fault_is_caught_and_no_good_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two translations of one text are no contradiction."""
    workspace = Workspace(tmp_path / "workspace", {})
    workspace.root.mkdir()
    copy_code(workspace.root)
    rows = [*({**GOOD, **change} for change, _ in FAULTS.values()), *report_rows(200), GOOD]
    rows.append({**GOOD, "target": "Altkirchenslawisch"})
    workspace.write("rows.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    recipe = "task: sequence_to_sequence\ndata: {source: rows.jsonl}\ncontract: {at_most: 0.2}\n"
    workspace.write("recipes/tiny.yaml", f"{recipe}model: {{base: {{architecture: lstm}}, method: pretrain}}\n")
    workspace.write("recipes/tiny.lock", "source: {kind: path}\nbases: {}\nreference: null\n")
    workspace.live(recipes={"tiny": {"task": "sequence_to_sequence", "watch": "recipes/tiny.yaml"}})
    monkeypatch.chdir(workspace.root)
    for stage in (settings, collect, validate):
        stage.run(Root(workspace.root).job("recipe", "tiny"))
    folder = Root(workspace.root).job("recipe", "tiny").folder
    quarantine = pq.read_table(folder / "validated/quarantine.parquet").to_pylist()
    reasons = {int(row["place"].rpartition(":")[2]): row["reason"] for row in quarantine}
    for line, (name, (_, reason)) in enumerate(FAULTS.items(), start=1):
        with pytest.raises(AssertionError, match=reason):
            raise AssertionError(f"{name}: {reasons.get(line)}")
    assert len(reasons) == len(FAULTS), "no false alarm"
    assert pq.read_table(folder / "validated/examples.parquet").num_rows == len(rows) - len(FAULTS)
