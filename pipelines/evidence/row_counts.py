"""What became of the rows of a source, as the manifests of the stages say: the counts add up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from core.atomic_files import said_in


@dataclass(frozen=True)
class RowCounts:
    """read: rows of the source, which are kept, duplicates, in quarantine or left out.

    duplicates: rows of the same content as one that is kept. left_out: by the rule (where, sample, blank ...).
    where: the file below the job's folder that says more of duplicates, quarantined and left_out.
    """

    read: int
    kept: int
    duplicates: int = 0
    quarantined: int = 0
    left_out: Mapping[str, int] = field(default_factory=dict)
    where: Mapping[str, str] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """As scripts are told."""
        return {**vars(self), "left_out": dict(self.left_out), "where": dict(self.where)}

    def line(self, folder: str = "") -> str:
        """As a person is told. folder: where the files lie, as it is to be shown."""
        return ", ".join([f"{self.read:,} read: {self.kept:,} kept", *self._others(folder)])

    def _others(self, folder: str) -> Iterator[str]:
        for name, words in (("duplicates", "duplicates"), ("quarantined", "in quarantine")):
            if count := vars(self)[name]:
                yield f"{count:,} {words} ({folder}{self.where[name]})"
        if self.left_out:
            rules = ", ".join(f"{rule} {count:,}" for rule, count in self.left_out.items())
            yield f"{sum(self.left_out.values()):,} left out ({rules}; {folder}{self.where['left_out']})"


def row_counts(folder: Path) -> RowCounts | None:
    """What the stages in a job's folder have counted so far; None before there is anything.

    Stages that have yet to read what the one before them wrote are not asked.
    """
    counts = said_in(folder / "raw/manifest.json").get("counts")
    if not counts:
        return None
    where = {"left_out": "raw/manifest.json", "quarantined": "validated/quarantine.parquet"}
    screened = said_in(folder / "validated/manifest.json")
    if screened.get("rows") != counts["kept"]:
        return RowCounts(counts["read"], counts["kept"], left_out=_left_out(counts), where=where)
    clean = screened["rows"] - screened["quarantined"]
    found = RowCounts(
        counts["read"], clean - screened["duplicates"], screened["duplicates"], screened["quarantined"],
        _left_out(counts), {**where, "duplicates": "validated/report.json"},
    )  # fmt: skip
    prepared, chunks = said_in(folder / "prepared/statistics.json"), said_in(folder / "chunks/manifest.json")
    if prepared.get("read") == clean:
        by_time = {rule: count for rule, count in prepared.get("left_out", {}).items() if count}
        return replace(
            found, kept=sum(prepared["rows"].values()) + prepared.get("of_no_split", 0),
            duplicates=prepared["duplicates_dropped"],
            left_out={**found.left_out, **by_time}, where={**found.where, "duplicates": "prepared/statistics.json"},
        )  # fmt: skip
    if chunks and chunks["documents"] + chunks["unlabelled"] == clean:
        return replace(
            found, kept=chunks["documents"] - chunks["duplicates"], duplicates=chunks["duplicates"],
            quarantined=found.quarantined + chunks["unlabelled"],
            where={**found.where, "duplicates": "chunks/duplicates.json"},
        )  # fmt: skip
    return found


def _left_out(counts: Mapping[str, Any]) -> dict[str, int]:
    """By the rule; an earlier Headrace counted those of `where` and `sample` alone."""
    earlier = {"where": counts["read"] - counts["wanted"], "sample": counts["wanted"] - counts["kept"]}
    return {rule: count for rule, count in counts.get("left_out", earlier).items() if count}
