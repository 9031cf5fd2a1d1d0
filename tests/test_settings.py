"""settings: a recipe or an index and its lock -> one document, every default filled in, every mistake at once."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML  # "rt": libyaml refuses a URL inside braces, which YAML 1.2 allows

from core.errors import BadRequest
from core.schema.reading import BadSettings
from core.workspace import Job
from core.workspace import Workspace as Place
from pipelines.recipes.read import read_index, read_recipe
from pipelines.recipes.recipe import Index, json_schema
from pipelines.settings import settings
from tests.conftest import ROOT, TINY_INDEX, Workspace

SHIPPED = sorted([*ROOT.glob("recipes/*.yaml"), *ROOT.glob("indexes/*.yaml"), *ROOT.glob("examples/*.yaml")])


RECIPE = """\
title: small
task: text_classification
data:
  source: rows.csv
  columns: {text: text, label: label}
contract: {at_most: 0.05}
preprocess: {max_tokens: 16}
model:
  base: {architecture: bert, settings: {hidden_size: 16}}
  method: pretrain
training: {epochs: 1, batch_size: 16, learning_rate: 1.0e-3}
evaluation: {resamples: 100}
"""
PICTURES = """\
task: image_classification
data: {source: pictures, reader: labelled_folders}
model: {base: {architecture: resnet}, method: lora}
"""


def is_index(path: Path) -> bool:
    return "documents" in YAML(typ="rt").load(path)


def recipe(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "a.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def mistakes(path: Path) -> list[str]:
    with pytest.raises(BadSettings, match=r"\.yaml:\d+: ") as caught:
        read_recipe(path)
    return [f"{mistake.line}: {mistake.message}" for mistake in caught.value.mistakes]


def job(workspace: Workspace, name: str = "tiny") -> Job:
    return Place(workspace.root).job("recipe", name)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_what_ships_is_read_and_fits_the_published_schema(path: Path) -> None:
    import jsonschema  # type: ignore[import-untyped]

    (read_index if is_index(path) else read_recipe)(path)
    jsonschema.validate(YAML(typ="rt").load(path), json_schema("index" if is_index(path) else "recipe"))


def test_something_ships() -> None:
    assert len(SHIPPED) >= 3


@pytest.mark.parametrize(
    ("contract", "at_most"), [({}, 1.0), ({"bad_rows": "quarantine"}, 1.0), ({"at_most": 0.1}, 0.1)]
)
def test_a_document_that_cannot_be_read_costs_itself_unless_the_file_says_more(
    contract: dict[str, Any], at_most: float
) -> None:
    for data in ({"source": "documents", "reader": "folders"}, {"source": "rows.csv"}):
        index = Index.model_validate({"documents": data, "embed": {"model": "m"}, "contract": contract})
        assert index.contract.at_most == at_most


@pytest.mark.parametrize("kind", ["recipe", "index"])
def test_the_published_schema_is_that_of_the_code(kind: str) -> None:
    published = json.loads((ROOT / "docs" / f"{kind}.schema.json").read_text())
    assert published == json_schema("index" if kind == "index" else "recipe"), "`make docs` writes it anew"


def test_defaults_of_the_task_its_method_and_the_file_are_filled_in(tmp_path: Path) -> None:
    text = "task: text_classification\ndata: {source: rows.csv}\nmodel: {base: some/model, method: lora}\n"
    text += "gates: {against_baseline: {at_least: 0}, against_champion: {at_least: 0, confidence: 0.9}}\n"
    read = read_recipe(recipe(tmp_path, text))
    assert read.training.learning_rate == 1e-3  # the task's for lora; the schema's own is 1e-4
    assert read.evaluation.primary == "accuracy"
    assert read.registry.name == "a"
    assert read.model.lora is not None
    assert read.model.lora.rank == 8
    assert read.preprocess["max_tokens"] == 128
    assert [read.gates[key].confidence for key in ("against_baseline", "against_champion")] == [0.95, 0.9]
    assert read_recipe(recipe(tmp_path, text), name="b").registry.name == "b"


def test_the_file_wins_over_the_task(tmp_path: Path) -> None:
    text = RECIPE.replace("epochs: 1,", "epochs: 9,")
    read = read_recipe(recipe(tmp_path, text))
    assert read.training.epochs == 9
    assert read.model.lora is None


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "task: text_classification",
            "task: text_clasification",
            "2: task: no task 'text_clasification'. Did you mean 't",
        ),
        ("method: pretrain", "method: lora", "9: model.base: lora needs pretrained weights"),
        ("base: {", "base: b # {", "9: model.base: pretrain starts from {architecture: ..., settings: {...}}, got 'b'"),
        (
            "method: pretrain",
            "method: pretrain\n  lora: {rank: 2}",
            "11: model.lora: only method lora reads this section",
        ),
        (
            "max_tokens: 16",
            "max_token: 16",
            "7: preprocess.max_token: unknown key. Did you mean 'max_tokens'? Allowed: ",
        ),
        ("max_tokens: 16", "max_tokens: 0", "7: preprocess.max_tokens: must be at least 4, got 0"),
        (
            "{resamples: 100}",
            "{primary: acuracy}",
            "12: evaluation.primary: text_classification has no metric 'acuracy'.",
        ),
        ("source: rows.csv", "source: ftpp://x/y.csv", "4: data.source: no source reads ftpp://"),
        ("source: rows.csv", "source: rows.xyz", "4: data.source: the name 'rows.xyz' does not say how to read it"),
        ("source: rows.csv", "source: x\n  reader: cvs", "5: data.reader: no reader 'cvs'"),
        ("source: rows.csv", "source: ''", "4: data.source: must not be empty"),
        (
            "source: rows.csv",
            f"source: r.csv\n  sha256: {'a' * 64}",
            "5: data.sha256: belongs to an http(s):// source only",
        ),
        (
            "source: rows.csv",
            "source: r.csv\n  remove_boilerplate: true",
            "5: data.remove_boilerplate: belongs to the documents of an index",
        ),
        (
            "{text: text, label",
            "{txet: text, label",
            "5: data.columns.txet: not a column that is asked for. Did you mean",
        ),
        (
            "{text: text, label",
            "{row_id: id, label",
            "5: data.columns.row_id: the name is taken. Columns that Headrace",
        ),
    ],
)
def test_combinations_that_cannot_work(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in RECIPE
    found = mistakes(recipe(tmp_path, RECIPE.replace(old, new, 1)))
    assert len(found) == 1, found
    assert found[0].startswith(message), found


def test_nothing_is_computed_again_where_a_base_is_computed_once(tmp_path: Path) -> None:
    text = RECIPE.replace("method: pretrain", "method: transfer").replace("epochs: 1", "gradient_checkpointing: true")
    found = mistakes(recipe(tmp_path, text))
    assert any("training.gradient_checkpointing: transfer computes its base once" in line for line in found), found


@pytest.mark.parametrize(
    ("gate", "message"),
    [
        (
            "acuracy: {at_least: 0.8}",
            "gates.acuracy: text_classification has no metric 'acuracy'. Did you mean 'accuracy'?",
        ),
        (
            "accuracy: {at_least: 0.8, baseline: tfidf}",
            "gates.accuracy.baseline: belongs to against_baseline only",
        ),
        (
            "accuracy: {at_least: 0.8, confidence: 0.9}",
            "gates.accuracy.confidence: belongs to against_baseline and against",
        ),
        ("against_champion: {at_most: 0.1}", "gates.against_champion.at_most: a paired gate bounds the lower end"),
    ],
)
def test_gates_that_gate_nothing(tmp_path: Path, gate: str, message: str) -> None:
    found = mistakes(recipe(tmp_path, f"{RECIPE}gates: {{{gate}}}\n"))
    assert len(found) == 1, found
    assert message in found[0]


SPANS = RECIPE.replace("text_classification", "token_classification").replace("label: label", "spans: spans")


@pytest.mark.parametrize("text", [RECIPE, RECIPE.replace("{resamples: 100}", "{slices: [label]}"), SPANS])
@pytest.mark.parametrize("label", ["pos", "$$", "a]b", "x=y", "日本語", "a: b", "", "two words"])
def test_a_gate_may_stand_on_a_label(tmp_path: Path, text: str, label: str) -> None:
    gates = {f"{figure}[label={label}]": {"at_least": 0.5} for figure in ("f1", "precision", "recall")}
    assert (
        read_recipe(recipe(tmp_path, f"{text}gates: {json.dumps(gates, ensure_ascii=False)}\n")).gates.keys()
        == gates.keys()
    )


@pytest.mark.parametrize("text", [RECIPE, RECIPE.replace("{resamples: 100}", "{slices: [label]}"), SPANS])
def test_macro_f1_of_one_label_is_no_gate(tmp_path: Path, text: str) -> None:
    """Of rows with one true label it stays near .5: a floor below that passes every model."""
    [found] = mistakes(recipe(tmp_path, f"{text}gates:\n  'macro_f1[label=pos $]': {{at_least: 0.4}}\n"))
    assert found.startswith(f"{len(text.splitlines()) + 2}: gates.macro_f1[label=pos $]: macro_f1 says nothing")
    assert "Use f1[label=pos $] or precision[label=pos $] or recall[label=pos $]" in found


@pytest.mark.parametrize(
    ("slices", "gate", "right"),
    [
        ("label", "accuracy[label=pos]", True),
        ("label", "calibration_error[label=pos]", False),
        ("genre", "macro_f1[genre=war]", True),
        ("genre", "f1[genre=war]", False),
        ("genre", "f2[label=war]", False),
        ("a=b", "accuracy[a=b=c]", True),
    ],
)
def test_a_gate_on_a_slice(tmp_path: Path, slices: str, gate: str, right: bool) -> None:
    text = RECIPE.replace("{resamples: 100}", f"{{slices: ['{slices}']}}")
    path = recipe(tmp_path, f"{text}gates: {{'{gate}': {{at_least: 0.4}}}}\n")
    if right:
        assert gate in read_recipe(path).gates
    else:
        assert mistakes(path)


def test_a_method_that_the_task_does_not_have(tmp_path: Path) -> None:
    found = mistakes(recipe(tmp_path, PICTURES))
    assert any("image_classification has no method 'lora'" in line for line in found), found


def test_mistakes_of_every_kind_are_reported_at_once(tmp_path: Path) -> None:
    text = RECIPE.replace("text_classification", "no_such_task").replace("epochs: 1", "epochs: -1")
    text += "gates: {accuracy: {}}\nregistri: {}\n"
    places = [line.split(": ")[1] for line in mistakes(recipe(tmp_path, text))]
    assert places == ["task", "training.epochs", "gates.accuracy", "registri"]
    text = RECIPE.replace("max_tokens: 16", "max_tokens: x").replace("epochs: 1", "epochs: -1")
    text += "gates: {no_metric: {at_least: 1}}\n"
    places = [line.split(": ")[1] for line in mistakes(recipe(tmp_path, text))]
    assert places == ["preprocess.max_tokens", "training.epochs", "gates.no_metric"]


def test_an_index_with_several_mistakes(tmp_path: Path) -> None:
    text = TINY_INDEX.replace("id: id, text", "id: id, txt").replace("overlap: 8", "overlap: 60") + "serch: {}\n"
    with pytest.raises(BadSettings, match=r"documents\.columns\.txt") as caught:
        read_index(recipe(tmp_path, text))
    assert [mistake.line for mistake in caught.value.mistakes] == [2, 3, 5]


def test_a_gate_of_an_index_that_there_is_not(tmp_path: Path) -> None:
    with pytest.raises(BadSettings, match=r"gates\.ndcg: an index has no metric 'ndcg'\. .*Allowed: ndcg_at_10, "):
        read_index(recipe(tmp_path, TINY_INDEX + "gates: {ndcg: {at_least: 0.5}}\n"))


def test_equal_files_give_equal_bytes_and_a_changed_row_does_not(tiny: Workspace) -> None:
    document = tiny.path("data/models/tiny/settings.json")
    settings.run(job(tiny))
    first = document.read_bytes()
    settings.run(job(tiny))
    assert document.read_bytes() == first
    said = json.loads(first)
    assert said.keys() == {
        "bases", "code", "compute", "contract", "data", "evaluation", "examples", "gates", "model", "preprocess",
        "reference", "registry", "sha256", "source", "split", "task", "training",
    }  # fmt: skip
    assert str(tiny.root) not in first.decode()
    with tiny.path("rows.csv").open("a") as rows:
        rows.write("another row,pos\n")
    settings.run(job(tiny))
    changed = {key for key, value in json.loads(document.read_text()).items() if value != said[key]}
    assert changed == {"source", "sha256"}


@pytest.mark.parametrize(
    ("file", "key"),
    [
        ("pipelines/sources/files.py", "source"),
        ("pipelines/sources/readers/csv.py", "source"),
    ],
)
def test_code_that_dvc_cannot_name_is_hashed(tiny: Workspace, file: str, key: str) -> None:
    before = settings.settings(job(tiny))["code"]
    with tiny.path(file).open("a") as code:
        code.write("\n# changed\n")
    done = tiny.stage("settings", "tiny")  # a process of its own: closures are remembered
    assert done.returncode == 0, done.stderr
    after = json.loads(tiny.path("data/models/tiny/settings.json").read_text())["code"]
    assert {name for name in before if before[name] != after[name]} == {key}


def test_a_title_and_a_schedule_change_nothing(tiny: Workspace) -> None:
    before = settings.settings(job(tiny))
    text = tiny.path("recipes/tiny.yaml").read_text().replace("title: tiny", "title: other")
    tiny.write("recipes/tiny.yaml", text + "schedule: {cron: 0 3 * * *}\n")
    assert settings.settings(job(tiny)) == before


def test_a_lock_that_is_missing_or_behind(tiny: Workspace) -> None:
    tiny.path("recipes/tiny.lock").unlink()
    with pytest.raises(BadRequest, match=r"tiny\.lock is missing\. `headrace lock tiny` writes it"):
        settings.settings(job(tiny))
    tiny.write("recipes/tiny.lock", "source: {kind: path}\n")
    architecture = "{architecture: bert, settings: {hidden_size: 16}}"
    tiny.write("recipes/tiny.yaml", RECIPE.replace(architecture, "some/model").replace("pretrain", "full"))
    with pytest.raises(BadRequest, match=r"does not say what some/model is"):
        settings.settings(job(tiny))


def test_a_stage_says_file_and_line_and_exits_2(tiny: Workspace) -> None:
    tiny.write("recipes/tiny.yaml", RECIPE.replace("epochs", "epoch"))
    done = tiny.stage("settings", "tiny")
    assert done.returncode == 2
    assert "recipes/tiny.yaml:11: training.epoch: unknown key. Did you mean 'epochs'?" in done.stderr
    assert "Traceback" not in done.stderr


def test_reading_a_recipe_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom pathlib import Path\nfrom pipelines.recipes.read import read_recipe\n"
        "read_recipe(Path('recipes/film-reviews.yaml'))\n"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    heavy = {"torch", "transformers", "pandas", "sklearn", "pyarrow", "mlflow", "prefect", "dvc"}
    assert sorted(heavy.intersection(done.stdout.split())) == []
