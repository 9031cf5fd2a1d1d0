"""A source's column may be called as one of ours is: rows, splits and answers are those of a table with other names."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.schema.columns import ADDED, MEASURED, meant, own_name, set_aside
from core.schema.reading import BadSettings
from core.tables.prepared import read_rows
from core.workspace import Job, Workspace
from pipelines.collect import collect
from pipelines.evaluate import evaluate
from pipelines.preprocess import preprocess
from pipelines.recipes.observe import observe, write_lock
from pipelines.recipes.read import read_recipe
from pipelines.settings import settings
from pipelines.train import train
from pipelines.validate import validate

OURS = [*ADDED, *MEASURED["image"], "split", "key", "reason"]
OTHERS = ["of", "labels", "path", "media", "true", "predicted", "confidence", "time", "series", "index", "level_0"]
ODD = ["source.place", "source.source.place", "source.key", "source.topic", "\0sequence", "Place", "place "]
Row = dict[str, Any]


@pytest.fixture(autouse=True)
def _no_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """These workspaces hold data alone."""
    monkeypatch.setattr("pipelines.settings.settings._source_code", lambda job, data: "")


def workspace(root: Path) -> Job:
    root.mkdir(parents=True, exist_ok=True)
    for name in ("dvc.yaml", "params.yaml"):
        (root / name).touch()
    (root / "recipes").mkdir(exist_ok=True)
    return Workspace(root).job("recipe", "tried")


def ran(root: Path, recipe: Mapping[str, Any], rows: Iterable[Row], *, answers: bool = False) -> Job:
    """The stages up to preprocess, or with answers up to evaluate, in this process."""
    job = workspace(root)
    (root / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    job.settings_file.write_text(json.dumps(recipe))
    write_lock(job, observe(job))
    stages = [settings.run, collect.run, validate.run, preprocess.run, *([train.run, evaluate.run] if answers else [])]
    for stage in stages:
        stage(job)
    return job


def recipe(*, split: Mapping[str, Any] | None = None, where: Mapping[str, Any] | None = None, **more: Any) -> Row:
    data = {"source": "rows.jsonl", "split": {"train": 0.6, "validation": 0.2, "test": 0.2, **(split or {})}}
    return {
        "task": "text_classification",
        "data": {**data, "where": dict(where or {})},
        "model": {"base": {"architecture": "tfidf"}, "method": "pretrain"},
        **more,
    }


def table(names: Sequence[str], seed: int, count: int = 150) -> list[Row]:
    """Rows with a text, a label, and a column of some hundred, few or two values under each of the names."""
    pick = random.Random(seed)
    kinds = [40, 3, 2]
    return [
        {"text": f"Review {at} {'fine' if at % 2 else 'poor'} film.", "label": ("neg", "pos")[at % 2]}
        | {name: f"v{pick.randrange(kinds[column % 3])}" for column, name in enumerate(names)}
        for at in range(count)
    ]


def renamed(rows: Iterable[Row], names: Sequence[str]) -> list[Row]:
    """The same rows with plain names."""
    plain = {name: f"c{at}" for at, name in enumerate(names)}
    return [{plain.get(name, name): value for name, value in row.items()} for row in rows]


# --- the names


@given(st.lists(st.sampled_from([*OURS, *OTHERS, *ODD]), unique=True), st.lists(st.text(), unique=True))
def test_no_two_columns_ever_meet_and_each_can_be_named(some: list[str], others: list[str]) -> None:
    names = list(dict.fromkeys([*some, *others]))
    stored = [set_aside(name, OURS) for name in names]
    columns = {*stored, *OURS}
    assert len(set(stored)) == len(names) and not set(stored) & set(OURS)
    assert [meant(name, columns, OURS) for name in names if not name.startswith("\0")] == [
        column for name, column in zip(names, stored, strict=True) if not name.startswith("\0")
    ]
    assert all(own_name(set_aside(name, OURS), OURS) == name for name in names if "\0" not in name)
    absent = [name for name in OURS if name not in names]
    assert [meant(name, columns, OURS) for name in absent] == absent  # ours, where the source has none


# --- the stages


@pytest.mark.parametrize("seed", range(3))
def test_a_table_of_our_names_gives_the_rows_and_splits_of_one_with_plain_names(seed: int, tmp_path: Path) -> None:
    """Every name of ours is a column; one of them groups, one stratifies, one filters, one is expected to be."""
    names = random.Random(seed).sample([*OURS, *OTHERS, *ODD], len([*OURS, *OTHERS, *ODD]))
    rows = table(names, seed)
    plain = {name: f"c{at}" for at, name in enumerate(names)}
    made = []
    for root, called, given_rows in (
        (tmp_path / "ours", dict.fromkeys(names), rows),
        (tmp_path / "plain", plain, renamed(rows, names)),
    ):
        group, slice_, pair = (called[name] or name for name in names[:3])
        job = ran(
            root,
            recipe(
                split={"group_by": group, "stratify": slice_},
                where={pair: "v0"},
                contract={
                    "at_most": 1.0,
                    "expectations": [
                        {"expect_column_values_to_not_be_in_set": {"column": group, "value_set": ["v7", "v8", "v9"]}}
                    ],
                },
            ),
            given_rows,
        )
        made.append(job)
    ours, others = (
        [
            pq.read_table(job.folder / path).to_pylist()
            for path in ("prepared/rows.parquet", "validated/quarantine.parquet")
        ]
        for job in made
    )
    assert [row["row_id"] for row in ours[0]] == [row["row_id"] for row in others[0]]
    assert [row["split"] for row in ours[0]] == [row["split"] for row in others[0]]
    assert [row["place"] for row in ours[1]] == [row["place"] for row in others[1]] and ours[1]
    assert all("to_not_be_in_set" in row["reason"] for row in ours[1])
    group = names[0]
    sides: dict[str, set[str]] = {}
    for split in ("train", "validation", "test"):
        kept = read_rows(made[0].folder / "prepared", split)
        for value in kept[meant(group, kept.columns, OURS)]:
            sides.setdefault(value, set()).add(split)
    assert len(sides) > 2 and all(len(each) == 1 for each in sides.values())
    by_text = {row["text"]: row for row in rows}
    for row in ours[0]:  # every cell is there, under some name
        assert set(by_text[row["text"]].values()) <= set(row.values())


def test_answers_and_slices_are_those_of_plain_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = [*OURS, "predicted", "true", "source.place"]
    rows = table(names, 5)
    found = []
    for root, called, given_rows in (
        (tmp_path / "ours", "place", rows),
        (tmp_path / "plain", "c2", renamed(rows, names)),
    ):
        job = ran(root, recipe(evaluation={"slices": [called], "resamples": 100}), given_rows, answers=True)
        answers = pq.read_table(job.folder / "evaluation/predictions.parquet").to_pylist()
        text = (job.folder / "evaluation/report.json").read_text()
        found.append((answers, text.replace('"c2"', '"place"')))
    assert names.index("place") == 2 and found[0][0] == found[1][0] and found[0][1] == found[1][1]
    assert "names are taken: content_hash as source.content_hash" in capsys.readouterr().err


def test_a_condition_on_a_name_of_ours_means_the_sources_column(tmp_path: Path) -> None:
    rows = [
        {"text": f"Review {at}", "label": ("neg", "pos")[at % 2], "place": ("Rome", "Oslo")[at % 3 == 0]}
        for at in range(80)
    ]
    rows[6]["text"] = "x"
    rows[7]["text"] = "y"
    expectation = {
        "column": "text", "min_value": 3, "row_condition": 'place == "Oslo"', "condition_parser": "pandas",
    }  # fmt: skip
    contract = {"at_most": 1.0, "expectations": [{"expect_column_value_lengths_to_be_between": expectation}]}
    job = ran(tmp_path, recipe(contract=contract), rows)
    bad = pq.read_table(job.folder / "validated/quarantine.parquet").to_pylist()
    assert [(row["place"], row["source.place"]) for row in bad] == [("rows.jsonl:7", "Oslo")]


def test_a_columns_name_of_before_a_renaming_is_kept_apart(tmp_path: Path) -> None:
    rows = [{"text": f"Review {at}", "label": "a shipping label", "topic": ("neg", "pos")[at % 2]} for at in range(80)]
    told = recipe()
    told["data"]["columns"] = {"label": "topic"}
    job = ran(tmp_path, told, rows)
    first = pq.read_table(job.folder / "validated/examples.parquet").to_pylist()[0]
    assert (first["label"], first["source.label"]) == ("neg", "a shipping label") and "topic" not in first


def test_published_splits_keep_a_column_that_is_called_split(tmp_path: Path) -> None:
    job = workspace(tmp_path)
    for name, count in (("train", 60), ("test", 40)):
        lines = [
            {"text": f"{name} {at}", "label": ("neg", "pos")[at % 2], "split": f"banana {at}"} for at in range(count)
        ]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    told = recipe()
    told["data"] |= {"source": {"train": "train.jsonl", "test": "test.jsonl"}, "split": {"given": "split"}}
    job.settings_file.write_text(json.dumps(told))
    write_lock(job, observe(job))
    for stage in (settings.run, collect.run, validate.run, preprocess.run):
        stage(job)
    made = pq.read_table(job.folder / "prepared/rows.parquet").to_pylist()
    assert {(row["split"], row["text"].split()[0]) for row in made} == {("train", "train"), ("test", "test")}
    assert all(row["source.source.split"].startswith("banana") for row in made)


# --- series


def steps(values: Mapping[str, Sequence[float]]) -> list[Row]:
    count = len(next(iter(values.values())))
    return [
        {"time": f"2024-01-01T{at // 60:02}:{at % 60:02}:00", **{name: numbers[at] for name, numbers in values.items()}}
        for at in range(count)
    ]


def series_recipe(**options: Any) -> Row:
    return {
        "task": "time_series_forecasting",
        "data": {"source": "rows.jsonl", "split": {"time": "time", "train": 0.6, "validation": 0.2, "test": 0.2}},
        "preprocess": {"context": 8, "horizon": 2, "season": 4, **options},
        "model": {"base": {"architecture": "last_value"}, "method": "pretrain"},
        "contract": {"at_most": 1.0},
    }


@pytest.mark.parametrize("columns", [["value"], ["fault", "key"], ["place", "split"]])
def test_two_values_at_one_time_contradict_each_other(columns: list[str], tmp_path: Path) -> None:
    """Equal rows are duplicates; different ones are set aside, all of them, whatever the columns are called."""
    rows = steps({name: [float(at % 4 + place) for at in range(200)] for place, name in enumerate(columns)})
    again, other, minus = dict(rows[10]), dict(rows[20]), dict(rows[4])
    other[columns[-1]] += 1
    minus[columns[0]] = -0.0
    assert rows[4][columns[0]] == 0.0
    options = {} if columns == ["value"] else {"values": columns[:1], "covariates": columns[1:]}
    job = ran(tmp_path, series_recipe(**options), [*rows, again, other, minus])
    bad = pq.read_table(job.folder / "validated/quarantine.parquet").to_pylist()
    assert [row["place"] for row in bad] == ["rows.jsonl:21", "rows.jsonl:202"]
    assert all("the same series and time has another" in row["reason"] for row in bad)
    statistics = json.loads((job.folder / "prepared/statistics.json").read_text())
    assert statistics["duplicates_dropped"] == 2 and sum(statistics["rows"].values()) == 199
    kept = read_rows(job.folder / "prepared").sort_values("time")
    assert kept[columns[0]].tolist() == [float(at % 4) for at in range(200) if at != 20]


@pytest.mark.parametrize("name", ["time", "series", "row_id"])
def test_a_series_value_cannot_be_called_as_its_time_or_id(name: str, tmp_path: Path) -> None:
    job = workspace(tmp_path)
    job.settings_file.write_text(json.dumps(series_recipe(values=[name])))
    with pytest.raises(BadSettings, match=f"'{name}' is what the task calls something else"):
        read_recipe(job.settings_file)
