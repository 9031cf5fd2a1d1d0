"""Masked language models: what is hidden, what is learnt, how a mask is answered, and what they are a base for."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForMaskedLM, AutoTokenizer

from core.atomic_files import read_json
from core.errors import BadRequest
from core.manifest import write_manifest
from core.schema.model import Architecture, Method, Model
from core.tables.learner import TorchLearner
from core.tables.prepared import ENCODER
from core.tables.statistics import whole
from core.tables.task import Base, Exportable, Foreseeing, Task
from core.weights.adapters import HEAD
from core.weights.adapters import whole as made_whole
from core.weights.base_store import FOLDER, seal
from core.workspace import Job, Workspace
from flows.terminal.results import prediction_line
from pipelines.bases import base_of
from pipelines.collect import collect
from pipelines.evaluate import evaluate
from pipelines.evidence.compare import compare
from pipelines.preprocess import preprocess
from pipelines.recipes.observe import observe, write_lock
from pipelines.register import register
from pipelines.settings import settings
from pipelines.tasks import find_task
from pipelines.tasks.parts import text_input, tokens
from pipelines.tasks.parts.language import fill, masked_lm
from pipelines.tasks.parts.language.masking import Hidden, Masks, Window, windows
from pipelines.tasks.parts.language.neighbours import PRIOR, Neighbours
from pipelines.tasks.parts.language.plain_masked_bert import PlainMaskedBert
from pipelines.train import train
from pipelines.validate import validate
from registry.store import versions
from registry.version import onnx_graph
from registry.version.onnx_choice import exchanged
from tests.conftest import film_rows, make_workspace
from tests.places import a_learner, a_place

ROWS = pd.DataFrame(film_rows(40))[["text"]]
SIZE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
BERT = Base(Architecture(architecture="bert", settings=SIZE), None, None)
MASKS = Masks(mask=4, special=np.arange(5), share=0.15, vocabulary=300)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def task() -> Task:
    return find_task("masked_language_modeling")


def prepared(task: Task, base: Base, folder: Path, **options: Any) -> Path:
    folder.mkdir(parents=True)
    given = {"max_tokens": 16, "vocabulary": 400, **options}
    task.prepare([ROWS], task.Preprocess.model_validate(given), a_place(folder, base=base))
    return folder


def learner_of(task: Task, base: Base, encoder: Path, method: Method = "pretrain") -> TorchLearner:
    return a_learner(task, Model(base=base.reference, method=method), a_place(encoder, base=base))


def saved(task: Task, learner: TorchLearner, encoder: Path, folder: Path, *, apart: bool = False) -> Path:
    """As `train` leaves a model in folder/model, with what was not trained in folder/base where it is kept apart."""
    model, base = folder / "model", folder / FOLDER if apart else None
    for place in filter(None, (model, base)):
        place.mkdir(parents=True)
    task.save(learner, a_place(encoder), into=model, base=base)
    if base is not None:
        seal(base, model, reference="./start", sha256="5" * 64)
    write_manifest(model, {})
    return model


@pytest.fixture
def start(task: Task, tmp_path: Path) -> Base:
    """A small BERT that save() left, its weights by chance."""
    encoder = prepared(task, BERT, tmp_path / "start-encoder")
    return Base("./start", saved(task, learner_of(task, BERT, encoder), encoder, tmp_path / "start"), "5" * 64)


def moved(module: torch.nn.Module) -> None:
    """As training would: every trainable weight is another."""
    torch.manual_seed(5)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter), alpha=0.1)


# --- what is hidden ---


def test_each_token_is_hidden_once_and_equal_texts_hide_the_same() -> None:
    ids = np.array([2, *range(10, 37), 4, 3, 0, 0], np.int32)
    turns = list(MASKS.hidden([Window(0, ids)]))
    places = np.concatenate([each.places for each in turns])
    assert sorted(places) == list(range(1, 28)), "all but the special ones, and none twice"
    assert [len(each.places) for each in turns] == [4, 4, 4, 4, 4, 4, 3]
    for each in turns:
        assert (each.ids[each.places] == 4).all() and (each.true == ids[each.places]).all()
        assert (np.delete(each.ids, each.places) == np.delete(ids, each.places)).all()
    again = list(MASKS.hidden([Window(0, ids.copy())]))
    assert all((one.places == other.places).all() for one, other in zip(turns, again, strict=True))
    other = ids.copy()
    other[5] += 100
    assert any(
        (one.places != each.places).any() for one, each in zip(turns, MASKS.hidden([Window(0, other)]), strict=True)
    )
    assert list(MASKS.hidden([Window(0, np.array([2, 4, 3], np.int32))])) == []


def test_a_batch_hides_anew_in_training_and_the_same_when_watched() -> None:
    module = torch.nn.Module()
    collate = partial(masked_lm.collate, module=module, pad=0, masks=MASKS)
    rows = [{"input_ids": np.array([2, *range(5, 5 + length), 3])} for length in (200, 3, 290)]
    rows.append({"input_ids": np.array([2, 3])})
    torch.manual_seed(1)
    first, second = collate(rows), collate(rows)
    assert not torch.equal(first["input_ids"], second["input_ids"])
    whole_ids = first["input_ids"].flatten().index_copy(0, first["hidden"], first["labels"]).view_as(first["input_ids"])
    for at, row in enumerate(rows):
        assert whole_ids[at][: len(row["input_ids"])].tolist() == row["input_ids"].tolist()
        hidden = (first["hidden"] // whole_ids.shape[1] == at).sum()
        assert hidden == (30, 1, 44, 0)[at], "the share of each text, and at least one where there is one"
    many = [collate(rows) for _ in range(50)]
    seen = torch.cat([each["input_ids"].flatten()[each["hidden"]] for each in many])
    labels = torch.cat([each["labels"] for each in many])
    assert (seen == 4).double().mean() == pytest.approx(0.8, abs=0.03)
    assert (seen == labels).double().mean() == pytest.approx(0.1, abs=0.03)
    module.eval()
    first, second = collate(rows), collate(rows)
    assert torch.equal(first["input_ids"], second["input_ids"])
    assert (first["input_ids"].flatten()[first["hidden"]] == 4).all()
    assert collate(rows[-1:])["labels"].shape == (0,)
    assert masked_lm._loss(torch.zeros(0, 7), torch.zeros(0, dtype=torch.int64)) == 0


def test_nothing_of_a_long_text_is_lost(task: Task, tmp_path: Path) -> None:
    encoder = prepared(task, BERT, tmp_path / "encoder")
    text = " ".join(ROWS["text"][:3])
    table = task.encode(pd.DataFrame({"text": ["a film", text]}), a_place(encoder))
    assert table["of"].to_pylist() == [0, *[1] * (table.num_rows - 1)] and table.num_rows > 3
    whole_text = tokens.token_ids(tokens.read(encoder, max_tokens=8000), [text])[0]
    parts = [ids[1:-1] for of, ids in zip(table["of"].to_pylist(), table["input_ids"].to_pylist(), strict=True) if of]
    assert [token for part in parts for token in part] == whole_text[1:-1]
    assert table["length"].to_pylist() == [len(ids) for ids in table["input_ids"].to_pylist()]


# --- the module and its files ---


@pytest.mark.parametrize(
    "architecture",
    [
        Architecture(architecture="bert", settings=SIZE),
        Architecture(architecture="modernbert", settings={**SIZE, "local_attention": 8}),
        Architecture(architecture="roberta", settings=SIZE),
        Architecture(architecture="distilbert", settings={"dim": 32, "n_layers": 1, "n_heads": 2, "hidden_dim": 64}),
        Architecture(architecture="electra", settings={**SIZE, "embedding_size": 16}),
        Architecture(architecture="deberta-v2", settings={**SIZE, "relative_attention": True}),
    ],
    ids=lambda each: each.architecture,
)
def test_the_logits_of_hidden_places_are_those_of_the_whole_model(
    task: Task, architecture: Architecture, tmp_path: Path
) -> None:
    """Before and after it was saved and read back; and its loss is the one transformers computes."""
    base = Base(architecture, None, None)
    encoder = prepared(task, base, tmp_path / "encoder")
    learner = learner_of(task, base, encoder)
    module = learner.module.eval()
    assert isinstance(module, masked_lm.MaskedLm)
    batch = learner.collate(task.encode(ROWS[:3], a_place(encoder)).to_pylist())
    given = {name: batch[name] for name in ("input_ids", "attention_mask")}
    labels = torch.full_like(given["input_ids"], -100).flatten().index_copy(0, batch["hidden"], batch["labels"])
    with torch.inference_mode():
        said = module(**batch)
        theirs = module.model(**given, labels=labels.view_as(given["input_ids"]))
    expected = theirs.logits.flatten(0, 1)[batch["hidden"]]
    torch.testing.assert_close(said.logits, expected)
    torch.testing.assert_close(said.loss, theirs.loss)
    model = saved(task, learner, encoder, tmp_path / "saved")
    again = masked_lm.load(model, None)
    assert isinstance(again, PlainMaskedBert) == (architecture.architecture == "bert")
    with torch.inference_mode():
        torch.testing.assert_close(again(**given, hidden=batch["hidden"]).logits, expected)
        published = AutoModelForMaskedLM.from_pretrained(model)(**given).logits
    torch.testing.assert_close(published.flatten(0, 1)[batch["hidden"]], expected)


def test_threads_that_ask_one_model_at_once_get_their_own_words(task: Task, tmp_path: Path) -> None:
    """A server asks so. Each text has its masks elsewhere, and the model is one of transformers."""
    base = Base(Architecture(architecture="roberta", settings=SIZE), None, None)
    encoder = prepared(task, base, tmp_path / "encoder")
    predictor = task.load(saved(task, learner_of(task, base, encoder), encoder, tmp_path / "saved"))
    texts = [pd.DataFrame({"text": [text]}) for text in ROWS["text"][:8]]
    expected = [predictor.predict(each)["surprise"][0] for each in texts]
    with ThreadPoolExecutor(4) as pool:
        found = [float(said["surprise"][0]) for said in pool.map(predictor.predict, texts * 5)]
    np.testing.assert_allclose(found, expected * 5, rtol=1e-6)


def test_bert_without_transformers_says_the_same_to_the_last_bit(start: Base) -> None:
    assert start.folder is not None
    ours, theirs = masked_lm.load(start.folder, None), AutoModelForMaskedLM.from_pretrained(start.folder).eval()
    ids = torch.randint(5, 300, (1, 9), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        said = ours(input_ids=ids, attention_mask=torch.ones_like(ids), hidden=torch.arange(9)).logits
        assert torch.equal(said, theirs(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0])


def test_transformers_tokenizer_hides_and_names_as_ours_does(task: Task, start: Base) -> None:
    assert start.folder is not None
    theirs = AutoTokenizer.from_pretrained(start.folder)
    assert theirs.mask_token == "[MASK]"
    (window,) = windows(text_input.tokenizer(start.folder), ["the film is [MASK] ."])
    assert theirs("the film is [MASK] .")["input_ids"] == window.ids.tolist()
    assert (window.ids == theirs.mask_token_id).sum() == 1


@pytest.mark.parametrize("headless", [False, True])
def test_adapters_stand_apart_and_the_whole_is_a_base_again(
    task: Task, start: Base, headless: bool, tmp_path: Path
) -> None:
    """Of a base without a head for words, as an encoder of sentences is, the new head is trained and kept too."""
    assert start.folder is not None
    base = start
    if headless:
        folder = tmp_path / "headless"
        AutoModelForMaskedLM.from_pretrained(start.folder).bert.save_pretrained(folder)
        for name in ("tokenizer.json", "tokenizer_config.json"):
            (folder / name).write_bytes((start.folder / name).read_bytes())
        base = Base("./headless", folder, "6" * 64)
    encoder = prepared(task, base, tmp_path / "encoder")
    learner = learner_of(task, base, encoder, "lora")
    trained = {name for name, parameter in learner.module.named_parameters() if parameter.requires_grad}
    assert any(".lora_" not in name for name in trained) == headless
    assert not any("decoder" in name or "embeddings" in name for name in trained)
    moved(learner.module)
    apart = saved(task, learner, encoder, tmp_path / "apart", apart=True)
    together = saved(task, learner, encoder, tmp_path / "together")
    assert (apart / HEAD).is_file() == headless and not (apart / "model.safetensors").is_file()
    one, two = (task.load(folder).predict(ROWS) for folder in (apart, together))
    np.testing.assert_allclose(one["surprise"], two["surprise"], rtol=1e-5)
    folder = made_whole(apart, tmp_path / "var")
    merged = load_file(folder / "model.safetensors")
    for name, tensor in load_file(together / "model.safetensors").items():
        torch.testing.assert_close(merged[name], tensor, msg=name)
    third = learner_of(task, Base("models:/words@champion", folder, "7" * 64), encoder, "full")
    assert isinstance(third.module, masked_lm.MaskedLm) and not third.module.head_is_new


def test_a_base_that_knows_words_already_is_a_baseline(task: Task, start: Base, tmp_path: Path) -> None:
    encoder = prepared(task, start, tmp_path / "encoder")
    units = ROWS.assign(row_id=[str(at) for at in range(len(ROWS))])
    found = task.baselines(ROWS, units, a_place(encoder, base=start))
    assert list(found) == ["unigram", "neighbours", "base"]
    assert start.folder is not None
    np.testing.assert_allclose(found["base"]["surprise"], task.load(start.folder).predict(ROWS)["surprise"], rtol=1e-5)


@pytest.mark.parametrize(
    ("architecture", "said"),
    [("gpt2", "gpt2 is no masked language model"), ("lstm", "lstm is no masked language model")],
)
def test_what_cannot_be_a_masked_language_model_is_refused(
    task: Task, architecture: str, said: str, tmp_path: Path
) -> None:
    base = Base(Architecture(architecture=architecture), None, None)
    with pytest.raises(BadRequest, match=said):
        prepared(task, base, tmp_path / "encoder")
    assert isinstance(task, Foreseeing)
    with pytest.raises(BadRequest, match=said):
        task.foresee(Model(base=base.reference, method="pretrain"), task.Preprocess(), base)


def test_a_base_whose_tokenizer_has_no_mask_is_refused(task: Task, start: Base, tmp_path: Path) -> None:
    assert start.folder is not None
    tokens.learn(ROWS["text"], start.folder, size=400)
    with pytest.raises(BadRequest, match=r"model.base './start': its tokenizer has no token that hides another"):
        prepared(task, start, tmp_path / "encoder")


# --- what it is compared with ---


def test_neighbours_are_counted_as_the_formula_says() -> None:
    """P(t | left) P(t | right) / P(t) over four tokens, one by one."""
    texts = [np.array(ids, np.int32) for ids in ([1, 2, 3, 1], [1, 2, 1], [3, 3, 2])]
    counted = Neighbours([[Window(0, texts[0]), Window(1, texts[1])], [Window(0, texts[2])]], 5)
    frequency = np.array([0, 4, 3, 3, 0]) + 1.0
    frequency /= frequency.sum()
    pairs = {(1, 2): 2, (2, 3): 1, (3, 1): 1, (2, 1): 1, (3, 3): 1, (3, 2): 1}
    before = [sum(n for (a, _), n in pairs.items() if a == left) for left in range(5)]
    behind = [sum(n for (_, b), n in pairs.items() if b == right) for right in range(5)]

    def chance(left: int, right: int, true: int) -> float:
        ahead = [(pairs.get((left, t), 0) + PRIOR * frequency[t]) / (before[left] + PRIOR) for t in range(5)]
        back = [(pairs.get((t, right), 0) + PRIOR * frequency[t]) / (behind[right] + PRIOR) for t in range(5)]
        both = np.array(ahead) * back / frequency
        return float(both[true] / both.sum())

    hidden = [
        Hidden(0, np.array([1, 4, 3, 4], np.int32), np.array([1, 3]), np.array([2, 1])),
        Hidden(1, np.array([4, 2, 1], np.int32), np.array([0]), np.array([1])),
    ]
    surprise, _ = counted.by_neighbours(hidden)
    expected = [chance(1, 3, 2), chance(3, 4, 1), chance(4, 2, 1)]  # 4, a mask, has no counts
    np.testing.assert_allclose(np.exp(-surprise), expected)
    surprise, right = counted.by_frequency(hidden)
    np.testing.assert_allclose(np.exp(-surprise), frequency[[2, 1, 1]])
    assert right.tolist() == [False, True, True]


def test_figures_in_other_tokens_are_not_compared(task: Task, start: Base, tmp_path: Path) -> None:
    assert start.folder is not None
    other = prepared(task, BERT, tmp_path / "other", vocabulary=300)
    said = task.load(start.folder).predict(ROWS)
    same, apart = (task.truth(ROWS, a_place(folder)) for folder in (start.folder, other))
    assert np.isfinite(whole(task.score, task.measure({**said, **same}))["perplexity"])
    assert np.isnan(whole(task.score, task.measure({**said, **apart}))["perplexity"])


# --- what it answers ---


@pytest.fixture(scope="module")
def knowing(tmp_path_factory: pytest.TempPathFactory) -> fill.FillPredictor:
    """One that has seen the made film reviews some hundred times."""
    task, folder = find_task("masked_language_modeling"), tmp_path_factory.mktemp("knowing")
    encoder = prepared(task, BERT, folder / "encoder", max_tokens=32)
    learner = learner_of(task, BERT, encoder)
    rows = [{"input_ids": np.array(ids)} for ids in task.encode(ROWS, a_place(encoder))["input_ids"].to_pylist()]
    optimizer = torch.optim.Adam(learner.module.parameters(), lr=5e-3)
    torch.manual_seed(2)
    for _ in range(120):
        optimizer.zero_grad()
        loss = learner.module(**learner.collate(rows)).loss
        loss.backward()
        optimizer.step()
    predictor = task.load(saved(task, learner, encoder, folder))
    assert isinstance(predictor, fill.FillPredictor)
    return predictor


def asked(predictor: fill.FillPredictor, *texts: str) -> list[dict[str, Any]]:
    answers = predictor.answers(predictor.predict(pd.DataFrame({"text": texts})))
    found: list[dict[str, Any]] = json.loads(answers.to_json(orient="records"))
    return found


def test_a_mask_is_answered_with_words_and_a_text_with_its_perplexity(knowing: fill.FillPredictor) -> None:
    masked, plain, odd = asked(
        knowing, "the film of story 3 is [MASK] and [MASK] 7 follows", ROWS["text"][0], "colourless green ideas sleep"
    )
    assert masked["perplexity"] is None and len(masked["words"]) == 2
    first, second = masked["words"]
    assert [set(each) for each in (*first, *second)] == [{"word", "probability"}] * 10
    assert second[0]["word"] == "scene" and second[0]["probability"] > 0.5
    assert {first[0]["word"], first[1]["word"]} <= {"moving", "brilliant", "warm", "dull", "clumsy", "hollow"}
    chances = [each["probability"] for each in first]
    assert chances == sorted(chances, reverse=True) and sum(chances) <= 1
    assert plain["words"] is None and 1 < plain["perplexity"] < odd["perplexity"]


def test_masks_of_a_text_of_several_windows_are_answered_in_their_order(knowing: fill.FillPredictor) -> None:
    """Each as the module says of its window alone."""
    text = " ".join(ROWS["text"][:4]).replace("follows", "[MASK]")
    (answer,) = asked(knowing, text)
    expected = []
    for window in windows(knowing.tokenizer, [text]):
        ids, hidden = torch.from_numpy(window.ids.astype(np.int64)), torch.from_numpy(np.flatnonzero(window.ids == 4))
        with torch.inference_mode():
            said = knowing.module(ids[None], torch.ones(1, len(ids)), hidden).logits.softmax(dim=-1)
        expected += said.max(dim=-1).values.tolist()
    assert len(expected) == 4
    np.testing.assert_allclose([each[0]["probability"] for each in answer["words"]], expected, rtol=1e-4)


def test_a_text_without_a_token_has_no_perplexity(knowing: fill.FillPredictor) -> None:
    assert asked(knowing, "") == [{"words": None, "perplexity": None}]
    assert asked(knowing) == []


def test_an_answer_that_does_not_apply_is_left_out_of_a_line() -> None:
    assert prediction_line({"input": "a film", "words": None, "perplexity": 3.5}) == "3.5000\ta film"


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["bert", "modernbert"])
def test_its_graph_says_the_same(task: Task, architecture: str, tmp_path: Path) -> None:
    """BERT without transformers, and a model of transformers whose head is given the hidden places alone."""
    base = Base(Architecture(architecture=architecture, settings=SIZE), None, None)
    encoder = prepared(task, base, tmp_path / "encoder")
    predictor = task.load(saved(task, learner_of(task, base, encoder), encoder, tmp_path / "saved"))
    assert isinstance(predictor, Exportable)
    interface = predictor.interface()
    graph = onnx_graph.export(predictor.module, interface)
    session = onnx_graph.opened(graph, predictor.module.state_dict(), interface.outputs)
    again = exchanged(predictor, session)
    np.testing.assert_allclose(again.predict(ROWS)["surprise"], predictor.predict(ROWS)["surprise"], atol=1e-4)


# --- what it is a base for ---

ROUND = """\
data: {source: rows.csv, split: {train: 0.5, validation: 0.2, test: 0.3}}
preprocess: {max_tokens: 16, vocabulary: 400}
training: {epochs: 2, batch_size: 16, learning_rate: 5.0e-3}
evaluation: {resamples: 100}
compute: {threads: 1}
"""
FROM_NOTHING = f"model: {{base: {{architecture: bert, settings: {json.dumps(SIZE)}}}, method: pretrain}}\n"
FURTHER = "model: {base: ./start, method: lora}\n"
FROM_WORDS = "model: {base: models:/words@champion, method: full}\n"
WORDS = f"task: masked_language_modeling\n{ROUND}{FURTHER}gates: {{against_baseline: {{at_least: -1.0e6}}}}\n"
FILMS = f"task: text_classification\n{ROUND}{FROM_NOTHING}gates: {{against_baseline: {{at_least: -1.0}}}}\n"
STAGES = (settings, collect, validate, preprocess, train, evaluate, register)


def registered(job: Job) -> versions.Version:
    """What came of every stage of a recipe; fails unless it is champion."""
    write_lock(job, observe(job))
    for stage in STAGES:
        stage.run(job)
    receipt = read_json(job.folder / "registered.json")
    assert "champion" in receipt["aliases"], receipt
    return versions.resolve(job.name, "champion", job.workspace.var)


@pytest.mark.slow
@pytest.mark.usefixtures("warm_children")
def test_a_champion_is_pretrained_further_fine_tuned_and_compared(
    start: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A base learns a team's texts by adapters; its champion is the base of a classifier, beside one without."""
    assert start.folder is not None
    made = make_workspace(tmp_path / "workspace")
    made.write_rows(film_rows(160))
    shutil.copytree(start.folder, made.path("start"))
    made.write("recipes/words.yaml", WORDS)
    made.write("recipes/films.yaml", FILMS)
    tasks = {"words": "masked_language_modeling", "films": "text_classification"}
    made.live(recipes={name: {"task": task, "watch": "rows.csv"} for name, task in tasks.items()})
    monkeypatch.chdir(made.root)
    root = Workspace(made.root)
    words, films = root.job("recipe", "words"), root.job("recipe", "films")
    registered(words)
    report = read_json(words.folder / "evaluation" / "report.json")
    assert report["baselines"].keys() == {"unigram", "neighbours", "base"}
    assert report["model"]["perplexity"]["value"] < report["baselines"]["base"]["perplexity"]["value"]

    without = registered(films)
    made.write("recipes/films.yaml", FILMS.replace(FROM_NOTHING, FROM_WORDS))
    begun = registered(films)
    assert films.settings["bases"]["models:/words@champion"]["version"] == "1"
    base = base_of(films)
    assert base.folder is not None
    stored = load_file(base.folder / "model.safetensors")
    at = a_place(films.folder / "prepared" / ENCODER, base=base)
    module = a_learner(find_task("text_classification"), Model(base=base.reference), at).module
    for name, tensor in module.get_submodule("encoder").state_dict().items():
        torch.testing.assert_close(tensor, stored[f"bert.{name}"], msg=name)
    found = compare(root, without, begun, most=3)
    assert found.task == "text_classification" and found.changes.settings["model.method"] == ("pretrain", "full")
    assert [each.name for each in found.apart.metrics] and found.apart.rows_apart is not None
