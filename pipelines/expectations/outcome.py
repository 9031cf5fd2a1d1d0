"""What Great Expectations says of one rule, batch after batch, and what that means for the table as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from core.errors import BadRequest
from pipelines.expectations.rules import Check, Rule, shown

_SAMPLED = 20  # values shown in the Data Docs, as many as Great Expectations shows itself


@dataclass
class Outcome:
    """What Great Expectations said of one rule, gathered over batches."""

    rule: Rule
    expectation: Any
    row_by_row: bool
    whole: bool
    rows: list[int] = field(default_factory=list)
    values: list[str] = field(default_factory=list)
    elements: int = 0
    missing: int = 0
    failed: bool = False
    observed: dict[str, Any] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        """`mostly` is a share of all rows, not of a batch's."""
        if not self.row_by_row:
            return not self.failed
        present = self.elements - self.missing
        return not self.rows or (present > 0 and 1 - len(self.rows) / present >= self.expectation.mostly)

    def add(self, said: Mapping[str, Any], *, success: bool) -> None:
        """Add what it said of some more rows (result_format COMPLETE)."""
        self.failed = self.failed or not success
        if self.row_by_row:
            self.rows += [int(row) for row in said.get("unexpected_index_list") or ()]
            self.values += [shown(value) for value in said["partial_unexpected_list"]][: _SAMPLED - len(self.values)]
            self.elements += said["element_count"]
            self.missing += said.get("missing_count") or 0
        else:
            self.observed = dict(said)

    def result(self) -> dict[str, Any]:
        """The same in Great Expectations' own terms, for its pages."""
        if not self.row_by_row:
            return self.observed
        present = self.elements - self.missing
        return {
            "element_count": self.elements,
            "missing_count": self.missing,
            "missing_percent": _percent(self.missing, self.elements),
            "unexpected_count": len(self.rows),
            "unexpected_percent": _percent(len(self.rows), present),
            "unexpected_percent_total": _percent(len(self.rows), self.elements),
            "unexpected_percent_nonmissing": _percent(len(self.rows), present),
            "partial_unexpected_list": self.values,
        }

    def check(self) -> Check:
        keeps = self.expectation.severity != "critical" or (self.passed and bool(self.rows))
        words = self.rule.words
        if not self.row_by_row:
            words = f"{words}, observed {shown(self.observed.get('observed_value'))}"
        rows = np.array(sorted(self.rows), dtype=np.int64)
        facts = {"observed": self.observed} if self.observed else {}
        return Check(
            self.rule.name, words, self.rule.columns, rows, self.passed, keeps, self.rule.by_value,
            {"arguments": dict(self.rule.arguments), **facts},
        )  # fmt: skip


def refuse_exceptions(rule: Rule, info: Mapping[str, Any], settings_file: str) -> None:
    """An expectation that cannot be computed is a mistake in the settings, never a pass or a bad row."""
    for said in [info] if "raised_exception" in info else info.values():
        if said["raised_exception"]:
            message = str(said["exception_message"]).strip().splitlines()[-1]
            raise BadRequest(
                f"{settings_file}: contract.expectations: {rule.title} cannot be computed by the pandas engine "
                f"on these columns: {message}. Correct its arguments, or take it out."
            )


def _percent(part: int, whole: int) -> float:
    return 100 * part / whole if whole else 0.0
