"""What came of a scheduled run: in words for its state on Prefect's page, in a line for the scheduler's terminal."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from core.workspace import Job
from flows.catalog.receipt_check import read_receipt
from flows.terminal.results import result
from registry.promotion.gate import shown

_LONGEST = 300  # characters; the page has all of it

Receipt = Mapping[str, Any]


def came_of(job: Job, before: Receipt | None) -> str:
    """What a run that ended well made. before: the receipt that the job had when the run began."""
    receipt = read_receipt(job)
    if receipt is None or receipt.get("experiment"):
        return "up to date"
    if before is not None and before.get("version") == receipt["version"]:
        return f"up to date, {_called(receipt)} as before"
    if job.kind == "index":
        return f"new release {_called(receipt)}, {receipt['points']:,} passages"
    found = result(job)
    primary = found["primary"]
    value = (found["metrics"] or {}).get(primary)
    return f"{_standing(receipt)}{f', {primary} {shown(value)}' if value is not None else ''}"


def line(job: Job, what: str, words: str) -> str:
    """One line of the terminal. what: before the words, as "REFUSED"; nothing for a run that ended well."""
    first = words.strip().partition("\n")[0]
    cut = first if len(first) <= _LONGEST else f"{first[:_LONGEST]} ..."
    return f"{datetime.now():%Y-%m-%d %H:%M}  {job.kind} {job.name}: {f'{what}: ' if what else ''}{cut}"


def _standing(receipt: Receipt) -> str:
    if "champion" in receipt["aliases"]:
        return f"new champion {_called(receipt)}"
    if receipt.get("approval") == "asked":
        return f"new {_called(receipt)}, which waits for a person's approval"
    return f"new {_called(receipt)}; the champion stays"


def _called(receipt: Receipt) -> str:
    return f"version {receipt['version']}"
