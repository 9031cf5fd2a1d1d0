"""`headrace new --source`: what a look at somebody's data makes of it, and that the settings file says just that."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from PIL import Image

from core.errors import BadRequest
from core.schema.data import Data
from core.workspace import Workspace
from flows.starting.choose import Choice, Wishes, choose
from flows.starting.example import with_own_data
from flows.starting.look import Seen, look
from flows.starting.seen_lines import seen_lines
from flows.starting.settings_text import settings_text
from flows.starting.start import as_written, start
from flows.starting.suggest import FEW
from pipelines.recipes.foreseen import refuse_foreseen
from pipelines.recipes.read import read_index, read_recipe
from tests.conftest import ROOT
from tests.samples import samples

QUEUES = ("billing", "login", "Other: legal")
EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))


def tickets(count: int = 30) -> list[dict[str, Any]]:
    return [
        {
            "ticket id": 1000 + at, "opened": f"2024-03-{at % 28 + 1:02d}", "customer #": f"c{at % 7}",
            "what: happened": f"my {QUEUES[at % 3]} page fails, time {at}, please help",
            "subject": f"{QUEUES[at % 3]} trouble with no end", "queue": QUEUES[at % 3],
        }
        for at in range(count)
    ]  # fmt: skip


def asked(count: int) -> list[dict[str, Any]]:
    """Questions about contexts, every third without an answer, as the hub's SQuAD has them."""
    return [
        {
            "id": f"q{at}", "question": f"where is letter {at} from?", "context": f"Letter {at} came out of Rome.",
            "answers": {"text": [] if at % 3 else ["Rome"], "answer_start": [] if at % 3 else [len(str(at)) + 17]},
        }
        for at in range(count)
    ]  # fmt: skip


def write_csv(path: Path, rows: Sequence[dict[str, Any]], *, delimiter: str = ",", encoding: str = "utf-8") -> None:
    with path.open("w", encoding=encoding, newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)


def seen(tmp_path: Path, name: str) -> Seen:
    return look(Workspace(tmp_path), Data(source=name))


def made(tmp_path: Path, name: str, **wishes: Any) -> tuple[Choice, Any]:
    """The choice, and its settings file as it is read, with nothing that a later stage would refuse."""
    found = seen(tmp_path, name)
    choice = choose(found, Wishes(**wishes))
    file = tmp_path / "mine.yaml"
    file.write_text(settings_text("mine", choice, command="headrace new mine"), encoding="utf-8")
    refuse_foreseen(file, choice.kind, tmp_path)
    assert list(seen_lines(found, choice))
    return choice, read_index(file) if choice.kind == "index" else read_recipe(file)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("t.csv", lambda path: write_csv(path, tickets())),
        ("t.csv", lambda path: write_csv(path, tickets(), delimiter=";")),
        ("t.csv", lambda path: write_csv(path, tickets(), delimiter="|", encoding="utf-8-sig")),
        ("t.tsv", lambda path: write_csv(path, tickets(), delimiter="\t")),
        ("t.jsonl", lambda path: path.write_text("\n".join(map(json.dumps, tickets())))),
        ("t.json", lambda path: path.write_text(json.dumps(tickets()))),
        ("t.parquet", lambda path: pd.DataFrame(tickets()).to_parquet(path)),
        ("t.xlsx", lambda path: pd.DataFrame(tickets()).to_excel(path, index=False)),
    ],
)
def test_a_table_of_texts_and_labels_becomes_a_recipe(name: str, write: Callable[[Path], None], tmp_path: Path) -> None:
    write(tmp_path / name)
    choice, recipe = made(tmp_path, name)
    assert (recipe.task, recipe.data.source) == ("text_classification", name)
    assert recipe.data.columns == {"text": "what: happened", "label": "queue"}
    assert recipe.data.split.stratify == "label"
    assert choice.label is not None and choice.label.values == dict.fromkeys(QUEUES, 10)


def test_what_the_bytes_say_is_written_down(tmp_path: Path) -> None:
    rows = [{**row, "what: happened": row["what: happened"] + " größer"} for row in tickets()]
    write_csv(tmp_path / "t.csv", rows, delimiter=";", encoding="cp1252")
    _, recipe = made(tmp_path, "t.csv")
    assert (recipe.data.encoding, recipe.data.delimiter, recipe.data.reader) == ("cp1252", ";", "csv")
    write_csv(tmp_path / "t.csv", rows, encoding="utf-16")
    assert made(tmp_path, "t.csv")[1].data.encoding == "utf-16"


@pytest.mark.parametrize(
    ("rows", "method", "baseline"),
    [(30, "transfer", "majority"), (FEW, "lora", None), (2 * FEW, "pretrain", None)],
)
def test_the_model_and_its_gate_suit_the_number_of_rows(
    rows: int, method: str, baseline: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.starting.suggest.MANY", 2 * FEW)
    write_csv(tmp_path / "t.csv", tickets(rows))
    _, recipe = made(tmp_path, "t.csv")
    assert (recipe.model.method, recipe.gates["against_baseline"].baseline) == (method, baseline)


def test_series_of_numbers_are_forecast(tmp_path: Path) -> None:
    rows = [
        {"date": f"2024-01-{day:02d}", "store": store, "sales": day * 1.5, "visitors": day}
        for day in range(1, 31)
        for store in ("north", "south")
    ]
    write_csv(tmp_path / "sales.csv", rows)
    _, recipe = made(tmp_path, "sales.csv")
    assert recipe.task == "time_series_forecasting"
    assert recipe.data.columns == {"time": "date", "series": "store"}
    assert recipe.preprocess["values"] == ["sales", "visitors"] and recipe.data.split.time == "time"


@pytest.mark.parametrize(
    "row",
    [
        {"text": "Ada met Bob", "spans": [{"start": 0, "end": 3, "label": "person"}]},
        {"tokens": ["Ada", "met", "Bob"], "ner_tags": ["B-person", "O", "B-person"]},
    ],
    ids=["spans", "tags"],
)
def test_labelled_spans_are_learned(row: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "names.jsonl").write_text("\n".join([json.dumps(row)] * 30))
    assert made(tmp_path, "names.jsonl")[1].task == "token_classification"


def test_lists_of_labels_are_learned(tmp_path: Path) -> None:
    """A text with a list of strings that are no tags of words; a column of one label each wins over it."""
    row = {"text": "A film about a whale", "genres": ["drama", "sea"]}
    (tmp_path / "films.jsonl").write_text("\n".join([json.dumps(row)] * 30))
    recipe = made(tmp_path, "films.jsonl")[1]
    assert (recipe.task, recipe.data.columns) == ("multi_label_text_classification", {"labels": "genres"})
    rows = [{**row, "label": ("good", "bad")[at % 2]} for at in range(30)]
    (tmp_path / "both.jsonl").write_text("\n".join(map(json.dumps, rows)))
    assert made(tmp_path, "both.jsonl")[1].task == "text_classification"


@pytest.mark.parametrize("form", ["lists", "places", "texts"])
def test_answers_out_of_a_context_are_learned(form: str, tmp_path: Path) -> None:
    """Before pairs of a question and a passage, which the table has too; all questions of a context stay together."""
    rows = asked(30)
    for row in rows:
        texts, starts = row["answers"]["text"], row["answers"]["answer_start"]
        places = [{"text": text, "start": start} for text, start in zip(texts, starts, strict=True)]
        row["answers"] = {"lists": row["answers"], "places": places, "texts": ["Rome"]}[form]
    (tmp_path / "asked.jsonl").write_text("\n".join(map(json.dumps, rows)))
    recipe = made(tmp_path, "asked.jsonl")[1]
    assert (recipe.task, recipe.data.split.group_by) == ("question_answering", "context")


def test_pictures_in_folders_of_labels_are_classified(tmp_path: Path) -> None:
    for at in range(30):
        file = tmp_path / "photos" / ("red", "blue")[at % 2] / f"{at}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), ("red", "blue")[at % 2]).save(file)
    _, recipe = made(tmp_path, "photos")
    assert (recipe.task, recipe.data.reader) == ("image_classification", "labelled_folders")
    Image.new("RGB", (8, 8)).save(tmp_path / "photos" / "loose.png")
    for at in range(9):
        (tmp_path / "photos" / f"loose{at}.png").write_bytes((tmp_path / "photos" / "loose.png").read_bytes())
    with pytest.raises(BadRequest, match=r"10 of 40 files lie in no folder of a label"):
        made(tmp_path, "photos")


def test_sounds_in_folders_of_labels_are_classified(tmp_path: Path) -> None:
    """By their names' ends, as pictures are; a table that names sounds is of the same task."""
    for at in range(30):
        file = tmp_path / "calls" / ("owl", "wren")[at % 2] / f"{at}.{('wav', 'FLAC')[at % 2]}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"never opened here")
    _, recipe = made(tmp_path, "calls")
    assert (recipe.task, recipe.data.reader) == ("audio_classification", "labelled_folders")
    write_csv(
        tmp_path / "calls.csv", [{"audio": f"calls/{at}.wav", "bird": ("owl", "wren")[at % 2]} for at in range(30)]
    )
    _, recipe = made(tmp_path, "calls.csv")
    assert (recipe.task, recipe.data.columns) == ("audio_classification", {"path": "audio", "label": "bird"})


def test_documents_become_an_index_and_texts_without_labels_too(tmp_path: Path) -> None:
    (tmp_path / "docs" / "team").mkdir(parents=True)
    for at in range(3):
        (tmp_path / "docs" / "team" / f"{at}.md").write_text(f"# Page {at}\n\nSome words.")
    choice, index = made(tmp_path, "docs")
    assert choice.kind == "index" and index.documents.reader == "folders"
    for part in ("images", "team"):  # screenshots, more of them than pages
        (tmp_path / "docs" / part).mkdir(exist_ok=True)
        for at in range(4):
            Image.new("RGB", (8, 8)).save(tmp_path / "docs" / part / f"{at}.png")
    choice, index = made(tmp_path, "docs")
    assert choice.kind == "index" and index.documents.reader == "folders"
    rows = [{"url": f"u{at}", "article": f"the story number {at} goes like that, on and on"} for at in range(30)]
    write_csv(tmp_path / "articles.csv", rows)
    choice, index = made(tmp_path, "articles.csv")
    assert choice.kind == "index" and index.documents.columns == {"text": "article", "id": "url"}
    named, recipe = made(tmp_path, "articles.csv", task="masked_language_modeling")
    assert named.task == "masked_language_modeling" and recipe.data.columns == {"text": "article"}


def test_a_folder_of_tables_is_read_as_one(tmp_path: Path) -> None:
    (tmp_path / "rows").mkdir()
    for at in range(2):
        write_csv(tmp_path / "rows" / f"{at}.csv", tickets())
    choice, recipe = made(tmp_path, "rows")
    assert recipe.data.reader == "csv" and choice.rows == 60


@pytest.mark.parametrize(
    ("wishes", "words"),
    [
        ({}, r"which column is the label\? --label one of: region \(2 labels\), product \(3 labels\)"),
        ({"columns": {"label": "prodct"}}, "no column 'prodct'. Did you mean 'product'"),
        ({"task": "text_clasification"}, "no task 'text_clasification'. Did you mean"),
        ({"task": "time_series_forecasting"}, "no column for 'time'"),
    ],
)
def test_what_it_cannot_tell_it_asks(wishes: dict[str, Any], words: str, tmp_path: Path) -> None:
    rows = [
        {"letter": f"dear all, this is letter number {at}", "region": "ab"[at % 2], "product": "xyz"[at % 3]}
        for at in range(30)
    ]
    write_csv(tmp_path / "t.csv", rows)
    with pytest.raises(BadRequest, match=words):
        choose(seen(tmp_path, "t.csv"), Wishes(**wishes))
    chosen = choose(seen(tmp_path, "t.csv"), Wishes(columns={"label": "product", "text": "letter"}))
    assert {name: column.name for name, column in chosen.columns.items()} == {"text": "letter", "label": "product"}


def test_what_looks_wrong_is_said(tmp_path: Path) -> None:
    rows = [*tickets(27), *tickets(2), {**tickets(1)[0], "queue": "Login"}, {**tickets(1)[0], "what: happened": ""}]
    write_csv(tmp_path / "t.csv", rows)
    found = seen(tmp_path, "t.csv")
    said = "\n".join(seen_lines(found, choose(found, Wishes())))
    for words in (
        "1 rows have nothing in", "3 duplicates", "1 texts stand there with different labels",
        "written differently: Login, login", "fewer than 10 rows", "columns that nothing reads: ticket id, opened",
    ):  # fmt: skip
        assert words in said


def readings(count: int = 120) -> list[dict[str, Any]]:
    return [
        {
            "reading_id": 7 + at, "day": f"2024-03-{at % 28 + 1:02d}", "pump": f"p{at % 3}", "unit": "bar",
            "pressure": at * 0.37 % 5, "status": ("ok", "leak")[at % 2],
        }
        for at in range(count)
    ]  # fmt: skip


def test_a_table_of_numbers_and_categories_says_a_label(tmp_path: Path) -> None:
    """Its columns are inputs by what they hold; those of ids, and those that never vary, are not."""
    write_csv(tmp_path / "t.csv", readings())
    choice, recipe = made(tmp_path, "t.csv")
    assert (choice.task, recipe.data.columns) == ("tabular_classification", {"label": "status"})
    assert choice.preprocess == {"numbers": ["pressure"], "categories": ["pump"], "dates": ["day"]}
    assert recipe.model.base.architecture == "logistic_regression"
    other, _ = made(tmp_path, "t.csv", columns={"label": "pump"})
    assert other.preprocess["categories"] == ["status"]
    write_csv(tmp_path / "t.csv", readings(FEW))
    assert made(tmp_path, "t.csv")[1].model.base.architecture == "gradient_boosting"


def test_a_table_says_a_number_where_that_is_called_so_or_chosen(tmp_path: Path) -> None:
    rows = [{**row, "price": row["pressure"] * 2 + 1} for row in readings()]
    for row in rows:
        del row["status"]
    write_csv(tmp_path / "t.csv", rows)
    choice, recipe = made(tmp_path, "t.csv", task="tabular_regression")
    assert recipe.data.columns == {"target": "price"}
    assert choice.preprocess == {"numbers": ["pressure"], "categories": ["pump"], "dates": ["day"]}
    assert recipe.model.base.architecture == "linear_regression"
    other, _ = made(tmp_path, "t.csv", columns={"label": "pressure"})
    assert (other.task, other.columns["target"].name) == ("tabular_regression", "pressure")


def test_a_table_without_a_column_called_as_labels_are_is_asked_for_one(tmp_path: Path) -> None:
    """Any column of a table may be told by the others, so none is guessed; a series of times is still forecast."""
    rows = [{"pump": row["pump"], "valve": row["status"], "pressure": row["pressure"]} for row in readings()]
    write_csv(tmp_path / "t.csv", rows)
    with pytest.raises(BadRequest, match="--label one of: pump, valve"):
        choose(seen(tmp_path, "t.csv"), Wishes())
    days = [{"day": row["day"], "pump": row["pump"], "sales": at} for at, row in enumerate(readings(84))]
    write_csv(tmp_path / "t.csv", days)
    assert choose(seen(tmp_path, "t.csv"), Wishes()).task == "time_series_forecasting"


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_examples_choices_with_own_data(example: Path, tmp_path: Path) -> None:
    """What is of the example's own rows goes; what it chose stays, with its comments."""
    task = read_recipe(example).task
    if task.startswith(("image", "audio")):
        for at in range(20):
            file = tmp_path / "own" / "ab"[at % 2] / f"{at}.{'png' if task.startswith('image') else 'wav'}"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(b"not opened")
        source = "own"
    else:
        source = "own.jsonl"
        like = "time_series_forecasting" if read_recipe(example).data.split.time == "time" else task
        (tmp_path / source).write_text("\n".join(map(json.dumps, samples()[like].like or tickets())))
    text, choice, changed = with_own_data(example, seen(tmp_path, source), Wishes())
    (file := tmp_path / "mine.yaml").write_text(text)
    recipe, before = read_recipe(file), read_recipe(example)
    refuse_foreseen(file, "recipe", tmp_path)
    assert (recipe.task, recipe.data.source, recipe.training) == (task, source, before.training)
    assert recipe.model.method == before.model.method and "against_baseline" in recipe.gates
    assert {name for name in before.gates if not name.startswith("against")}.isdisjoint(recipe.gates), changed
    assert all(line in text for line in example.read_text().splitlines() if line.startswith("#"))
    assert choice.task == task


def test_a_refusal_leaves_the_workspace_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "recipes").mkdir()
    (tmp_path / "params.yaml").write_text("recipes: {}\nindexes: {}\n")
    write_csv(tmp_path / "t.csv", tickets())
    with pytest.raises(BadRequest, match="no such file"):
        start(Workspace(tmp_path), "mine", "gone.csv", Wishes())
    with pytest.raises(BadRequest, match="cannot be a name"):
        start(Workspace(tmp_path), "../x", "t.csv", Wishes())
    with pytest.raises(BadRequest):
        start(Workspace(tmp_path), "mine", "t.csv", Wishes(base="./gone"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["params.yaml", "recipes", "t.csv"]
    assert not list((tmp_path / "recipes").iterdir())


def test_a_path_is_written_as_it_counts_from_the_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "t.csv").touch()
    monkeypatch.chdir(tmp_path / "sub")
    workspace = Workspace(tmp_path)
    assert as_written(workspace, "t.csv") == "sub/t.csv"
    assert as_written(workspace, "sub/t.csv") == "sub/t.csv"
    assert as_written(workspace, "https://h.example/t.csv") == "https://h.example/t.csv"
    assert as_written(workspace, "/srv/t.csv") == "/srv/t.csv"


def test_two_columns_of_texts_become_a_translation_by_their_names_or_by_what_is_said(tmp_path: Path) -> None:
    rows = [{"source": f"the house has number {at}", "target": f"das Haus hat Nummer {at}"} for at in range(30)]
    write_csv(tmp_path / "t.csv", rows)
    choice = choose(seen(tmp_path, "t.csv"), Wishes())
    assert choice.task == "sequence_to_sequence" and choice.columns["target"].name == "target"
    write_csv(tmp_path / "u.csv", [{"english": row["source"], "german": row["target"]} for row in rows])
    said = Wishes("sequence_to_sequence", {"text": "english", "label": "german"})
    columns = choose(seen(tmp_path, "u.csv"), said).columns
    assert (columns["source"].name, columns["target"].name) == ("english", "german")
