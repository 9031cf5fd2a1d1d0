"""From what is known of every row to a verdict on the table: which rows stay, and what stops the graph.

Pure: facts and checks in, a Judgement out; the words for a person are made once the bad rows have been seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from core.errors import near
from core.schema.columns import Contract
from core.schema.data import Split
from core.schema.expectations import DataContract
from core.tables.keys import Mask, alike, alike_warning
from pipelines.expectations.rules import Check, Tally
from pipelines.validate.drift import Distance, Profile, distances, make_profile
from pipelines.validate.row_facts import Facts, contradictions, count_repeats, label_counts, leaks


@dataclass(frozen=True)
class Judgement:
    checks: list[Check]
    clean: Mask
    duplicates: int  # clean rows that repeat another's content
    labels: dict[str, int] | None  # of the clean rows
    scarce: dict[str, tuple[int, int]]  # label -> how many different contents carry it, position of the first
    profile: dict[str, Any]
    drift: list[Distance] | None  # None: there is no reference
    alike: list[list[str]]  # labels that one would take for each other

    @property
    def bad(self) -> int:
        return len(self.clean) - int(self.clean.sum())


def judge(
    facts: Facts,
    checks: Sequence[Check],
    *,
    examples: Contract,
    contract: DataContract,
    split: Split | None,
    reference: Profile | None,
) -> Judgement:
    """Add what stands between rows to what was found in each of them."""
    found = list(checks)
    clean = np.ones(len(facts.keys), dtype=bool)
    for check in found:
        if not check.keeps:
            clean[check.rows] = False
    for check in _between_rows(facts, clean, examples, split=split):
        clean[check.rows] = False
        found.append(check)
    labels = label_counts(facts, np.flatnonzero(clean)) if examples.label else None
    measures = {name: values[clean] for name, values in facts.measures.items()}
    profile = make_profile(int(clean.sum()), labels, measures)
    return Judgement(
        checks=found,
        clean=clean,
        duplicates=0 if examples.repeats else count_repeats(facts.keys, clean),
        labels=labels,
        scarce=_scarce(facts, clean, contract.min_rows_per_label, examples) if examples.label else {},
        profile=profile,
        drift=distances(profile, reference) if reference is not None else None,
        alike=alike(labels or ()),
    )


def problems(judgement: Judgement, tally: Tally, places: Mapping[int, str], contract: DataContract) -> Iterator[str]:
    """Everything that stops the graph, one text each. places: of the positions in `scarce`."""
    total, bad = len(judgement.clean), judgement.bad
    reasons = "".join(f"\n    {line}" for line in tally.lines(total))
    for check in judgement.checks:
        if not check.passed and not len(check.rows) and not check.keeps:
            yield check.words
    if bad == total:
        yield f"none of {total:,} rows is left:{reasons}"
        return
    if bad and contract.bad_rows == "stop":
        yield f"{bad:,} of {total:,} rows are bad, and `bad_rows: stop` allows none:{reasons}"
    elif bad > contract.at_most * total:
        share = f"{bad / total:.1%}"
        yield f"{bad:,} of {total:,} rows ({share}) are bad, `at_most` allows {contract.at_most:.1%}:{reasons}"
    others = sorted(set(judgement.labels or ()) - set(judgement.scarce))
    for label, (count, first) in judgement.scarce.items():
        yield (
            f"label {label!r} on {count:,} of {total:,} rows (first: {places.get(first, '')}), "
            f"`min_rows_per_label` asks for {contract.min_rows_per_label}. "
            f"{near(label, others)}Labels with enough rows: {', '.join(others) or 'none'}"
        )
    for distance in judgement.drift or ():
        if distance.value > contract.drift:
            yield (
                f"drift: {distance.what} moved {distance.value:.3f} from the reference ({distance.measure}), "
                f"`drift` allows {contract.drift:g}: {distance.detail}"
            )


def report(judgement: Judgement, tally: Tally, contract: DataContract, found: Sequence[str]) -> dict[str, Any]:
    """report.json: every check, its result, counts and first rows; found: the problems."""
    drift: dict[str, Any] = {"skipped": "the lock names no reference profile (it is set when a version is promoted)"}
    if judgement.drift is not None:
        drift = {"allowed": contract.drift, "distances": [asdict(distance) for distance in judgement.drift]}
    return {
        "passed": not found,
        "problems": list(found),
        "rows": len(judgement.clean),
        "clean": len(judgement.clean) - judgement.bad,
        "quarantined": judgement.bad,
        "at_most": contract.at_most,
        "bad_rows": contract.bad_rows,
        "duplicates": judgement.duplicates,
        "labels": judgement.labels,
        **({"alike_labels": judgement.alike} if judgement.alike else {}),
        "scarce_labels": {label: count for label, (count, _) in judgement.scarce.items()},
        "min_rows_per_label": contract.min_rows_per_label,
        "drift": drift,
        "checks": [
            {
                "check": check.name,
                "columns": list(check.columns),
                "passed": check.passed,
                "rows": len(check.rows),
                "kept": check.keeps,
                "examples": tally.of(check),
                **check.facts,
            }
            for check in judgement.checks
        ],
    }


def summary(judgement: Judgement) -> str:
    """One line for a person, and one for each group of labels that look like a slip of the pen, and each warning."""
    drift = "no reference profile, drift not compared"
    if judgement.drift is not None:
        drift = f"drift {max((distance.value for distance in judgement.drift), default=0.0):.3f}"
    counts = f"{judgement.bad:,} in quarantine, {judgement.duplicates:,} duplicates"
    warned = [check for check in judgement.checks if check.keeps and not check.passed and not len(check.rows)]
    first = f"{len(judgement.clean):,} rows: {counts}; {drift}"
    return "\n".join([first, *map(alike_warning, judgement.alike), *(f"warning: {check.words}" for check in warned)])


def _between_rows(facts: Facts, clean: Mask, examples: Contract, *, split: Split | None) -> Iterator[Check]:
    """Checks across rows; the caller takes each one's rows out of `clean` before the next is looked for.

    A published test split stays as it is, whatever others say of its rows; preprocess drops and counts their copies.
    """
    published = split is not None and split.given is not None
    if examples.compared:
        keys = np.where(facts.in_test, ~facts.keys, facts.keys) if published else facts.keys
        rows = contradictions(keys, facts.targets, clean)
        what, of = " or ".join(examples.compared), _identity(examples)
        words = f"contradiction: the same {of} has another {what} too, here it is {{}}"
        yield Check("contradiction", words, tuple(examples.compared), rows, passed=not len(rows))
    if split is not None and not examples.repeats:
        rows = leaks(facts.loose, facts.in_test, clean)
        if published:
            rows = rows[~np.isin(facts.keys[rows], facts.keys[clean & facts.in_test])]
        words = "leakage: {} stands in the test split too, punctuation aside"
        yield Check("leakage", words, tuple(examples.identity), rows, passed=not len(rows))


def _identity(examples: Contract) -> str:
    """What rows of one identity have in common, in words."""
    named = [name for name in examples.key if examples.columns[name].kind != "media"]
    return " and ".join(named) or "content"


def _scarce(facts: Facts, clean: Mask, least: int, examples: Contract) -> dict[str, tuple[int, int]]:
    """Labels that fewer than `least` different contents carry, or rows where each is an example of its own."""
    rows: np.ndarray[Any, np.dtype[np.int64]] = np.flatnonzero(clean)
    counted = rows if examples.repeats else rows[np.unique(facts.keys[rows], return_index=True)[1]]
    counts = label_counts(facts, counted)
    codes = {name: code for code, name in facts.label_names.items()}
    return {
        label: (count, int(rows[np.flatnonzero(facts.labels[rows] == codes[label])[0]]))
        for label, count in counts.items()
        if count < least
    }
