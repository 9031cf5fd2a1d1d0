"""preprocess, on validated/ as validate leaves it: one row a content, the split, the features on disk."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import TypeAdapter

from core.atomic_files import write_json
from core.errors import BadData, BadRequest
from core.manifest import write_manifest
from core.schema.columns import Column, Contract
from core.schema.data import SPLITS, Split
from core.splits.split import side
from core.tables.keys import text_key
from core.tables.prepared import ROWS, Rows, read_features, read_rows
from core.tables.task import Place, Task
from core.workspace import Job, Workspace
from pipelines.preprocess.distinct_rows import write_distinct
from pipelines.preprocess.preprocess import encode, run
from pipelines.tasks import find_task
from tests.places import a_place

ROOT = Path(__file__).parents[1]
SPLIT = Split(train=0.6, validation=0.2, test=0.2)
BASE = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
Row = dict[str, Any]


def rows(count: int = 60) -> list[Row]:
    return [{"text": f"Review {i} of a film.", "label": ("pos", "neg")[i % 2]} for i in range(count)]


@dataclass(frozen=True)
class Stage:
    """A workspace with one recipe whose validated/ a test writes."""

    root: Path

    @property
    def job(self) -> Job:
        return Workspace(self.root).job("recipe", "tickets")

    @property
    def folder(self) -> Path:
        return self.job.folder / "prepared"

    def given(self, table: Sequence[Row], *, split: Split = SPLIT) -> None:
        task = find_task("text_classification")
        settings = {
            "examples": TypeAdapter(Contract).dump_python(task.contract, mode="json"),
            "task": "text_classification",
            "split": split.model_dump(mode="json"),
            "preprocess": {"max_tokens": 16, "vocabulary": 400},
            "model": {"base": {"architecture": "bert", "settings": BASE, "tokenizer": None}},
            "bases": {},
            "compute": {"engine": "local", "threads": 1},
        }
        write_json(self.job.folder / "settings.json", settings)
        folder = self.job.folder / "validated"
        folder.mkdir(parents=True, exist_ok=True)
        added = [
            {"row_id": f"r{i:04}", "content_hash": "", "place": f"tickets.csv:{i + 2}", "fault": None, **row}
            for i, row in enumerate(table)
        ]
        pd.DataFrame(added).to_parquet(folder / "examples.parquet")
        write_manifest(folder, {})

    def run(self, table: Sequence[Row], *, split: Split = SPLIT) -> Row:
        """Run the stage in this process; returns its statistics."""
        self.given(table, split=split)
        run(self.job)
        statistics: Row = json.loads((self.folder / "statistics.json").read_text())
        return statistics


def hashes(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    for name in ("dvc.yaml", "params.yaml"):
        (tmp_path / name).touch()
    return Stage(tmp_path)


def test_rows_and_features_of_a_split_stand_in_one_order(stage: Stage) -> None:
    statistics = stage.run(list(reversed(rows())))
    assert sum(statistics["rows"].values()) == 60 == len(read_rows(stage.folder))
    for name in SPLITS:
        some, features = read_rows(stage.folder, name), read_features(stage.folder, name)
        assert features["row_id"].to_pylist() == list(some["row_id"]) == sorted(some["row_id"])
        assert {side(text_key(text), SPLIT) for text in some["text"]} == {name}
        labels = json.loads((stage.folder / "encoder" / "labels.json").read_text())
        assert [labels[number] for number in features["labels"].to_pylist()] == list(some["label"])
        assert statistics["labels"][name] == {key: int(n) for key, n in some["label"].value_counts().items()}


def test_features_are_mapped_not_read(stage: Stage) -> None:
    stage.run(rows())
    before = pa.total_allocated_bytes()
    features = read_features(stage.folder, "train")
    assert features.nbytes > 1000 and pa.total_allocated_bytes() - before < features.nbytes / 10


def test_duplicates_go_and_the_lowest_row_id_stays(stage: Stage) -> None:
    copies = [{"row_id": name, "text": text, "label": "pos"} for name, text in (("b", "ONE  film"), ("a", "One film"))]
    statistics = stage.run([*rows(), *copies])
    assert statistics["read"] == 62 and statistics["duplicates_dropped"] == 1
    kept = read_rows(stage.folder)
    assert list(kept.loc[kept["key"] == text_key("one film"), "row_id"]) == ["a"]


GIVEN = Split(given="part")


def published(*parts: str) -> list[Row]:
    """Rows that say their split, one after another."""
    return [{**row, "part": parts[i % len(parts)]} for i, row in enumerate(rows())]


def test_a_given_split_is_what_the_column_says(stage: Stage) -> None:
    statistics = stage.run(published("train", "dev", "test"), split=GIVEN)
    assert statistics["rows"] == dict.fromkeys(SPLITS, 20)
    assert statistics["in_another_split"] == dict.fromkeys(SPLITS, 0)
    kept = read_rows(stage.folder)
    assert set(zip(kept["part"], kept["split"], strict=True)) == {
        ("train", "train"), ("dev", "validation"), ("test", "test")
    }  # fmt: skip


def test_a_row_that_equals_one_of_the_test_is_not_trained_on(
    stage: Stage, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The test's row stays wherever its id stands in the order, then the validation's; of one split the lowest id."""
    monkeypatch.setattr("pipelines.preprocess.distinct_rows.RANGE_ROWS", 7)
    same = [
        ("a", "One film", "train"), ("m", "one film", "test"), ("z", "ONE film", "train"), ("b", "one FILM", "dev"),
        ("c", "two", "train"), ("x", "Two", "valid"), ("d", "three", "train"), ("y", "Three", "train"),
        ("n", "four", "test"), ("e", "Four", "test"),
    ]  # fmt: skip
    copies = [{"row_id": row_id, "text": text, "label": "pos", "part": part} for row_id, text, part in same]
    statistics = stage.run([*published("train", "val", "test"), *copies], split=GIVEN)
    kept = read_rows(stage.folder)
    assert sorted(kept.loc[~kept["row_id"].str.startswith("r"), "row_id"]) == ["d", "e", "m", "x"]
    assert statistics["in_another_split"] == {"train": 3, "validation": 1, "test": 0}
    assert statistics["duplicates_dropped"] == 6
    assert "4 of them stand in the test or validation split too, and stayed there" in capsys.readouterr().err


def test_a_given_split_may_lack_a_validation_and_nothing_else(stage: Stage) -> None:
    assert stage.run(published("train", "train", "test"), split=GIVEN)["rows"]["validation"] == 0
    with pytest.raises(BadData, match=r"data.split.given: no row of the column 'part' says test"):
        stage.run(published("train", "dev"), split=GIVEN)
    with pytest.raises(BadData, match=r"the column 'part' says 'holdout' \(first: tickets.csv:3\)"):
        stage.run(published("train", "holdout"), split=GIVEN)
    with pytest.raises(BadRequest, match=r"data.split.given: the data has no column 'prt'. Did you mean 'part'"):
        stage.run(published("train", "test"), split=Split(given="prt"))


def test_a_new_row_moves_none(stage: Stage) -> None:
    stage.run(rows())
    before = read_rows(stage.folder).set_index("text")["split"]
    stage.run([*rows(), {"text": "A new one.", "label": "neg"}])
    assert read_rows(stage.folder).set_index("text")["split"].drop("A new one.").to_dict() == before.to_dict()


def test_groups_stay_together_and_other_columns_are_kept(stage: Stage) -> None:
    stage.run(
        [{**row, "author": i % 20, "year": 2000.5} for i, row in enumerate(rows())],
        split=SPLIT.model_copy(update={"group_by": "author"}),
    )
    kept = read_rows(stage.folder)
    assert (kept.groupby("author")["split"].nunique() == 1).all() and set(kept["year"]) == {2000.5}


def test_stratify_reports_what_is_not_there(stage: Stage, capsys: pytest.CaptureFixture[str]) -> None:
    table = [{**row, "kind": "rare" if i == 0 else "common"} for i, row in enumerate(rows())]
    statistics = stage.run(table, split=SPLIT.model_copy(update={"stratify": "kind"}))
    own = side(text_key(table[0]["text"]), SPLIT)
    expected = {name: ["rare"] for name in SPLITS if name != own}
    assert statistics["stratify"] == {"column": "kind", "missing": expected}
    assert f"stratify: rare not in the {next(iter(expected))} split" in capsys.readouterr().err


def test_lengths_are_those_of_the_lists(stage: Stage) -> None:
    statistics = stage.run(rows())
    lengths = [len(ids) for name in SPLITS for ids in read_features(stage.folder, name)["input_ids"].to_pylist()]
    assert statistics["lengths"]["input_ids"]["p90"] == np.quantile(lengths, 0.9)
    assert statistics["lengths"]["input_ids"]["most"] == max(lengths) <= 16


def test_an_empty_split_stops_and_leaves_what_was_there(stage: Stage) -> None:
    stage.run(rows())
    before = hashes(stage.folder)
    message = (
        r"recipes/tickets.yaml: data.split.test is 0.2, and none of 2 different rows falls into it. Bring more rows"
    )
    texts = [f"t{i}" for i in range(50) if side(text_key(f"t{i}"), SPLIT) == "train"][:1]
    texts += [f"t{i}" for i in range(50) if side(text_key(f"t{i}"), SPLIT) == "validation"][:1]
    with pytest.raises(BadData, match=message) as caught:
        stage.run([{"text": text, "label": "pos"} for text in texts])
    assert caught.value.exit_code == 3 and hashes(stage.folder) == before
    stage.run(rows())
    assert hashes(stage.folder) == before


def test_a_share_of_zero_may_stay_empty(stage: Stage) -> None:
    split = Split(train=0.7, validation=0.0, test=0.3)
    assert stage.run(rows(), split=split)["rows"]["validation"] == 0
    assert read_features(stage.folder, "validation").num_rows == 0
    assert read_features(stage.folder, "validation").schema == read_features(stage.folder, "train").schema


def test_half_an_input_is_not_read(stage: Stage) -> None:
    stage.given(rows())
    (stage.job.folder / "validated" / "manifest.json").unlink()
    with pytest.raises(BadRequest, match=r"validated/manifest\.json: missing"):
        run(stage.job)


@pytest.mark.slow
def test_equal_bytes_in_another_folder_and_process(stage: Stage, tmp_path_factory: pytest.TempPathFactory) -> None:
    stage.run(rows())
    other = Stage(tmp_path_factory.mktemp("a longer name for the same"))
    for name in ("dvc.yaml", "params.yaml"):
        (other.root / name).touch()
    other.given(list(rows()))
    done = subprocess.run(
        [sys.executable, "-m", "pipelines.preprocess", "tickets"],
        cwd=other.root, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "duplicates dropped" in done.stderr
    assert hashes(other.folder) == hashes(stage.folder)


class Brightness:
    """As much of a task as preprocess asks: the mean of a file's bytes."""

    contract = Contract(columns={"path": Column("media")}, inputs=("path",), media="image")

    def encode(self, rows: pd.DataFrame, at: Place) -> pa.Table:
        files = [(at.media / path).read_bytes() for path in rows["path"]]
        return pa.table({"mean": pa.array([float(np.mean(list(file))) for file in files])})


def test_media_are_keyed_by_their_hash_and_read_from_raw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.preprocess.preprocess._MEDIA_AT_ONCE", 7)
    task = cast(Task, Brightness())
    table = []
    for i in range(40):
        content = bytes([i % 30] * 4)
        (tmp_path / f"{i}.raw").write_bytes(content)
        table.append({"row_id": f"{i:02}", "path": f"{i}.raw", "content_hash": hashlib.sha256(content).hexdigest()})
    examples, prepared = tmp_path / "examples.parquet", tmp_path / "prepared"
    pd.DataFrame(table).to_parquet(examples)
    prepared.mkdir()
    counted = write_distinct(examples, prepared / ROWS, task.contract, SPLIT, tmp_path)
    assert sum(counted.rows.values()) == 30
    encode(task, prepared, a_place(prepared, media=tmp_path), 30)
    found = pa.concat_tables([read_features(prepared, name) for name in SPLITS]).to_pydict()
    assert dict(zip(found["row_id"], found["mean"], strict=True)) == {f"{i:02}": float(i) for i in range(30)}


class Windows(Brightness):
    """A task whose features are one or two a row."""

    def encode(self, rows: pd.DataFrame, at: Place) -> pa.Table:
        of = [row for row, path in enumerate(rows["path"]) for _ in range(1 + len(path) % 2)]
        return pa.table({"of": of, "path": [rows["path"][row] for row in of]})


def test_several_features_of_a_row_carry_its_id(tmp_path: Path) -> None:
    table = [{"row_id": f"{i:02}", "path": "p" * (i + 1), "content_hash": f"{i:064x}"} for i in range(40)]
    pd.DataFrame(table).to_parquet(tmp_path / "examples.parquet")
    task = cast(Task, Windows())
    write_distinct(tmp_path / "examples.parquet", tmp_path / ROWS, task.contract, SPLIT, tmp_path)
    encode(task, tmp_path, a_place(tmp_path), 40)
    found = pa.concat_tables([read_features(tmp_path, name) for name in SPLITS]).to_pydict()
    expected = [(f"{i:02}", "p" * (i + 1)) for i in range(40) for _ in range(1 + (i + 1) % 2)]
    assert sorted(zip(found["row_id"], found["path"], strict=True)) == expected


@pytest.mark.parametrize("ranges", [1, 7, 60])
def test_rows_in_any_order_and_number_of_files_are_those_of_one_sort(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ranges: int
) -> None:
    """Against pandas: one row a key, the lowest row id of each, in the order of row ids."""
    monkeypatch.setattr("pipelines.preprocess.distinct_rows.RANGE_ROWS", 600 // ranges)
    monkeypatch.setattr("pipelines.preprocess.distinct_rows.BATCH_ROWS", 37)
    random = np.random.default_rng(5)
    ids = [f"{'é' if i % 9 == 0 else 'r'}{i}" for i in random.permutation(600)]
    texts = [f"Text {n}" for n in random.integers(0, 400, 600)]
    rows = pd.DataFrame({"row_id": ids, "text": texts, "label": "a", "year": random.integers(0, 9, 600), "split": "x"})
    rows.to_parquet(tmp_path / "examples.parquet")
    contract = find_task("text_classification").contract
    counted = write_distinct(tmp_path / "examples.parquet", tmp_path / ROWS, contract, SPLIT, tmp_path)
    kept = pq.read_table(tmp_path / ROWS).to_pandas()
    expected = rows.sort_values("row_id").drop_duplicates("text")
    assert list(kept.columns[:3]) == ["row_id", "split", "key"] and set(kept["source.split"]) == {"x"}
    assert (
        kept[["row_id", "text", "year"]].to_numpy().tolist() == expected[["row_id", "text", "year"]].to_numpy().tolist()
    )
    assert list(kept["split"]) == [side(text_key(text), SPLIT) for text in expected["text"]]
    assert counted.rows == {name: int((kept["split"] == name).sum()) for name in SPLITS}
    for size in (1, 50, 1000):
        batches = list(Rows(tmp_path, "train", size))
        assert [len(batch) for batch in batches[:-1]] == [size] * (len(batches) - 1)
        pd.testing.assert_frame_equal(pd.concat(batches, ignore_index=True), read_rows(tmp_path, "train"))
