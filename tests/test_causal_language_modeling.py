"""Causal language models: what is learnt and packed, what is written, n-grams beside them, and who may use them."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from core.atomic_files import read_json
from core.errors import BadRequest
from core.manifest import write_manifest
from core.schema.columns import ROW_ID
from core.schema.model import Architecture, Lora, Method, Model, Training
from core.schema.search import Answer as Settings
from core.tables.learner import TorchLearner
from core.tables.task import Base, Foreseeing, Predictions, Task
from core.weights.base_store import FOLDER, seal
from core.workspace import Job, Workspace
from pipelines.collect import collect
from pipelines.evaluate import evaluate
from pipelines.preprocess import preprocess
from pipelines.recipes.observe import observe, write_lock
from pipelines.register import register
from pipelines.search.ask.writers import writer
from pipelines.settings import settings
from pipelines.tasks import find_task
from pipelines.tasks.parts.generation import chat, ngrams
from pipelines.tasks.parts.generation.sequences import Part, encoded, packed, windows
from pipelines.tasks.parts.generation.text_decoding import Decoding, written
from pipelines.tasks.parts.generation.text_writer import Options, TextWriter
from pipelines.train import train as train_stage
from pipelines.train.batches import EncodedRows
from pipelines.train.loop import Plan, fit
from pipelines.validate import validate
from registry.store import versions
from tests.conftest import film_rows, make_workspace
from tests.places import a_learner, a_place

ROWS = pd.DataFrame(film_rows(40))[["text"]]
TINY = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
LLAMA = {**TINY, "num_key_value_heads": 2, "max_position_embeddings": 64, "tie_word_embeddings": True}
KINDS: dict[str, dict[str, Any]] = {
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64},
    "llama": {**LLAMA, "num_hidden_layers": 2},
    "qwen3": {**LLAMA, "head_dim": 16},
    "mixtral": {**LLAMA, "num_local_experts": 3, "num_experts_per_tok": 2, "output_router_logits": True},
    "lstm": {"hidden_size": 32, "embedding_size": 16, "num_layers": 2},
}
NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
ASKED = (
    "what follows {}",
    "say what comes after {}",
    "{} and then",
    "next to {} stands",
    "count on from {}",
    "{} plus one",
    "behind {}",
    "go on: {}",
)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def task() -> Task:
    return find_task("causal_language_modeling")


def base_of(kind: str) -> Base:
    return Base(Architecture(architecture=kind, settings=KINDS[kind]), None, None)


def prepared(task: Task, base: Base, folder: Path, rows: pd.DataFrame = ROWS, **options: Any) -> Path:
    folder.mkdir(parents=True)
    given = {"max_tokens": 48, "vocabulary": 400, "max_new_tokens": 8, **options}
    task.prepare([rows], task.Preprocess.model_validate(given), a_place(folder, base=base))
    return folder


def learner_of(task: Task, base: Base, encoder: Path, method: Method = "pretrain", **more: Any) -> TorchLearner:
    return a_learner(task, Model(base=base.reference, method=method, **more), a_place(encoder, base=base))


def saved(task: Task, learner: TorchLearner, encoder: Path, folder: Path, *, apart: bool = False) -> Path:
    """As `train` leaves a model in folder/model, with what was not trained in folder/base where it is kept apart."""
    model, base = folder / "model", folder / FOLDER if apart else None
    for place in filter(None, (model, base)):
        place.mkdir(parents=True)
    task.save(learner, a_place(encoder), into=model, base=base)
    if base is not None and any(base.iterdir()):
        seal(base, model, reference="./start", sha256="5" * 64)
    write_manifest(model, {})
    return model


def dialogues() -> pd.DataFrame:
    rows = [{"text": phrase.format(one), "answer": other} for phrase in ASKED for one, other in pairwise(NUMBERS)]
    return pd.DataFrame(rows)


# --- what is learnt ---


@pytest.mark.parametrize("kind", KINDS)
def test_a_text_has_the_same_loss_alone_and_packed_with_others(task: Task, kind: str, tmp_path: Path) -> None:
    """No token sees another text: the loss of a packed row is that of its texts, each in a batch of its own."""
    base = base_of(kind)
    encoder = prepared(task, base, tmp_path / "encoder")
    learner = learner_of(task, base, encoder)
    module = learner.module.eval()
    table = task.encode(ROWS[:6], a_place(encoder, base=base)).drop_columns(["of"])
    alone = [{**row, "position_ids": range(len(row["input_ids"]))} for row in table.to_pylist()]
    together = EncodedRows(learner.features(table))
    assert len(together) < len(alone)
    with torch.inference_mode():
        one_by_one = [module(**learner.collate([row])).logits for row in alone]
        batch = learner.collate(together.__getitems__(range(len(together))))
        packed_logits = module(**batch).logits
    starts = (batch["position_ids"] == 0) & (batch["labels"].roll(-1, 1) != -100)
    found = [packed_logits[row, at:] for row, at in starts.nonzero().tolist()]
    assert len(found) == len(alone)
    for expected, said in zip(one_by_one, found, strict=True):
        torch.testing.assert_close(said[: expected.shape[1]], expected[0], atol=1e-4, rtol=1e-4)


def test_each_token_is_foretold_in_one_window_and_behind_a_context() -> None:
    ids = np.arange(100, dtype=np.int32)
    parts = list(windows([Part(3, ids, ids > 0)], 16, context=8))
    foretold = np.concatenate([part.ids[part.own] for part in parts])
    assert foretold.tolist() == list(range(1, 100))
    assert all(part.of == 3 and len(part.ids) <= 16 for part in parts)
    assert all(part.own[:8].sum() == 0 for part in parts[1:])
    answer = Part(0, ids[:20], np.arange(20) >= 18)
    assert [part.ids.tolist() for part in windows([answer], 8)] == [list(range(14, 20))], (
        "a window of no answer is none"
    )


def test_packing_keeps_every_token_and_begins_positions_anew() -> None:
    parts = [Part(at, np.arange(at + 1, dtype=np.int32), np.arange(at + 1) > 0) for at in range(9)]
    rows = packed(encoded(parts), 10)
    lengths = [len(ids) for ids in rows["input_ids"].to_pylist()]
    assert sum(lengths) == 45 and max(lengths) <= 10 and len(lengths) == 6
    assert rows["position_ids"].to_pylist() == rows["input_ids"].to_pylist()
    assert packed(encoded([]), 10).num_rows == 0
    two = pa.concat_tables([encoded(parts[:4]), encoded(parts[4:])])
    assert packed(two, 10).equals(rows)


def test_answers_alone_are_learnt_and_no_text_opens_a_message(task: Task, tmp_path: Path) -> None:
    encoder = prepared(task, base_of("llama"), tmp_path / "encoder", dialogues())
    texts = chat.texts_of(encoder)
    (one,) = texts.answered(["what follows <|<|end|>end|>two"], ["three"])
    assert texts.text(one.ids[one.own].tolist()) == "three"
    assert one.ids[one.own][-1] == texts.end
    assert Counter(one.ids.tolist())[texts.end] == 2, "the prompt's own end and the answer's"
    said = texts.tokenizer.decode(one.ids[~one.own].tolist(), skip_special_tokens=False)
    assert said == "<|start|>user\nwhat follows two<|end|>\n<|start|>assistant\n"
    assert one.ids[~one.own].tolist() == texts.asked(["what follows two"])[0]


def test_dialogues_are_learnt_and_answered_exactly(task: Task, tmp_path: Path) -> None:
    """A toy set: which number follows another, learnt from most pairs of a phrase and a number, asked of the others."""
    base = Base(
        Architecture(architecture="llama", settings={**LLAMA, "hidden_size": 64, "initializer_range": 0.08}), None, None
    )
    rows = dialogues()
    left_out = rows.index % 8 == 3
    learned, asked = rows[~left_out], rows[left_out].reset_index(drop=True)
    encoder = prepared(task, base, tmp_path / "encoder", learned)
    at = a_place(encoder, base=base)
    learner = learner_of(task, base, encoder)
    tables = [task.encode(rows, at).drop_columns(["of"]) for rows in (learned, asked)]
    history = fit(learner, tables[0], tables[1], Plan(Training(epochs=30, batch_size=2, learning_rate=3e-3)))
    losses = [line["eval_loss"] for line in history if "eval_loss" in line]
    assert losses[-1] < 0.2 < 2 < losses[0]
    predictor = task.load(saved(task, learner, encoder, tmp_path / "saved"))

    def exact(rows: pd.DataFrame, said: Predictions) -> float:
        return task.score(task.measure({**said, **task.truth(rows, at)}), np.ones(len(rows)))["exact"]

    assert exact(learned, predictor.predict(learned)) == 1
    assert exact(asked, predictor.predict(asked)) > 0.8
    assert exact(asked, task.baselines(learned, asked, at)["unigram"]) < 0.2
    answers = predictor.answers(predictor.predict(learned[["text"]]))
    assert answers["continuation"].tolist() == learned["answer"].tolist(), "what is exact is what is written"
    assert answers["nats_a_character"].isna().all()


# --- what is written ---


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_is_the_likeliest_token_each_time(task: Task, kind: str, tmp_path: Path) -> None:
    encoder = prepared(task, base_of(kind), tmp_path / "encoder")
    model: Any = learner_of(task, base_of(kind), encoder).module.eval().get_submodule("model")
    prompts = [[1, 20, 30], [1, 25], [1, 40, 31]]
    found = written(model, prompts, Decoding(6, (2,), 0))
    for prompt, said in zip(prompts, found, strict=True):
        ids = list(prompt)
        for token in said:
            with torch.inference_mode():
                assert token == int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax())
            ids.append(token)
        assert len(said) == 6


def test_a_seed_draws_the_same_alone_as_among_others(task: Task, tmp_path: Path) -> None:
    encoder = prepared(task, base_of("llama"), tmp_path / "encoder")
    predictor = task.load(saved(task, learner_of(task, base_of("llama"), encoder), encoder, tmp_path / "saved"))
    rows = pd.DataFrame({"text": ["the plot"] * 4, "seed": ["a", "b", None, "a"]})
    together = predictor.answers(predictor.predict(rows))["continuation"].tolist()
    alone = [predictor.answers(predictor.predict(rows[at : at + 1]))["continuation"][0] for at in range(4)]
    assert together == alone
    assert together[0] == together[3] and len(set(together)) == 3


def test_drawn_tokens_come_as_often_as_they_are_likely(task: Task, tmp_path: Path) -> None:
    encoder = prepared(task, base_of("llama"), tmp_path / "encoder")
    model: Any = learner_of(task, base_of("llama"), encoder).module.eval().get_submodule("model")
    with torch.inference_mode():
        model.lm_head.weight.mul_(12.0)
        likely = model(input_ids=torch.tensor([[1, 20]])).logits[0, -1].softmax(dim=-1)
    count = 2000
    drawn = written(model, [[1, 20]] * count, Decoding(1, (2,), 0), [str(at) for at in range(count)])
    shares = torch.tensor([float(sum(said == [token] for said in drawn)) for token in range(len(likely))]) / count
    top = likely.topk(3).indices
    assert likely[top].min() > 0.01 and likely[top].max() < 0.9, "or this would test little"
    torch.testing.assert_close(shares[top], likely[top], atol=0.04, rtol=0)


# --- files, bases, adapters ---


@pytest.mark.parametrize("kind", ["gpt2", "mixtral", "lstm"])
def test_what_is_saved_is_a_model_of_transformers_with_its_tokenizer(task: Task, kind: str, tmp_path: Path) -> None:
    encoder = prepared(task, base_of(kind), tmp_path / "encoder", dialogues())
    folder = saved(task, learner_of(task, base_of(kind), encoder), encoder, tmp_path / "saved")
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    asked = tokenizer.apply_chat_template(
        [{"role": "user", "content": "what follows two"}], add_generation_prompt=True, return_dict=False
    )
    assert asked == chat.texts_of(encoder).asked(["what follows two"])[0]
    own = task.load(folder)
    assert isinstance(own, TextWriter)
    ids = torch.tensor([asked])
    with torch.inference_mode():
        torch.testing.assert_close(model.eval()(input_ids=ids).logits, own.module.model(input_ids=ids).logits)


@pytest.mark.parametrize(
    ("kind", "dora", "apart"), [("llama", False, True), ("llama", True, False), ("gpt2", False, False)]
)
def test_adapters_learn_on_a_base_and_answer_as_the_module_does(
    task: Task, kind: str, dora: bool, apart: bool, tmp_path: Path
) -> None:
    """Low rank alone is kept beside its base; what moves more than sums (DoRA), or transposed layers, is kept whole."""
    encoder = prepared(task, base_of(kind), tmp_path / "encoder")
    first = saved(task, learner_of(task, base_of(kind), encoder), encoder, tmp_path / "start")
    start = Base("./start", first, "5" * 64)
    again = prepared(task, start, tmp_path / "again")
    learner = learner_of(task, start, again, "lora", lora=Lora(rank=2, dora=dora))
    torch.manual_seed(5)
    with torch.no_grad():
        for parameter in learner.module.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter), alpha=0.05)
    model = saved(task, learner, again, tmp_path / "adapted", apart=True)
    assert any((tmp_path / "adapted" / FOLDER).iterdir()) == apart
    said = TextWriter(learner.module.eval(), again).foretold(ROWS)["surprise"]
    found = task.load(model)
    assert isinstance(found, TextWriter)
    np.testing.assert_allclose(found.foretold(ROWS)["surprise"], said, rtol=1e-4)
    plain = task.baselines(ROWS, ROWS, a_place(again, base=start))["base"]["surprise"]
    assert not np.allclose(plain, said, rtol=1e-3)


@pytest.mark.parametrize(
    ("architecture", "said"),
    [
        ("bert", "bert cannot be asked for the next token"),
        ("vit", "vit does not read text"),
        ("t5", "t5 does not read"),
    ],
)
def test_what_cannot_be_a_causal_language_model_is_refused(
    task: Task, architecture: str, said: str, tmp_path: Path
) -> None:
    base = Base(Architecture(architecture=architecture, settings=TINY if architecture == "bert" else {}), None, None)
    with pytest.raises(BadRequest, match=said):
        learner_of(task, base, prepared(task, base, tmp_path / "encoder"))


def test_options_that_leave_no_room_are_refused(task: Task) -> None:
    with pytest.raises(ValueError, match=r"max_new_tokens must be below max_tokens \(16\), got 16"):
        Options(max_tokens=16, max_new_tokens=16)
    assert isinstance(task, Foreseeing)
    with pytest.raises(BadRequest, match="128 is more than the 64 positions"):
        task.foresee(Model(base=base_of("llama").reference, method="pretrain"), Options(), base_of("llama"))


# --- what it is compared with ---


def test_n_grams_are_probabilities_as_the_formula_says() -> None:
    """Over all next tokens they add up to 1; of pairs each is the interpolated Kneser-Ney sum, counted here by hand."""
    random = np.random.default_rng(1)
    texts = [random.choice(5, 40, p=[0.4, 0.3, 0.15, 0.1, 0.05]).astype(np.int32) for _ in range(6)]
    parts = [Part(at, ids, np.arange(40) > 0) for at, ids in enumerate(texts)]

    def chance(counted: ngrams.NGrams, *ids: int) -> float:
        part = Part(0, np.array(ids, np.int32), np.arange(len(ids)) == len(ids) - 1)
        return float(np.exp(-counted.said([part], ["x"], 0)["surprise"][0]))

    for order in (1, 2, 5):
        counted = ngrams.NGrams(parts, order, 6)
        for context in ([0, 1, 0, 0], [4, 4, 4, 4], [5]):
            assert sum(chance(counted, *context, token) for token in range(6)) == pytest.approx(1)
    pairs = Counter((int(a), int(b)) for ids in texts for a, b in pairwise(ids))
    taken = ngrams._discounts(np.array(list(pairs.values())))
    kinds = Counter(b for _, b in pairs)
    of_kinds = ngrams._discounts(np.array(list(kinds.values())))
    for (first, second), count in pairs.items():
        behind = {b: n for (a, b), n in pairs.items() if a == first}
        alone = (kinds[second] - of_kinds[min(kinds[second], 3)]) / len(pairs)
        alone += sum(of_kinds[min(n, 3)] for n in kinds.values()) / len(pairs) / 6
        left = sum(taken[min(n, 3)] for n in behind.values())
        expected = (count - taken[min(count, 3)] + left * alone) / sum(behind.values())
        assert chance(ngrams.NGrams(parts, 2, 6), first, second) == pytest.approx(expected)


# --- the whole way ---

RECIPE = """\
task: causal_language_modeling
data: {source: rows.csv, columns: {text: question, answer: reply}, split: {train: 0.35, validation: 0.1, test: 0.55}}
preprocess: {max_tokens: 400, max_new_tokens: 16, vocabulary: 300}
model: {base: {architecture: lstm, settings: {hidden_size: 32, embedding_size: 16}}, method: pretrain}
training: {epochs: 2, batch_size: 16, learning_rate: 5.0e-3}
evaluation: {resamples: 100}
gates: {against_baseline: {at_least: -1.0e6}}
compute: {threads: 1}
"""


def registered(job: Job) -> versions.Version:
    """What came of every stage of a recipe; fails unless it is champion."""
    write_lock(job, observe(job))
    for stage in (settings, collect, validate, preprocess, train_stage, evaluate, register):
        stage.run(job)
    receipt = read_json(job.folder / "registered.json")
    assert "champion" in receipt["aliases"], receipt
    return versions.resolve(job.name, "champion", job.workspace.var)


@pytest.mark.slow
@pytest.mark.usefixtures("warm_children")
def test_a_champion_writes_the_answers_of_an_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`answer: {model: models:/NAME@champion}`: what the predictor answers is what the index's writer writes."""
    made = make_workspace(tmp_path / "workspace")
    made.write_rows([{"question": text, "reply": answer} for text, answer in dialogues().itertuples(index=False)])
    made.write("recipes/talk.yaml", RECIPE)
    made.live(recipes={"talk": {"task": "causal_language_modeling", "watch": "rows.csv"}})
    monkeypatch.chdir(made.root)
    job = Workspace(made.root).job("recipe", "talk")
    version = registered(job)
    report = read_json(job.folder / "evaluation" / "report.json")
    assert report["baselines"].keys() == {"unigram", "bigram", "kneser_ney"}
    predictor = find_task("causal_language_modeling").load(job.folder / "model")
    asked = pd.DataFrame({"text": ["what follows two"], ROW_ID: ["1"]})
    expected = predictor.answers(predictor.predict(asked))["continuation"][0]
    answer = writer(Settings(model=f"models:/{version.name}@champion", max_tokens=16), made.root)
    messages = [{"role": "user", "content": "what follows two"}]
    assert answer.fits(messages)
    assert "".join(answer.write(messages)) == expected
