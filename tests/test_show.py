"""headrace show: rows as they were read, rows that were refused, test rows that were answered wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from typer.testing import CliRunner

from core.errors import BadRequest
from core.tables.predictions import read_predictions
from core.workspace import Workspace as Root
from flows.cli.command import app
from flows.terminal.cells import cells_line, id_text, json_value
from flows.terminal.shown_lines import What, sheet, shown_lines
from pipelines.collect import collect
from pipelines.evaluate import evaluate
from pipelines.preprocess import preprocess
from pipelines.recipes.observe import observe, write_lock
from pipelines.settings import settings
from pipelines.shown.contact_sheet import Captioned, contact_sheet
from pipelines.shown.series_plots import worst_column
from pipelines.shown.shown_rows import Shown, as_read, refused
from pipelines.shown.wrong_answers import Wrong, WrongAnswer, answered_wrong
from pipelines.tasks.parts.inputs.contexts import FUTURE
from pipelines.tasks.parts.inputs.series import Series
from pipelines.train import train
from pipelines.validate import validate
from tests.conftest import TINY_INDEX, Workspace, copy_code, film_rows
from tests.samples import image_classification, time_series_forecasting

TEXTS = """\
task: text_classification
data: {source: rows.csv, split: {train: 0.6, validation: 0.2, test: 0.2}}
contract: {at_most: 0.2}
model: {base: {architecture: tfidf}, method: pretrain}
evaluation: {resamples: 100}
"""
PICTURES = image_classification.SAMPLE.recipe.replace("resnet", "pixels") + "evaluation: {resamples: 100}\n"
STEPS = time_series_forecasting.SAMPLE.recipe.replace("lstm", "last_value") + "evaluation: {resamples: 100}\n"
WHAT: tuple[What, ...] = ("rows", "quarantine", "wrong")
NOISE = 11  # of every so many labels one is another: no model is right about those


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Root:
    """Three recipes that went up to `evaluate`, an index that was screened, and a recipe and an index that wait."""
    root = tmp_path_factory.mktemp("shown") / "workspace"
    root.mkdir()
    copy_code(root)
    workspace = Workspace(root, {})
    documents = [{"id": f"d{at}", "text": f"document {at} about rivers"} for at in range(30)]
    workspace.write("documents.jsonl", "\n".join(map(json.dumps, [*documents, {"id": "gone", "text": " "}])))
    recipes = {"steps": STEPS, "pictures": PICTURES, "texts": TEXTS, "waits": TEXTS}
    for name, recipe in recipes.items():
        workspace.write(f"recipes/{name}.yaml", recipe)
        workspace.write(f"recipes/{name}.lock", "source: {kind: path}\nbases: {}\nreference: null\n")
    for name in ("docs", "idle"):
        workspace.write(f"indexes/{name}.yaml", f"{TINY_INDEX}contract: {{at_most: 0.2}}\n")
    workspace.live(
        recipes={name: {"task": "x", "watch": "x"} for name in recipes},
        indexes={name: {"watch": "x"} for name in ("docs", "idle")},
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        time_series_forecasting.SAMPLE.write(workspace)
        _run(root, "steps")
        image_classification.SAMPLE.write(workspace)
        for number in range(0, 160, 2 * NOISE):
            (root / f"pictures/left/{number}.png").rename(root / f"pictures/right/{number}.png")
        _run(root, "pictures")
        rows = [{**row, "label": "neg" if at % NOISE == 0 else row["label"]} for at, row in enumerate(film_rows(200))]
        workspace.write_rows([*rows, {"text": " ", "label": "pos"}, {"text": "", "label": "neg"}])
        _run(root, "texts")
        job = Root(root).job("index", "docs")
        write_lock(job, observe(job))
        for stage in (settings, collect, validate):
            stage.run(job)
    return Root(root)


def _run(root: Path, name: str) -> None:
    for stage in (settings, collect, validate, preprocess, train, evaluate):
        stage.run(Root(root).job("recipe", name))


def shown(made: Root, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Any:
    monkeypatch.chdir(made.root)
    done = CliRunner().invoke(app, ["show", *arguments, "--json"], catch_exceptions=False)
    return json.loads(done.stdout)


@pytest.mark.slow
def test_rows_as_they_were_read_with_their_split(made: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    told = shown(made, monkeypatch, "texts", "-n", "3")
    job = made.job("recipe", "texts")
    prepared = {row["row_id"]: row["split"] for row in pq.read_table(job.folder / "prepared/rows.parquet").to_pylist()}
    assert (told["what"], told["total"], len(told["rows"])) == ("rows", 200, 3)
    assert told["source"]["read"] == 202 and told["source"]["quarantined"] == 2
    assert told["rows"][0]["place"] == "rows.csv:2" and told["rows"][0]["cells"].keys() == {"text", "label"}
    assert all(row["split"] == prepared[row["row_id"]] for row in told["rows"])
    assert sum(told["counts"].values()) == 200
    lines = list(shown_lines(job, "rows", as_read(job, 1)))
    assert lines[0].startswith("texts: 202 read: 200 kept, 2 in quarantine (data/models/texts/")
    assert "rows.csv:2" in lines[-1] and "the film of story 0" in lines[-1]


@pytest.mark.slow
def test_rows_that_were_refused_with_place_and_reason(made: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    told = shown(made, monkeypatch, "texts", "--quarantine")
    assert told["total"] == 2 and sum(told["counts"].values()) == 2
    assert [row["place"] for row in told["rows"]] == ["rows.csv:202", "rows.csv:203"]
    assert "white space only" in told["rows"][0]["reason"]
    job = made.job("recipe", "texts")
    said = list(shown_lines(job, "quarantine", refused(job, 1)))
    assert said[1] == "set aside: 2 rows (data/models/texts/validated/quarantine.parquet)"
    rejected = job.workspace.var / "rejected/recipe-texts"
    rejected.mkdir(parents=True)
    try:
        pq.write_table(
            pq.read_table(job.folder / "validated/quarantine.parquet").slice(0, 1), rejected / "quarantine.parquet"
        )
        assert refused(job, 5).total == 1, "what made the last `validate` stop comes first"
    finally:
        (rejected / "quarantine.parquet").unlink()


@pytest.mark.slow
def test_wrong_answers_the_surest_first(made: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against the predictions themselves."""
    told = shown(made, monkeypatch, "texts", "--wrong", "-n", "4")
    job = made.job("recipe", "texts")
    answered = read_predictions(job.folder / "evaluation/predictions.parquet")
    spread, label = answered.model["probabilities"], answered.truth["label"]
    wrong = np.flatnonzero(spread.argmax(axis=1) != label)
    order = wrong[np.argsort(-spread[wrong].max(axis=1), kind="stable")]
    assert (told["wrong"], told["test_rows"]) == (len(wrong), len(label)) and len(wrong) > 0
    assert [row["row_id"] for row in told["rows"]] == [answered.row_ids[at] for at in order[:4]]
    first = told["rows"][0]
    assert {first["true"], first["said"]} == {"neg", "pos"} and first["cells"]["label"] == first["true"]
    assert first["sure"] == pytest.approx(spread[order[0]].max())
    assert first["answer"]["label"] == first["said"]
    lines = list(shown_lines(job, "wrong", answered_wrong(job, 1)))
    assert "test rows are answered wrong, the surest first:" in lines[0]
    assert lines[2].startswith(f"    true {first['true']}; said {first['said']} (")


@pytest.mark.slow
def test_pictures_lie_on_a_sheet(made: Root, tmp_path: Path) -> None:
    job = made.job("recipe", "pictures")
    looks: list[Shown | Wrong] = [as_read(job, 7), refused(job, 3), answered_wrong(job, 3)]
    for number, (what, found) in enumerate(zip(WHAT, looks, strict=True)):
        sheet(job, what, found, tmp_path / f"{number}.png")
        with Image.open(tmp_path / f"{number}.png") as drawn:
            assert drawn.width > 400 and drawn.height > 150
    with pytest.raises(BadRequest, match="--picture: the rows of texts are neither pictures nor steps of time"):
        sheet(made.job("recipe", "texts"), "rows", as_read(made.job("recipe", "texts"), 1), tmp_path / "no.png")


def test_a_sheet_shows_each_picture_once(tmp_path: Path) -> None:
    """Six pictures of one colour each: the sheet has every colour, and room for one that cannot be read."""
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (0, 255, 255), (255, 0, 255)]
    files = [tmp_path / f"{at}.png" for at in range(6)]
    for file, colour in zip(files, colours, strict=True):
        Image.new("RGB", (20, 10), colour).save(file)
    pictures = [
        *(Captioned(file, ["true a", "said b (0.90)"]) for file in files),
        Captioned(b"none", []),
        Captioned(None, []),
    ]
    contact_sheet(pictures, "title", tmp_path / "sheet.png")
    with Image.open(tmp_path / "sheet.png") as drawn:
        there = {colour for _, colour in drawn.convert("RGB").getcolors(10**6) or []}
    assert set(colours) <= there


@pytest.mark.slow
def test_of_a_series_the_windows_with_the_largest_error(made: Root) -> None:
    job = made.job("recipe", "steps")
    found = answered_wrong(job, 2)
    answered = read_predictions(job.folder / "evaluation/predictions.parquet")
    errors = ((answered.model["forecast"] - answered.truth["future"]) ** 2).mean(axis=1)
    assert [row.error for row in found.rows] == pytest.approx(sorted(errors, reverse=True)[:2])
    lines = list(shown_lines(job, "wrong", found))
    assert lines[0] == f"steps: the 2 of {len(errors)} test rows with the largest mean squared error, standardised"
    assert any(line.strip().startswith("future") for line in lines)
    assert any(line.strip().startswith("said forecast") for line in lines)


@pytest.mark.slow
def test_a_series_is_drawn(made: Root, tmp_path: Path) -> None:
    """All steps, also of several series and columns; and the worst windows."""
    job = made.job("recipe", "steps")
    looks: dict[What, Shown | Wrong] = {"rows": as_read(job, 1), "wrong": answered_wrong(job, 3)}
    for what, found in looks.items():
        sheet(job, what, found, tmp_path / f"{what}.png")
        with Image.open(tmp_path / f"{what}.png") as drawn:
            assert drawn.width > 900 and 200 < drawn.height < 2000
    with pytest.raises(BadRequest, match="the refused steps of steps make no picture"):
        sheet(job, "quarantine", refused(job, 1), tmp_path / "no.png")


def test_the_worst_column_of_a_window_is_drawn() -> None:
    """By standard deviations: 3 too much where they are 1 is worse than 10 where they are 100."""
    known = Series(values=["load", "heat"], horizon=2, mean=[0, 0], deviation=[100, 1], step=1)
    row = WrongAnswer(
        "", None, {FUTURE: [0, 0, 0, 0]}, None, None, None, 1.0, {"forecast": {"load": [10, 10], "heat": [3, 3]}}
    )
    assert worst_column(row, known) == 1


@pytest.mark.slow
def test_documents_of_an_index_as_read_and_left_out(made: Root, monkeypatch: pytest.MonkeyPatch) -> None:
    told = shown(made, monkeypatch, "docs", "-n", "2")
    assert (told["kind"], told["total"]) == ("index", 30)
    assert [row["cells"]["id"] for row in told["rows"]] == ["d0", "d1"]
    assert told["rows"][0]["split"] is None
    [gone] = shown(made, monkeypatch, "docs", "--quarantine")["rows"]
    assert gone["cells"]["id"] == "gone" and "white space only" in gone["reason"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["waits"], "waits has no rows yet. `headrace run waits` reads them."),
        (["waits", "--quarantine"], "waits has no rows yet, refused or not. `headrace run waits` reads them."),
        (["waits", "--wrong"], "no model of waits was evaluated yet. `headrace run waits` trains and evaluates one."),
        (["idle"], "idle has no rows yet. `headrace index idle` reads them."),
        (["docs", "--wrong"], "docs is an index"),
        (["texts", "--rows", "--wrong"], "one at a time"),
        (["texts", "--picture", "a.jpg"], "it is written as PNG"),
        (["texst"], "no live recipe or index 'texst'. Did you mean 'texts'?"),
    ],
)
def test_before_the_first_run_the_command_is_named(
    made: Root, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(made.root)
    with pytest.raises(BadRequest, match=message.replace("(", r"\(")):
        CliRunner().invoke(app, ["show", *arguments], catch_exceptions=False)


def test_cells_are_short_and_json_is_plain() -> None:
    assert cells_line({"text": "one\ntwo"}) == "one two"
    assert cells_line({"a": 0.123456789, "b": None, "c": [1.23456, 2]}) == "a=0.123457  c=[1.235, 2]"
    assert (id_text("a" * 64), id_text("row-1")) == ("a" * 12, "row-1")
    assert json_value({"a": [float("nan"), np.float64(2.5)], "b": None}) == {"a": [None, 2.5], "b": None}
