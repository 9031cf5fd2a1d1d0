"""How often the gate errs: models that are equally good, one night or thirty on the same test set, and planted drops.

Drawn predictions, and a task whose only metric is accuracy: then all resamples of a comparison are one product of
matrices, a hundred times quicker than the gate's own code, which makes every hundredth comparison too and must say
the very same. What the formula of docs/registry.md expects stands beside what was counted. At the end: how long the
gate's own code takes on 10,000 rows.
"""

from __future__ import annotations

import math
import os
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from statistics import NormalDist
from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from core.schema.evaluation import Gate
from core.tables.predictions import Answered, write_predictions
from core.tables.statistics import Sampled, Score, chance_of, means, sample
from core.tables.task import Predictions, Task
from pipelines.evidence.comparison import RESAMPLES, SEED, SWAPS, Yardstick, against_champion
from pipelines.tasks import find_task
from pipelines.tasks.parts.classification import softmax
from registry.promotion.gate import AGAINST_CHAMPION, Evidence, NoRival, Paired, Reason, corrected, judge

TRIALS = int(os.environ.get("BENCH_TRIALS", "1000"))
NIGHTS = 30
CHECKED = 100  # every so manieth comparison is made by the gate's own code too
ROWS = 200
MANY_ROWS, MANY_RESAMPLES = 10_000, 8_000
RIGHT = 0.85  # accuracy of the champion
CONFIDENCE = 0.95
BETTER, NO_WORSE = Gate(at_least=0.0), Gate(at_least=-0.005)  # the two kinds of gates that recipes have

Array = np.ndarray[Any, np.dtype[Any]]
_COUNT: Counter[str] = Counter()


def _measure(arrays: Predictions) -> Predictions:
    return {"accuracy": (arrays["label"] == arrays["truth"]).astype(float)}


TASK = cast(Task, SimpleNamespace(metrics={"accuracy": True}, measure=_measure, score=means))


def main() -> None:
    draw = np.random.default_rng(7)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        print(f"{TRIALS} comparisons of equally good models, {ROWS} rows, {CONFIDENCE:.0%}: {swapped(draw, place)}")
        print(f"{TRIALS // 5} times {NIGHTS} nights on one test set: {nightly(draw, place, TRIALS // 5)}")
        for drop in (0.10, 0.05, 0.02):
            print(planted(draw, place, drop), flush=True)
        for classes in (2, 50):
            print(timed(draw, place, classes))
    task = find_task("text_classification")
    print(resampled("sums over rows", task.score, [task.measure(drawn_answers(draw, 2)) for _ in "ab"]))
    print(resampled("ranks of rows (AUC)", area, [ranked(drawn_answers(draw, 2)) for _ in "ab"]))


def swapped(draw: np.random.Generator, place: Path, trials: int = TRIALS) -> str:
    """Exact nulls: two models that do differ, their answers swapped row by row at random."""
    good, bad = drawn_model(draw, RIGHT), drawn_model(draw, RIGHT - 0.08)
    counts: Counter[str] = Counter()
    for _ in range(trials):
        coin = draw.random(ROWS) < 0.5
        counts[_quickly(np.where(coin, good, bad), np.where(coin, bad, good), BETTER, place).outcome] += 1
    return _shares(counts)


def nightly(draw: np.random.Generator, place: Path, series: int) -> str:
    """A champion, and every night another model that is as good, on the same rows; a promotion ends the series."""
    counts: Counter[str] = Counter()
    for _ in range(series):
        champion, hard = drawn_model(draw, RIGHT, shared := draw.random(ROWS)), shared
        promoted = any(
            _quickly(drawn_model(draw, RIGHT, hard), champion, BETTER, place, asked=night).passed
            for night in range(1, NIGHTS + 1)
        )
        counts["a false promotion" if promoted else "none"] += 1
    return _shares(counts)


def planted(draw: np.random.Generator, place: Path, drop: float, trials: int = TRIALS) -> str:
    """Candidates that are worse by `drop`; "failed" is a drop that was caught."""
    counts: Counter[str] = Counter()
    disagree = []
    for _ in range(trials):
        hard = draw.random(ROWS)
        champion, candidate = drawn_model(draw, RIGHT, hard), drawn_model(draw, RIGHT - drop, hard)
        disagree.append(float((champion != candidate).mean()))
        counts[_quickly(candidate, champion, NO_WORSE, place).outcome] += 1
    share = float(np.mean(disagree))
    expected = power(drop - 0.005, rows=ROWS, disagree=share, confidence=corrected(CONFIDENCE, 1))
    return (
        f"planted drop of {drop:.0%} on {ROWS} rows, {share:.0%} of them answered differently: {_shares(counts)}; "
        f"the formula expects {expected:.1%} caught"
    )


def timed(draw: np.random.Generator, place: Path, classes: int) -> str:
    """How long the gate's own code takes, as `register` calls it, with the metrics of text_classification."""
    task, files = find_task("text_classification"), [place / name for name in ("mine", "theirs")]
    label = draw.integers(0, classes, MANY_ROWS)
    for file in files:
        said = {"probabilities": softmax(draw.normal(size=(MANY_ROWS, classes)) + 2 * np.eye(classes)[label])}
        answered = Answered([f"{at:06d}" for at in range(MANY_ROWS)], {"label": label}, said, {})
        write_predictions(answered, file, axes={}, readable={})
    began = time.perf_counter()
    against_champion(files[0], files[1], "champion", Yardstick(task, "macro_f1", CONFIDENCE))
    took = time.perf_counter() - began
    return f"{MANY_ROWS:,} rows, {classes} labels, {RESAMPLES:,} resamples and {SWAPS:,} swaps: {took:.2f} s"


def resampled(what: str, score: Score, models: Sequence[Predictions]) -> str:
    """How long two models' metrics take on so many resamples of the same rows."""
    began = time.perf_counter()
    sample(dict(zip("ab", models, strict=True)), score, resamples=MANY_RESAMPLES, seed=SEED)
    return f"{MANY_ROWS:,} rows, {MANY_RESAMPLES:,} resamples, {what}: {time.perf_counter() - began:.2f} s"


def drawn_answers(draw: np.random.Generator, classes: int) -> Predictions:
    label = draw.integers(0, classes, MANY_ROWS)
    return {"probabilities": softmax(draw.normal(size=(MANY_ROWS, classes)) + np.eye(classes)[label]), "label": label}


def ranked(answers: Predictions) -> Predictions:
    """Statistics of a metric that ranks: rows sorted once, `of` says which row each was, `tie` numbers equal scores."""
    scores = answers["probabilities"][:, 1]
    order = np.argsort(scores, kind="stable")
    _, tie = np.unique(scores[order], return_inverse=True)
    return {"of": order, "positive": answers["label"][order] == 1, "tie": tie}


def area(measured: Predictions, weights: Array) -> dict[str, float]:
    """The area under the ROC curve of weighted rows; equal scores count half."""
    own, tie = weights[measured["of"]], measured["tie"]
    positive = np.bincount(tie, own * measured["positive"])
    negative = np.bincount(tie, own) - positive
    below = np.cumsum(negative) - negative / 2
    return {"auc": float(positive @ below / (positive.sum() * negative.sum()))}


def power(drop: float, *, rows: int, disagree: float, confidence: float) -> float:
    """The chance that a one-sided interval shows a drop in accuracy: the normal approximation for paired shares.

    disagree: share of the rows on which exactly one of the two is right. Source: Connor 1987, Biometrics 43, 207-211.
    """
    spread = math.sqrt(max(disagree - drop**2, 0.0) / rows)
    return NormalDist().cdf(drop / spread - NormalDist().inv_cdf(confidence)) if spread else float(drop > 0)


def compare(candidate: Array, champion: Array, gate: Gate, place: Path, *, asked: int = 1) -> Reason:
    """One comparison as `register` makes it. The arrays say which rows each of the two had right."""
    files = [_written(said, place / name) for said, name in ((candidate, "mine"), (champion, "theirs"))]
    rival = against_champion(files[0], files[1], "champion", Yardstick(TASK, "accuracy", CONFIDENCE, asked))
    return _reason(gate, rival)


def _reason(gate: Gate, rival: Paired | NoRival) -> Reason:
    [reason] = judge({AGAINST_CHAMPION: gate}, Evidence({}, {AGAINST_CHAMPION: rival})).reasons
    return reason


def _quickly(candidate: Array, champion: Array, gate: Gate, place: Path, *, asked: int = 1) -> Reason:
    """As compare(), with the same draws. Raises SystemExit where the two differ."""
    times, coins = _draws()
    confidence = corrected(CONFIDENCE, asked)
    mine, theirs = (
        Sampled({"accuracy": right.sum() / ROWS}, {"accuracy": times @ right / ROWS}) for right in (candidate, champion)
    )
    found = mine.better_by(theirs, "accuracy", confidence=confidence, more_is_better=True)
    moved = coins @ (champion.astype(float) - candidate)  # rows that the candidate has right more by the swap
    fallen = (candidate.sum() + moved) / ROWS - (champion.sum() - moved) / ROWS
    rival = Paired(
        "champion", "accuracy", found.value, found.low, found.high, chance=chance_of(found.value, fallen),
        confidence=confidence, rows=ROWS, asked=asked,
    )  # fmt: skip
    reason = _reason(gate, rival)
    _COUNT["made"] += 1
    if _COUNT["made"] % CHECKED == 0 and (own := compare(candidate, champion, gate, place, asked=asked)) != reason:
        raise SystemExit(f"the gate says {own}, the bench {reason}")
    return reason


@cache
def _draws() -> tuple[Array, Array]:
    """How often each row is in each resample, and which rows a swap exchanges: as core/tables/statistics.py draws."""
    resamples, swaps = np.random.default_rng(SEED), np.random.default_rng(SEED)
    times = [np.bincount(resamples.integers(0, ROWS, size=ROWS), minlength=ROWS) for _ in range(RESAMPLES)]
    return np.array(times, dtype=float), np.array([swaps.random(ROWS) < 0.5 for _ in range(SWAPS)], dtype=float)


def drawn_model(draw: np.random.Generator, right: float, hard: Array | None = None) -> Array:
    """Which rows a model has right. hard: how hard each row is, 0 to 1, for models that fail on the same rows.

    Three answers in four follow the row, the others a coin of their own.
    """
    own = draw.random(ROWS)
    if hard is None:
        return own < right
    return np.where(draw.random(ROWS) < 0.75, hard, own) < right


def _written(right: Array, path: Path) -> Path:
    truth = np.ones(ROWS, dtype=np.int64)
    answered = Answered([f"{at:04d}" for at in range(ROWS)], {"truth": truth}, {"label": right.astype(np.int64)}, {})
    write_predictions(answered, path, axes={}, readable={})
    return path


def _shares(counts: Counter[str]) -> str:
    return ", ".join(f"{what} {count / counts.total():.1%}" for what, count in sorted(counts.items()))
