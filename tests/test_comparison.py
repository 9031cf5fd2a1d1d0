"""The candidate against its best baseline and against the champion, on rows that both answered."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from core.tables.predictions import Answered, covers, read_predictions, write_predictions
from core.tables.task import Predictions
from pipelines.evidence.comparison import Yardstick, against_baseline, against_champion
from pipelines.tasks import find_task
from registry.promotion.gate import NoRival, Paired

ROWS = 60
LABELS = ["neg", "pos"]
TASK = find_task("text_classification")
ACCURACY = Yardstick(TASK, "accuracy", 0.95)
LOG_LOSS = Yardstick(TASK, "log_loss", 0.95)


def said(labels: np.ndarray, right: int, *, classes: int = 2, sure: float = 0.8) -> Predictions:
    """Probabilities whose highest is the true label on the first `right` rows and a wrong one after."""
    spread = np.full((len(labels), classes), (1 - sure) / (classes - 1))
    chosen = np.where(np.arange(len(labels)) < right, labels, (labels + 1) % classes)
    spread[np.arange(len(labels)), chosen] = sure
    return {"probabilities": spread}


def write(
    path: Path,
    model: Predictions,
    *,
    baselines: dict[str, Predictions] | None = None,
    labels: np.ndarray | None = None,
    names: list[str] | None = None,
    first: int = 0,
) -> Path:
    truth = {"label": TRUE if labels is None else labels}
    rows = [f"row-{at:04d}" for at in range(first, first + len(truth["label"]))]
    answered = Answered(rows, truth, model, baselines or {})
    write_predictions(answered, path, axes={"probabilities": names or LABELS}, readable={})
    return path


TRUE = np.arange(ROWS) % 2


def paired(found: Paired | NoRival) -> Paired:
    assert isinstance(found, Paired), found
    return found


def test_the_best_baseline_is_the_rival(tmp_path: Path) -> None:
    baselines = {"majority": said(TRUE, 30), "tfidf": said(TRUE, 48)}
    found = paired(against_baseline(write(tmp_path / "p", said(TRUE, 54), baselines=baselines), ACCURACY))
    assert found.other == "tfidf"
    assert found.better_by == pytest.approx(0.1)
    # 6 of 60 rows differ, each for the better: the 5 % quantile of Binomial(60, 0.1) is 2 or 3 rows of 60
    assert found.lower * 60 in (pytest.approx(2), pytest.approx(3))


def test_a_gate_may_name_its_rival(tmp_path: Path) -> None:
    baselines = {"majority": said(TRUE, 30), "tfidf": said(TRUE, 56)}
    file = write(tmp_path / "p", said(TRUE, 54), baselines=baselines)
    found = paired(against_baseline(file, replace(ACCURACY, baseline="majority")))
    assert found.other == "majority"
    assert found.better_by == pytest.approx(0.4)
    nobody = against_baseline(file, replace(ACCURACY, baseline="tfdif"))
    assert nobody == NoRival("there is no baseline 'tfdif', only majority, tfidf", in_order=False)


def test_ranks_among_other_passages_are_no_evidence(tmp_path: Path) -> None:
    by = Yardstick(find_task("sentence_embedding"), "ndcg_at_10", 0.95)
    vectors = np.empty(ROWS, dtype=object)
    for row in range(ROWS):
        vectors[row] = [0.6, 0.8]
    files = {}
    for name, rank, among in (("mine", 1.0, 5), ("theirs", 2.0, 5), ("others", 2.0, 6)):
        said = {"rank": np.full(ROWS, rank), "among": np.full(ROWS, among), "vector": vectors}
        answered = Answered([f"row-{at}" for at in range(ROWS)], {"pool": np.full(ROWS, among)}, said, {})
        files[name] = tmp_path / name
        write_predictions(answered, files[name], axes={}, readable={})
    assert paired(against_champion(files["mine"], files["theirs"], "it", by)).better_by == pytest.approx(
        0.3691, abs=1e-4
    )
    found = against_champion(files["mine"], files["others"], "it", by)
    assert found == NoRival("ndcg_at_10 of it on these rows is no number: it was asked about others", in_order=False)
    mine, others = read_predictions(files["mine"]), read_predictions(files["others"])
    assert covers(mine, mine) and not covers(others, mine)


def test_less_is_better_turns_the_sign(tmp_path: Path) -> None:
    baselines = {"sure and wrong": said(TRUE, 30, sure=0.99), "modest": said(TRUE, 30, sure=0.6)}
    found = paired(against_baseline(write(tmp_path / "p", said(TRUE, 54), baselines=baselines), LOG_LOSS))
    assert found.other == "modest"
    assert found.better_by > 0
    assert found.lower > 0


def test_without_baselines_there_is_nothing_to_pass_by(tmp_path: Path) -> None:
    found = against_baseline(write(tmp_path / "p", said(TRUE, 54)), ACCURACY)
    assert isinstance(found, NoRival)
    assert not found.in_order


def test_a_baseline_without_a_number_is_no_evidence(tmp_path: Path) -> None:
    broken = {"probabilities": np.full((ROWS, 2), math.nan)}
    found = against_baseline(write(tmp_path / "p", said(TRUE, 54), baselines={"broken": broken}), LOG_LOSS)
    assert isinstance(found, NoRival)
    assert "broken" in found.why
    mine = write(tmp_path / "mine", broken)
    found = against_champion(mine, write(tmp_path / "theirs", said(TRUE, 54)), "champion", ACCURACY)
    assert isinstance(found, NoRival)
    assert not found.in_order


def test_the_same_answers_differ_by_nothing(tmp_path: Path) -> None:
    one, two = (write(tmp_path / name, said(TRUE, 50)) for name in ("a", "b"))
    found = paired(against_champion(one, two, "champion films/1", ACCURACY))
    assert (found.better_by, found.lower, found.common) == (0, 0, 1)


def test_only_common_rows_count_whatever_their_order(tmp_path: Path) -> None:
    mine = write(tmp_path / "mine", said(TRUE, ROWS))
    theirs = write(tmp_path / "theirs", said(TRUE, 0), first=20)
    found = paired(against_champion(mine, theirs, "champion", ACCURACY))
    assert found.common == pytest.approx(40 / 60)
    assert found.better_by == 1.0


def test_no_common_row_is_no_value(tmp_path: Path) -> None:
    mine = write(tmp_path / "mine", said(TRUE, ROWS))
    theirs = write(tmp_path / "theirs", said(TRUE, ROWS), first=1000)
    found = paired(against_champion(mine, theirs, "champion", ACCURACY))
    assert found.common == 0
    assert math.isnan(found.lower)


def test_labels_are_matched_by_name_and_truth_is_todays(tmp_path: Path) -> None:
    three = ["mixed", "neg", "pos"]
    labels = np.arange(ROWS) % 3
    mine = write(tmp_path / "mine", said(labels, ROWS, classes=3), labels=labels, names=three)
    known = np.where(labels == 0, 0, labels - 1)  # the champion never heard of "mixed" and is right on the others
    theirs = write(tmp_path / "theirs", said(known, ROWS), labels=known)
    found = paired(against_champion(mine, theirs, "champion", ACCURACY))
    assert found.better_by == pytest.approx(20 / 60)


def test_a_label_that_only_the_champion_knows_is_a_wrong_answer_not_a_lost_one(tmp_path: Path) -> None:
    mine = write(tmp_path / "mine", said(TRUE, ROWS))
    gone = np.full(ROWS, 1)  # "mixed", which stands between the two
    theirs = write(tmp_path / "theirs", said(gone, ROWS, classes=3), labels=gone, names=["neg", "mixed", "pos"])
    assert paired(against_champion(mine, theirs, "champion", ACCURACY)).better_by == 1.0


def test_a_champion_of_another_kind_cannot_be_compared(tmp_path: Path) -> None:
    mine = write(tmp_path / "mine", said(TRUE, ROWS))
    theirs = write(tmp_path / "theirs", {"value": np.ones(ROWS)})
    found = against_champion(mine, theirs, "champion", ACCURACY)
    assert isinstance(found, NoRival)
    assert not found.in_order
