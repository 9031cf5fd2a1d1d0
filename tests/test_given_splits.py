"""Published splits: each from a source of its own, or said by a column; what is on two sides; what cannot be said."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from core.errors import BadData, BadRequest
from core.schema.data import Data, Split, SplitSource
from core.schema.reading import BadSettings
from core.splits.split import sides
from pipelines.recipes.read import read_recipe
from pipelines.sources import addresses, find_source, source_file, watch_path
from pipelines.sources._files import Files
from pipelines.sources.readers import reader_file
from tests.test_collect import collected, manifest, write_rows

SOURCE = {"train": "given/train.csv", "validation": "given/dev.csv", "test": "given/test.csv"}
GIVEN = Split(given="part")


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Three small files, one a split."""
    (tmp_path / "given").mkdir()
    for at, name in enumerate(("train", "dev", "test")):
        write_rows(tmp_path / "given" / f"{name}.csv", [(f"{name} {row}", "x") for row in range(3 - at)])
    return tmp_path


@pytest.fixture
def address(files: Path) -> Iterator[str]:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(files / "given")))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def told(rows: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    return [(row["place"], row["text"], row["split"]) for row in rows]


ROWS = [
    *((f"train.csv:{row + 2}", f"train {row}", "train") for row in range(3)),
    *((f"dev.csv:{row + 2}", f"dev {row}", "validation") for row in range(2)),
    ("test.csv:2", "test 0", "test"),
]


def test_files_of_splits_are_one_table_with_a_column_that_says_which(files: Path) -> None:
    assert told(collected(files, source=SOURCE)) == ROWS
    found = manifest(files)
    assert found["source"] == SOURCE
    assert found["checksums"]["files"] == 3
    assert found["identity"]["kind"] == "splits" and found["identity"]["train.kind"] == "path"


def test_addresses_of_splits_have_a_checksum_each(files: Path, address: str) -> None:
    names = {"train": "train.csv", "test": "test.csv"}
    source = {split: f"{address}/{name}" for split, name in names.items()}
    sums = {split: sha256(files / "given" / name) for split, name in names.items()}
    rows = collected(files, source=source, sha256=sums)
    assert told(rows) == [row for row in ROWS if row[2] != "validation"]
    assert {key: value for key, value in manifest(files)["identity"].items() if "sha256" in key} == {
        "train.sha256": sums["train"], "test.sha256": sums["test"]
    }  # fmt: skip
    with pytest.raises(BadRequest, match="the checksum does not match"):
        collected(files, source=source, sha256={**sums, "test": "0" * 64})


def test_a_column_of_that_name_gives_way(files: Path) -> None:
    for name in ("train", "test"):
        write_rows(files / f"{name}.csv", [(name, "x", "other")], ("text", "label", "split"))
    rows = collected(files, source={"train": "train.csv", "test": "test.csv"})
    assert [(row["text"], row["split"]) for row in rows] == [("train", "train"), ("test", "test")]


def test_a_row_that_cannot_be_read_has_a_split_too(files: Path) -> None:
    with (files / "given/test.csv").open("a") as file:
        file.write("too,many,fields\n")
    assert [row["split"] for row in collected(files, source=SOURCE) if row["fault"]] == ["test"]


def test_what_reads_splits_and_what_is_watched(files: Path) -> None:
    source = SplitSource(**SOURCE)
    assert source_file(source).stem == "splits"
    assert addresses(source) == list(SOURCE.values())
    assert watch_path(Data(source=source)) == "given"
    assert watch_path(Data(source=SplitSource(train="http://a/x.csv", test="http://a/y.csv"))) is None
    with pytest.raises(BadRequest, match="some splits lie on this machine and some elsewhere"):
        watch_path(Data(source=SplitSource(train="x.csv", test="http://a/y.csv")))
    with pytest.raises(BadRequest, match="named from the workspace and some from the root"):
        watch_path(Data(source=SplitSource(train="x.csv", test=str(files / "y.csv"))))
    with pytest.raises(BadRequest, match="different readers: add `reader:`"):
        reader_file(SplitSource(train="x.csv", test="y.jsonl"), None)


def test_the_checksum_of_splits_does_not_depend_on_where_they_lie(files: Path) -> None:
    one = Files(files, splits={"train": Files(files / "given", (files / "given/train.csv",))})
    (files / "elsewhere").mkdir()
    (files / "given/train.csv").rename(files / "elsewhere/train.csv")
    two = Files(files, splits={"train": Files(files / "elsewhere", (files / "elsewhere/train.csv",))})
    assert [found.name for found in two] == ["train/train.csv"]
    assert two.single is None
    (files / "given/train.csv").write_bytes((files / "elsewhere/train.csv").read_bytes())
    assert one.checksum() == two.checksum()


def test_a_source_of_rows_is_no_file_of_a_split(files: Path) -> None:
    from pipelines.sources import splits

    (files / "data").mkdir()
    write_rows(files / "data" / "train.csv", [("a", "x")])
    data = Data(source=SplitSource(train="hub://./data", test="hub://./data"))
    with pytest.raises(BadRequest, match="hands over rows"):
        splits.fetch(data, files, downloads=files, identity=find_source(data.source).identify(data, files))


# --- the column


def split_of(*said: str | None) -> list[str | None]:
    places = [f"x.csv:{at + 2}" for at in range(len(said))]
    return list(sides(places, pa.table({"part": said, "place": places}), GIVEN))


def test_a_column_says_the_split_under_the_names_that_data_sets_use() -> None:
    names = ["train", "validation", "valid", "val", "dev", "test", None]
    assert split_of(*names) == ["train", *["validation"] * 4, "test", None]


def test_another_value_is_refused_with_its_row() -> None:
    with pytest.raises(BadData, match=r"column 'part' says 'Test', 'holdout' \(first: x.csv:3\). Allowed: train, val"):
        split_of("train", "holdout", "Test")


# --- the recipe

RECIPE = """\
task: text_classification
data:
  source: {train: a.csv, test: b.csv}
  split: {given: split}
model: {base: some/model}
"""


def mistakes(tmp_path: Path, text: str) -> list[str]:
    file = tmp_path / "tickets.yaml"
    file.write_text(text)
    with pytest.raises(BadSettings) as caught:
        read_recipe(file)
    return [f"{mistake.line}: {mistake.message}" for mistake in caught.value.mistakes]


def test_a_recipe_may_name_its_splits(tmp_path: Path) -> None:
    (tmp_path / "tickets.yaml").write_text(RECIPE)
    recipe = read_recipe(tmp_path / "tickets.yaml")
    assert recipe.data.source == SplitSource(train="a.csv", test="b.csv")
    assert Data.model_validate(recipe.data.model_dump(mode="json", exclude={"split"})).source == recipe.data.source


SUM = "a" * 64


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("test: b.csv", "tset: b.csv", "3: data.source.tset: unknown key. Did you mean 'test'?"),
        ("test: b.csv", "tset: b.csv", "3: data.source.test: required, but missing"),
        ("b.csv", "''", "3: data.source.test: must not be empty"),
        ("b.csv", "5", "3: data.source.test: must be text, got 5: put it in quotes"),
        ("b.csv", "ftpp://b.csv", "3: data.source.test: no source reads ftpp://"),
        ("b.csv", "b.xyz", "3: data.source.test: the name 'b.xyz' does not say how to read it"),
        ("given: split", "seed: 7", "3: data.source: it names published splits: add `split: {given: split}`"),
        ("given: split", "given: split, train: 0.8", "4: data.split.train: `given` says each row's split already"),
        ("given: split", "given: split, group_by: x", "4: data.split.group_by: `given` says each row's split already"),
        (
            "given: split}",
            f"given: split}}\n  sha256: {SUM}",
            "5: data.sha256: one for each split, as `source` has them",
        ),
        (
            "given: split}",
            f"given: split}}\n  sha256: {{train: {SUM}}}",
            "5: data.sha256.train: belongs to an http(s):// source only",
        ),
        (
            "given: split}",
            f"given: split}}\n  sha256: {{train: {SUM}, dev: {SUM}}}",
            "5: data.sha256.dev: Allowed: train, validation, test; got 'dev'",
        ),
    ],
)
def test_a_mistake_in_the_splits(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in RECIPE
    found = mistakes(tmp_path, RECIPE.replace(old, new))
    assert any(line.startswith(message) for line in found), found
