"""Metrics of labelled spans against a table worked out by hand, and the dictionary that every model must beat."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from core.cells.spans import Span, written
from core.errors import BadData
from core.tables.statistics import sample
from pipelines.evidence.by_label import by_label, whole_by_label
from pipelines.tasks.parts.entities import labelled_spans
from pipelines.tasks.parts.entities.entity_dictionary import EntityDictionary
from pipelines.tasks.text.token_classification import TokenClassification

TASK = TokenClassification()
# Four texts: (true spans, said spans). Worked out by hand:
# found 3 (a, b, a), wrong 3 (b too long, a with another label, c nowhere), missed 3 (b, b, a).
A, B, LONG, AS_B = Span(0, 3, "a"), Span(4, 8, "b"), Span(4, 9, "b"), Span(0, 3, "b")
ROWS: list[tuple[list[Span], list[Span]]] = [
    ([A, B], [A, B]),
    ([A, B], [A, LONG]),
    ([A, B], [AS_B]),
    ([], [Span(1, 2, "c")]),
]


def joined(rows: list[tuple[list[Span], list[Span]]]) -> dict[str, Any]:
    said = labelled_spans.said([" " * 20] * len(rows), [[(span, 0.5) for span in spans] for _, spans in rows])
    return {**said, "spans": np.array([written(true) for true, _ in rows], dtype=object)}


def test_a_span_is_right_when_both_ends_and_the_label_are() -> None:
    measured = labelled_spans.measure(joined(ROWS))
    assert measured["found"].tolist() == [[1, 1, 0], [1, 0, 0], [0, 0, 0], [0, 0, 0]]
    assert measured["wrong"].tolist() == [[0, 0, 0], [0, 1, 0], [0, 1, 0], [0, 0, 1]]
    assert measured["missed"].tolist() == [[0, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, 0]]
    score = labelled_spans.score(measured, np.ones(4))
    assert score == pytest.approx({"f1": 3 / 6, "precision": 3 / 6, "recall": 3 / 6, "macro_f1": (4 / 5 + 2 / 6) / 2})


def test_weights_count_rows_as_often_as_they_say() -> None:
    twice = [ROWS[0], ROWS[0], ROWS[1], ROWS[3], ROWS[3], ROWS[3]]
    repeated = labelled_spans.score(labelled_spans.measure(joined(twice)), np.ones(6))
    weighted = labelled_spans.score(labelled_spans.measure(joined(ROWS)), np.array([2.0, 1.0, 0.0, 3.0]))
    assert weighted == pytest.approx(repeated)


def test_where_nothing_is_to_be_found_and_nothing_is_said_the_metrics_are_0() -> None:
    measured = labelled_spans.measure(joined([([], []), ([], [])]))
    assert labelled_spans.score(measured, np.ones(2)) == dict.fromkeys(labelled_spans.METRICS, 0.0)


def test_models_that_are_compared_have_the_same_columns() -> None:
    """A gate puts two models' statistics one above the other."""
    one = labelled_spans.measure(joined(ROWS))
    two = labelled_spans.measure(joined([(true, []) for true, _ in ROWS]))
    assert {name: array.shape for name, array in one.items()} == {name: array.shape for name, array in two.items()}
    drawn = sample({"one": one, "two": two}, labelled_spans.score, resamples=50, seed=1)
    assert drawn["one"].difference(drawn["two"], "f1").value == pytest.approx(0.5)


def test_an_answer_says_text_and_confidence_of_each_span() -> None:
    said = labelled_spans.said(["Ann in York", "none"], [[(Span(7, 11, "loc"), 0.51239), (Span(0, 3, "per"), 0.9)], []])
    assert labelled_spans.answers(said)["spans"].tolist() == [
        [
            {"start": 0, "end": 3, "label": "per", "text": "Ann", "confidence": 0.9},
            {"start": 7, "end": 11, "label": "loc", "text": "York", "confidence": 0.51239},
        ],
        [],
    ]
    assert said["confidence"].tolist() == [0.51239, 1.0]
    assert json.loads(said["predicted"][1]) == []


def test_labels_are_numbered_by_name_and_there_must_be_one(tmp_path: Path) -> None:
    batches = [pd.DataFrame({"spans": [written([B]), "[]"]}), pd.DataFrame({"spans": [written([A])]})]
    assert labelled_spans.write_labels(batches, tmp_path) == ["a", "b"] == labelled_spans.read_labels(tmp_path)
    with pytest.raises(BadData, match="no training row has a span"):
        labelled_spans.write_labels([pd.DataFrame({"spans": ["[]"]})], tmp_path)


def test_a_picture_of_every_label(tmp_path: Path) -> None:
    labelled_spans.plots(joined(ROWS), folder=tmp_path)
    assert (tmp_path / "f1_by_label.png").read_bytes().startswith(b"\x89PNG")


def table(*rows: tuple[str, list[tuple[str, str]]]) -> pa.Table:
    """Texts and what is an entity in them, by its words."""
    spans = [
        written([Span(text.index(part), text.index(part) + len(part), label) for part, label in parts])
        for text, parts in rows
    ]
    return pa.table({"text": [text for text, _ in rows], "spans": spans})


@pytest.fixture
def known() -> EntityDictionary:
    train = table(
        ("Apple sells in New York", [("Apple", "company"), ("New York", "place")]),
        ("York and apple", [("York", "place"), ("apple", "fruit")]),
        ("APPLE again", [("APPLE", "company")]),
        ("Coca - Cola", [("Coca - Cola", "company")]),
    )
    learnt = EntityDictionary()
    assert learnt.fit(train, train.slice(0, 0)) == []
    return learnt


def test_the_dictionary_finds_the_longest_entity_under_its_commonest_label(known: EntityDictionary) -> None:
    text = "new york, York: apples, Apple; Coca-Cola"
    assert [(text[span.start : span.end], span.label, round(share, 3)) for span, share in known.find(text)] == [
        ("new york", "place", 1.0), ("York", "place", 1.0), ("Apple", "company", 0.667), ("Coca-Cola", "company", 1.0)
    ]  # fmt: skip


def test_a_saved_dictionary_says_the_same_and_is_the_same_file(known: EntityDictionary, tmp_path: Path) -> None:
    rows = pd.DataFrame({"text": ["New York has Apple", "nothing here", ""]})
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        known.save(tmp_path / name)
    assert (tmp_path / "one/dictionary.json").read_bytes() == (tmp_path / "two/dictionary.json").read_bytes()
    again = EntityDictionary.load(tmp_path / "one")
    np.testing.assert_array_equal(again.predict(rows)["predicted"], known.predict(rows)["predicted"])
    assert [len(spans) for spans in again.answers(again.predict(rows))["spans"]] == [2, 0, 0]


def test_of_labels_that_are_equally_common_the_first_by_name_counts() -> None:
    known = EntityDictionary()
    known.fit(table(("x", [("x", "b")]), ("x", [("x", "a")])), table())
    assert [span.label for span, _ in known.find("x")] == ["a"]


def test_each_kind_of_span_has_figures_of_its_own() -> None:
    """Against the counts of each label, worked out span by span."""
    together = joined(ROWS)
    names = labelled_spans.label_names(together)
    found = by_label(TASK, labelled_spans.measure(together), names, resamples=100, seed=1)
    assert [each.label for each in found] == names
    for each in found:
        true, said = ([{s for s in row[at] if s.label == each.label} for row in ROWS] for at in (0, 1))
        right = sum(len(one & two) for one, two in zip(true, said, strict=True))
        there, told = sum(map(len, true)), sum(map(len, said))
        assert each.support == there
        figures = {
            "precision": right / told if told else None,
            "recall": right / there,
            "f1": 2 * right / (there + told),
        }
        assert {name: each.figures[name].value if name in each.figures else None for name in figures} == figures
    whole = whole_by_label(TASK, labelled_spans.measure(together), names)
    assert whole[f"recall[label={names[0]}]"] == found[0].figures["recall"].value
