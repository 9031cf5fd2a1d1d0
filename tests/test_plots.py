"""Plots of any labels: no formula, no box, no warning; readable and small, however many labels there are."""

from __future__ import annotations

import hashlib
import json
import warnings
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pytest
from PIL import Image

from core.tables.spelling import spelled_apart
from pipelines.tasks.parts import classification, plots
from pipelines.tasks.parts.entities import labelled_spans

SIGNS = [
    "$", "$$", "$_{x}^2$", "$\\frac{", "\\alpha", "^", "{", "}", "_hidden", "a|b", "<b>", "*", "[x]", "", " ", "%d",
    "two\nlines", "日本語", "한국어", "עברית", "العربية", "हिन्दी", "👨\u200d👧", "می\u200cخواهم", "\u202eback",
    "x" * 3000, "x" * 3001,
]  # fmt: skip
EMBEDDED = 200_000  # bytes that Prefect's page takes


def answers(labels: int, rows: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(1)
    label = np.arange(rows) % labels
    return {"label": label, "probabilities": random.dirichlet(np.ones(labels), rows) + 0.3 * np.eye(labels)[label]}


def drawn_labels(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the next plots draw of their labels."""
    found: list[str] = []

    def kept(*given: Any, **named: Any) -> list[str]:
        found.extend(told := spelled_apart(*given, **named))
        return told

    monkeypatch.setattr(plots, "spelled_apart", kept)
    return found


@pytest.mark.parametrize("names", [sorted(SIGNS)[:13], sorted(SIGNS)[13:], ["$$", "$"]])
def test_labels_of_signs_are_drawn_as_text(tmp_path: Path, names: list[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a letter without a picture warns; a formula that is none raises
        classification.plots(answers(len(names), 90), folder=tmp_path, names=names)
    for path in tmp_path.iterdir():
        assert path.stat().st_size < EMBEDDED


@pytest.mark.parametrize("labels", [300, 1000])
def test_of_many_labels_those_that_are_confused_most_are_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, labels: int
) -> None:
    label = np.arange(labels * 3) % labels
    said = np.where(np.isin(label, [7, 11]) & (np.arange(len(label)) >= labels), 18 - label, label)
    shown = drawn_labels(monkeypatch)
    names = [f"label {at:04}" for at in range(labels)]
    classification.plots({"label": label, "probabilities": np.eye(labels)[said]}, folder=tmp_path, names=names)
    assert {"label 0007", "label 0011"} < set(shown) and len(shown) == plots.MOST
    with Image.open(tmp_path / "confusion.png") as picture:
        assert max(picture.size) < 1500
    assert (tmp_path / "confusion.png").stat().st_size < EMBEDDED


def test_the_cells_are_those_of_the_whole_matrix() -> None:
    random = np.random.default_rng(5)
    label, predicted = random.integers(0, 40, 500), random.integers(0, 40, 500)
    whole = np.zeros((40, 40), dtype=int)
    np.add.at(whole, (label, predicted), 1)
    chosen = classification.confused_most(label, predicted, 40)
    pairs = sorted((-whole[at], at) for at in np.ndindex(40, 40) if at[0] != at[1] and whole[at])
    expected = list(dict.fromkeys(each for _, pair in pairs for each in pair))[: plots.MOST]
    assert chosen.tolist() == sorted(expected)
    right = classification.confused_most(label, label, 40)
    assert len(right) == plots.MOST and np.bincount(label)[right].min() >= np.sort(np.bincount(label))[-plots.MOST]
    np.testing.assert_array_equal(classification._cells(label, predicted, chosen, 40), whole[np.ix_(chosen, chosen)])


def test_spans_of_many_labels_of_signs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = [*SIGNS, *(f"kind {at}" for at in range(200))]
    cells = [json.dumps([{"start": 0, "end": 2, "label": label}]) for label in labels] + [
        json.dumps([{"start": 0, "end": 2, "label": "$"}])
    ]
    spans = np.array(cells, dtype=object)
    shown = drawn_labels(monkeypatch)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        labelled_spans.plots({"spans": spans, "predicted": spans}, folder=tmp_path)
    assert "$" in shown and len(shown) == plots.MOST
    assert (tmp_path / "f1_by_label.png").stat().st_size < EMBEDDED


def test_a_users_style_changes_nothing_and_a_plot_has_equal_bytes(tmp_path: Path) -> None:
    found = set()
    for name, style in (("plain", {}), ("styled", {"text.usetex": True, "font.size": 30.0}), ("again", {})):
        (tmp_path / name).mkdir()
        with matplotlib.rc_context(style):
            classification.plots(answers(2, 40), folder=tmp_path / name, names=["$", "b"])
        found.add(hashlib.sha256((tmp_path / name / "confusion.png").read_bytes()).hexdigest())
    assert len(found) == 1


def test_another_font_of_the_machine_draws_what_the_first_has_not(monkeypatch: pytest.MonkeyPatch) -> None:
    from matplotlib import font_manager
    from matplotlib.font_manager import FontEntry

    han = FontEntry(fname="/fonts/han.otf", name="Han", style="normal", variant="normal", weight=400)
    monkeypatch.setattr(font_manager.fontManager, "ttflist", [han, *font_manager.fontManager.ttflist])
    real = plots._letters
    monkeypatch.setattr(plots, "_letters", lambda file: frozenset("日本") if file == han.fname else real(file))
    families, missing = plots._fonts(frozenset("a日本語\n"))
    assert families == ["DejaVu Sans", "Han"] and missing == {"語"}
    assert plots._fonts(frozenset("abc")) == (["DejaVu Sans"], frozenset())
