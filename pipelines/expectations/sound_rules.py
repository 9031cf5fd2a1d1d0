"""What is asked of sounds, by what `collect` measured of each file."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq

from core.schema.columns import FAULT, Contract
from pipelines.expectations.rules import Rule

SHORTEST_S = 0.05  # two windows of 25 ms: less has no spectrum that changes
SILENT = 1e-4  # of full scale, 80 dB below it: three steps of 16 bits
MOST_CLIPPED = 0.005  # share of samples at full scale; 3,000 clean spoken digits have 0.0002 at most
NEARLY_ALL = 0.95  # share of sounds from which on another rate is a mistake and no mixture
_RATE = "rate"


def sound_rules(contract: Contract, usual_rate: int | None) -> Iterator[Rule]:
    """usual_rate: that of nearly all sounds, where others are to be set aside."""
    if contract.media != "audio":
        return
    yield _between("seconds", "is too short: {} s of sound", min_value=SHORTEST_S)
    yield _between("level", "is silent: its level is {} of full scale", min_value=SILENT)
    yield _between("clipped", "is clipped: {} of its samples stand at full scale", max_value=MOST_CLIPPED)
    for name, least in contract.least.items():
        told = f"its {name} is {{}}, below the {least:,} that the recipe asks"
        yield _between(name, told, min_value=float(least))
    if usual_rate is not None:
        words = f"its rate is {{}}, and nearly all have {usual_rate} (preprocess.sample_rate brings all to one)"
        yield Rule("expect_column_values_to_be_in_set", {"column": _RATE, "value_set": [usual_rate]}, words)


def find_usual_rate(raw: Path, contract: Contract) -> int | None:
    """The rate of nearly all sounds of a table of examples; None where there is none, or the recipe says a rate."""
    if contract.media != "audio" or _RATE in contract.least:
        return None
    table = pq.read_table(raw, columns=[_RATE, FAULT])
    readable = table.filter(table[FAULT].is_null())[_RATE].to_pylist()
    ((rate, count),) = Counter(readable).most_common(1) or [(None, 0)]
    return rate if count >= NEARLY_ALL * len(readable) else None


def _between(column: str, words: str, **bounds: float) -> Rule:
    return Rule("expect_column_values_to_be_between", {"column": column, **bounds}, words)
