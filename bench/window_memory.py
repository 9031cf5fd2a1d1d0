"""Windows over 10,000,000 steps of 100 series and seven columns: memory and time; and as many rows split by time.

Memory is anonymous, by the kernel's account: encoded rows are mapped from their file. Written out, the windows would
take 34 GB.
"""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pyarrow as pa

from core.schema.data import Split
from core.splits.time_split import Times, time_sides
from core.tables.prepared import read_features, write_features
from pipelines.tasks.parts.inputs.windows import Windows

STEPS, SERIES, COLUMNS = 10_000_000, 100, 7
CONTEXT, HORIZON = 96, 24
_PART, _BATCH, _BATCHES = 500_000, 32, 2000


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder)
        parts = encoded()
        write_features(prepared, "train", next(encoded()).schema, parts)
        for work in (windows, split):
            process = get_context("spawn").Process(target=work, args=(prepared,))
            process.start()
            process.join()
            if process.exitcode:
                raise SystemExit(f"{work.__name__} failed")


def encoded() -> Iterator[pa.Table]:
    """Steps as encode() leaves them, in no order; a few of each series are missing, so there are gaps."""
    random = np.random.default_rng(7)
    order = random.permutation(STEPS)
    for start in range(0, STEPS, _PART):
        rows = order[start : start + _PART]
        rows = rows[rows % 9973 != 0]
        values = random.normal(size=len(rows) * COLUMNS).astype(np.float32)
        yield pa.table(
            {
                "series": pa.array(rows // (STEPS // SERIES)),
                "time": pa.array((rows % (STEPS // SERIES)) * 3600.0),
                "values": pa.FixedSizeListArray.from_arrays(pa.array(values), COLUMNS),
            }
        )


def windows(prepared: Path) -> None:
    """Find all windows, then read some batches of them."""
    before, began = memory("RssAnon"), time.perf_counter()
    found = Windows(context=CONTEXT, horizon=HORIZON, longest=1.5 * 3600)
    starts = found.add(read_features(prepared, "train"))["start"].to_numpy()
    seconds, kept = time.perf_counter() - began, memory("RssAnon") - before
    print(
        f"{len(starts):,} windows found in {seconds:.1f} s; kept {kept:,.0f} MB, peak {memory('VmHWM'):,.0f} MB",
        flush=True,
    )
    order, began = np.random.default_rng(7).permutation(len(starts)), time.perf_counter()
    for at in range(_BATCHES):
        found.take(starts[order[at * _BATCH : (at + 1) * _BATCH]])
    each = (time.perf_counter() - began) / _BATCHES
    print(f"a batch of {_BATCH} is read in {each * 1e6:,.0f} µs", flush=True)


def split(prepared: Path) -> None:
    """The sides of as many rows by their times."""
    times = Times(read_features(prepared, "train")["time"].to_numpy(), dates=True)
    before, began = memory("RssAnon"), time.perf_counter()
    time_sides(times, Split(time="time", gap=HORIZON), settings_file="recipe")
    seconds = time.perf_counter() - began
    print(f"{len(times.numbers):,} rows split by time in {seconds:.1f} s; peak {memory('VmHWM') - before:,.0f} MB more")


def memory(what: str) -> float:
    """Megabytes of this process. what: RssAnon; or VmHWM, the most that was ever in memory, mapped files included."""
    found = re.search(rf"^{what}:\s+(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) / 1024
