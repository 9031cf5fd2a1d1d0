"""A settings file's mistakes as their writer meets them: each with its line, and all at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.errors import BadRequest
from core.schema.reading import BadSettings, parse, read_document
from pipelines.recipes.recipe import Index, Recipe

RECIPE = """\
task: text_classification
data:
  source: rows.csv
model:
  base: some/model
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "a.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def mistakes(tmp_path: Path, text: str, model: type[Recipe | Index] = Recipe) -> list[str]:
    """`line: message` of each mistake."""
    document = read_document(written(tmp_path, text))
    with pytest.raises(BadSettings, match=r"a\.yaml:\d+: ") as caught:
        parse(document, model, document.values)
    return [f"{mistake.line}: {mistake.message}" for mistake in caught.value.mistakes]


def test_a_sound_recipe_is_read(tmp_path: Path) -> None:
    document = read_document(written(tmp_path, RECIPE + "training: {learning_rate: 1e-3, epochs: 2}\n"))
    recipe = parse(document, Recipe, document.values)
    assert recipe.training.learning_rate == 0.001
    assert recipe.training.epochs == 2.0
    assert recipe.data.split.test == 0.1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"a\.yaml:1: must be a mapping .* got an empty file"),
        ("# nothing\n", r"a\.yaml:1: must be a mapping .* got an empty file"),
        ("- task\n", r"a\.yaml:1: must be a mapping .* got a list"),
        ("task\n", r"a\.yaml:1: must be a mapping .* got 'task'"),
        ("a: 1\nb: 2\na: 3\n", r'a\.yaml:3: not YAML: found duplicate key "a"'),
        ("a:\n\tb: 1\n", r"a\.yaml:2: not YAML: found character '\\t'"),
        ("a: [1\nb: 2\n", r"a\.yaml:2: not YAML: "),
        ("a: b: c\n", r"a\.yaml:1: not YAML: mapping values are not allowed here"),
        ("a: *x\n", r"a\.yaml:1: not YAML: found undefined alias"),
        ("a: 1\n---\nb: 2\n", r"a\.yaml:2: not YAML: but found another document"),
        ("a: 2020-99-99\n", r"a\.yaml:1: not YAML: month must be in 1\.\.12"),
        ("a: \x00\n", r"a\.yaml:1: not YAML: unacceptable character"),
        ("&a\nb: *a\n", r"a\.yaml:1: an alias refers to itself"),
    ],
)
def test_text_that_is_no_mapping_in_yaml(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(BadSettings, match=message):
        read_document(written(tmp_path, text))


def test_a_missing_file_a_folder_and_another_encoding(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match=r"a\.yaml: no such file"):
        read_document(tmp_path / "a.yaml")
    with pytest.raises(BadRequest, match="cannot be read"):
        read_document(tmp_path)
    written(tmp_path, "").write_bytes("titel: größe\n".encode("latin-1"))
    with pytest.raises(BadRequest, match=r"not UTF-8 \(byte 9\)"):
        read_document(tmp_path / "a.yaml")


def test_values_are_plain(tmp_path: Path) -> None:
    text = "a: &x true\nb: *x\nc: 0x10\nd: 1.5\ne: 2020-01-02\nf: yes\n7: {x: null}\ng:\n  <<: {h: 1}\n"
    values = read_document(written(tmp_path, text)).values
    assert values == {
        "a": True, "b": True, "c": 16, "d": 1.5, "e": "2020-01-02", "f": "yes", "7": {"x": None}, "g": {"h": 1},
    }  # fmt: skip
    assert [type(values[key]) for key in "abcdef"] == [bool, bool, int, float, str, str]


@pytest.mark.parametrize(
    ("added", "message"),
    [
        (
            "trainig: {epochs: 1}",
            "6: trainig: unknown key. Did you mean 'training'? Allowed: compute, contract, data, ",
        ),
        (
            "training: {epoch: 1}",
            "6: training.epoch: unknown key. Did you mean 'epochs'? Allowed: accumulate, average, batch_",
        ),
        ("training: {epochs: '2'}", "6: training.epochs: must be a number, got the text '2': remove the quotes"),
        ("training: {epochs: two}", "6: training.epochs: must be a number, got the text 'two'"),
        ("training: {epochs: .inf}", "6: training.epochs: must be a finite number, got inf"),
        ("training: {seed: 1.5}", "6: training.seed: must be a whole number, got 1.5"),
        ("training: {seed: true}", "6: training.seed: must be a whole number, got true"),
        ("training: {learning_rate: 0}", "6: training.learning_rate: must be more than 0, got 0"),
        (
            "training:\n",
            "6: training: must be a mapping, but nothing stands below it: fill it in, or leave the key out",
        ),
        ("training: 3\n", "6: training: must be a mapping, got 3"),
        (
            "training: {schedule: cosin}",
            "6: training.schedule: Did you mean 'cosine'? Allowed: linear, cosine, constant; ",
        ),
        ("compute: {threads: 0}", "6: compute.threads: must be at least 1, got 0"),
        ("title: 5", "6: title: must be text, got 5: put it in quotes"),
        (
            "schedule: {cron: 0 3 * *}",
            "6: schedule.cron: must have five fields (minute hour day month weekday), got '0 3",
        ),
        ("schedule: {cron: 61 3 * * *}", "6: schedule.cron: no such time: '61 3 * * *' (Bad minute)"),
        ("schedule: {cron: '@daily'}", "6: schedule.cron: must have five fields"),
        (
            "schedule: {cron: 0 3 * * *, timezone: Europe/Berlim}",
            "6: schedule.timezone: no time zone 'Europe/Berlim'. Did you mean 'Europe/Berlin'?",
        ),
        ("schedule: {timezone: UTC}", "6: schedule.cron: required, but missing"),
        ("gates: {accuracy: {}}", "6: gates.accuracy: needs at_least or at_most: a gate without a bound gates nothing"),
        ("gates: {accuracy: 0.8}", "6: gates.accuracy: must be a mapping, got 0.8"),
        (
            "gates: {accuracy: {at_last: 0.8}}",
            "6: gates.accuracy.at_last: unknown key. Did you mean 'at_least'? Allowed: ",
        ),
        (
            "gates: {accuracy: {at_least: 0.9, at_most: 0.1}}",
            "6: gates.accuracy: at_least must not exceed at_most (0.1)",
        ),
        ("registry: {name: a b}", "6: registry.name: must match pattern"),
        ("registry: {promote: always}", "6: registry.promote: Allowed: auto, manual, approval; got 'always'"),
        ("contract: {expectations: [{a: {}, b: {}}]}", "6: contract.expectations: each entry holds one expectation"),
        (
            "contract:\n  expectations:\n    - expect_a: {}\n    - expect_b: 3",
            "9: contract.expectations.1.expect_b: must be a",
        ),
        ("contract: {expectations: [expect_a]}", "6: contract.expectations.0: must be a mapping, got 'expect_a'"),
        ("contract: {at_most: 1.5}", "6: contract.at_most: must be at most 1, got 1.5"),
        ("evaluation: {slices: label}", "6: evaluation.slices: must be a list, got 'label'"),
    ],
)
def test_one_mistake(tmp_path: Path, added: str, message: str) -> None:
    found = mistakes(tmp_path, f"{RECIPE}{added}\n")
    assert len(found) == 1, found
    assert found[0].startswith(message)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "base: some/model",
            "base: 5",
            "5: model.base: must be text or a mapping (architecture, settings, tokenizer), got 5",
        ),
        (
            "base: some/model",
            "base:",
            "5: model.base: must be text or a mapping (architecture, settings, tokenizer), got null",
        ),
        ("base: some/model", "base: {settings: {}}", "5: model.base.architecture: required, but missing"),
        (
            "base: some/model",
            "base:\n    architecture: bert\n    setings: {}",
            "7: model.base.setings: unknown key. Did you mean 'settings'? Allowed: architecture, settings, tokenizer",
        ),
        (
            "base: some/model",
            "base: [a]",
            "5: model.base: must be text or a mapping (architecture, settings, tokenizer), got",
        ),
        ("source: rows.csv", "source: {sql: {url_env: X}}", "3: data.source.sql.query: required, but missing"),
        ("source: rows.csv", "source: {sqll: {}}", "3: data.source.sql: required, but missing"),
        ("source: rows.csv", "source: 5", "3: data.source: must be text, got 5: put it in quotes"),
        ("source: rows.csv", "where: {a: 1}", "2: data.source: required, but missing"),
        (
            "source: rows.csv",
            "source: x\n  where: {a: {b: 1}}",
            "4: data.where.a: must be text or a whole number or a number",
        ),
        (
            "source: rows.csv",
            "source: x\n  where: {a: [1, [2]]}",
            "4: data.where.a.1: must be text or a whole number or",
        ),
        ("source: rows.csv", "source: x\n  sha256: abc", "4: data.sha256: must match pattern"),
        ("source: rows.csv", "source: x\n  sample: 0", "4: data.sample: must be at least 1, got 0"),
        (
            "source: rows.csv",
            "source: x\n  columns: {text: 1}",
            "4: data.columns.text: must be text, got 1: put it in quotes",
        ),
        (
            "source: rows.csv",
            "source: x\n  split: {train: 0.8, test: 0.3}",
            "4: data.split: train, validation and test must add up to 1, got 1.2",
        ),
        ("source: rows.csv", "source: x\n  split: {train: 1.0}", "4: data.split.train: must be less than 1, got 1.0"),
        ("base: some/model", "base: b\n  lora: {rank: 0}", "6: model.lora.rank: must be at least 1, got 0"),
        (
            "base: some/model",
            "base: b\n  method: lorra",
            "6: model.method: Did you mean 'lora'? Allowed: pretrain, full, lora,",
        ),
        ("base: some/model", "base: b\n  lora: {targets: 3}", "6: model.lora.targets: must be text or a list, got 3"),
        ("task: text_classification\n", "", "1: task: required, but missing"),
    ],
)
def test_one_mistake_inside_a_section(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in RECIPE
    found = mistakes(tmp_path, RECIPE.replace(old, new))
    assert any(line.startswith(message) for line in found), found
    places = {line.split(":")[1] for line in found}
    assert len(places) <= 2, found  # `sqll` is both an unknown key and a missing one


def test_all_mistakes_of_a_file_stand_in_one_message_by_line(tmp_path: Path) -> None:
    text = "task: 5\ndata:\n  source: 7\n  readr: csv\nmodel:\n  base: b\n  lora: {rank: 0}\ntraining: {epochs: -1}\n"
    lines = [line.split(":")[:2] for line in mistakes(tmp_path, text)]
    assert lines == [["1", " task"], ["3", " data.source"], ["4", " data.readr"], ["7", " model.lora.rank"],
                     ["8", " training.epochs"]]  # fmt: skip


def test_missing_sections_of_an_index(tmp_path: Path) -> None:
    assert mistakes(tmp_path, "chunk: {tokens: 20, overlap: 11}\n", Index) == [
        "1: chunk: overlap must be at most half of tokens (20), got 11",
        "1: documents: required, but missing",
        "1: embed: required, but missing",
    ]


def test_a_path_below_the_current_directory_is_shown_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadSettings, match=r"^a\.yaml:1: "):
        read_document(written(tmp_path, ""))
