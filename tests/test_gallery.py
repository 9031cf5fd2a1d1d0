"""`make gallery`: a row is made of a run's own report, and put among the others, which stay."""

from __future__ import annotations

import pytest

from bench.example_data import EXAMPLES
from bench.gallery import BEGIN, END, HEAD, PAGE, Ran, row_of, with_row
from pipelines.recipes.read import read_recipe
from tests.conftest import ROOT

FIGURE = {"value": 0.75, "low": 0.7, "high": 0.8}


def test_a_row_is_the_runs_own_figures_and_a_baseline_that_wins_is_bold() -> None:
    recipe = read_recipe(ROOT / "examples" / "etth1.yaml")
    report = {
        "model": {"mse": {"value": 0.3059, "low": 0.269, "high": 1.0}},
        "baselines": {
            "ar": {"mse": {"value": 0.9}},
            "last_value": {"mse": {"value": 1.2318}},
            "linear": {"mse": {"value": 0.298}},
        },
        "trivial_baseline": "last_value",
    }
    assert row_of("etth1", recipe, report, Ran(31.4, 1076.4)) == (
        "| `etth1` (pretrain) * | mse | .306 [.269, 1] | last_value 1.23 | ar .900, **linear .298** | 31 | 1,076 MB |"
    )


def test_a_row_is_put_in_its_place_and_the_others_stay() -> None:
    page = f"before\n{BEGIN}\n{HEAD[0]}\n{HEAD[1]}\n| `c` | old |\n| `gone` | kept |\n{END}\nafter\n"
    found = with_row(with_row(page, "a", "| `a` | 1 |", ["a", "b", "c"]), "c", "| `c` | new |", ["a", "b", "c"])
    assert (
        found == f"before\n{BEGIN}\n{HEAD[0]}\n{HEAD[1]}\n| `a` | 1 |\n| `c` | new |\n| `gone` | kept |\n{END}\nafter\n"
    )
    with pytest.raises(ValueError, match="no <!-- make gallery"):
        with_row("no table", "a", "", [])


def test_the_page_has_its_table_and_only_rows_of_examples() -> None:
    """A row that no example makes would stand there for ever."""
    page = PAGE.read_text(encoding="utf-8")
    rows = page.partition(BEGIN)[2].partition(END)[0].strip().splitlines()
    assert tuple(rows[:2]) == HEAD
    names = {file.stem for file in EXAMPLES} | {"film-reviews"}
    assert {row.split("`")[1] for row in rows[2:]} <= names
    assert with_row(page, "film-reviews", rows[2], ["film-reviews"]) == page
