"""Questions that wait for a person (registry/promotion/approval.py), and what is to be read before answering one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from registry.promotion.promotion import APPROVAL, ASKED
from registry.store.connection import answering, connect, database, is_embedded
from registry.store.overview import opened
from registry.store.versions import EVIDENCE_HASH

_WAITING = (  # MLflow keeps a deleted version's row and marks it
    "SELECT v.name, v.version, e.value FROM model_versions v"
    " JOIN model_version_tags t ON t.name = v.name AND t.version = v.version AND t.workspace = v.workspace"
    " LEFT JOIN model_version_tags e ON e.name = v.name AND e.version = v.version AND e.workspace = v.workspace"
    " AND e.key = ? WHERE t.key = ? AND t.value = ? AND v.current_stage IS NOT 'Deleted_Internal'"
)


@dataclass(frozen=True)
class Question:
    """May this version be champion? evidence: hash of the bundle that is to be read before answering."""

    name: str
    version: str
    evidence: str | None

    def __str__(self) -> str:
        return f"{self.name} version {self.version}"


def questions(var: Path) -> list[Question]:
    """Every question that nobody answered yet; the embedded store is read without MLflow. Raises Outage."""
    if not is_embedded():
        with answering():
            found = connect(var).search_model_versions(f"tags.{APPROVAL} = '{ASKED}'", max_results=1000)
            return [Question(v.name, str(v.version), v.tags.get(EVIDENCE_HASH)) for v in found]
    if not database(var).is_file():
        return []
    with opened(database(var)) as store:
        rows = store.execute(_WAITING, (EVIDENCE_HASH, APPROVAL, ASKED)).fetchall()
    return [Question(name, str(version), evidence) for name, version, evidence in rows]


def page(question: Question, told: Mapping[str, Any], champion: str | None, link: str | None) -> Iterator[str]:
    """The evidence bundle for a person, as lines of Markdown. told: evidence.json; champion: of this moment."""
    test, rival = told["test"], told["comparisons"]["champion"]
    instead = f" in place of version {champion}" if champion else ""
    yield f"**May {question} be champion{instead}?** Approved, its evidence is judged again before it is.\n"
    gates = [
        (reason["gate"], _number(reason["value"]), reason["bound"], reason["outcome"], reason["why"])
        for reason in told["verdict"]["reasons"]
    ]
    yield from _table(("gate", "value", "bound", "outcome", "why"), gates) if gates else ["Its recipe has no gates.\n"]
    if "better_by" in rival:
        interval = f"[{_number(rival['lower'])}, {_number(rival['upper'])}]"
        yield f"{rival['metric']}, difference to {rival['other']}: {_number(rival['better_by'])} {interval}\n"
    metrics = [(name, _number(value)) for name, value in told["metrics"].items()]
    yield from _table(("metric on the test split", "value"), metrics)
    yield f"{test['rows']:,} test rows, `{test['hash'][:12]}`; this is model {test['asked']} that they judge."
    yield f"Evidence `{(question.evidence or 'none')[:12]}`." + (f" [{question} in MLflow]({link})" if link else "")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    for cells in (head, ["---"] * len(head), *rows):
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
    yield ""


def _number(value: float | None) -> str:
    return "no value" if value is None else f"{value:.4f}"
