"""`python -m bench [NAME]...`: the benchmarks of these names, or all of them."""

from __future__ import annotations

import importlib
import sys

BENCHMARKS = (
    "startup", "overhead", "training", "limit", "gate", "volume", "window_memory", "lineage", "reproduce", "answers",
    "quality", "peers", "engine", "served", "plan",
)  # fmt: skip

if __name__ == "__main__":
    for name in sys.argv[1:] or BENCHMARKS:
        if name not in BENCHMARKS:
            sys.exit(f"no benchmark {name!r}. Allowed: {', '.join(BENCHMARKS)}")
        print(f"== {name}", flush=True)
        importlib.import_module(f"bench.{name}").main()
