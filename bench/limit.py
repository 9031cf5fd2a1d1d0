"""Training throughput on texts that all reach the limit, where grouping by length can gain nothing: no slower, we hope.

The default recipe on the long reviews, every one cut at the limit, beside the stock script, in alternation.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import transformers

from bench.measure import ratio
from bench.training import job_of, mean, ours, prepared_rows, theirs

PAIRS, STEPS = 10, 8
ROWS = 600


def main() -> None:
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as folder:
        job = job_of(prepared_rows(Path(folder) / "long", "lora", "imdb"))
        limit = job.settings["preprocess"]["max_tokens"]
        one, two = [], []
        for seed in range(PAIRS):
            one.append(ours(job, STEPS, seed=seed, rows=ROWS))
            two.append(theirs(job, "lora", "longest", STEPS, seed=seed, max_tokens=limit, rows=ROWS))
    print(
        f"texts at the limit of {limit} tokens, lora: {mean(one):.1f} examples/s, stock {mean(two):.1f}; "
        f"ratio {ratio(one, two)} ({PAIRS} alternated pairs)",
        flush=True,
    )
