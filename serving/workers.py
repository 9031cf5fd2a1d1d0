"""A few threads that ask the models: how many at once, and how long a request waits for one of them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

WORKERS = min(os.cpu_count() or 1, 8)  # a core each; with more of them they wait for Python's lock, not for a core
WAIT_S = 10.0  # seconds a request waits for a free one: longer, and its client has given up, or asks again on top

T = TypeVar("T")


class Busy(Exception):
    """No worker became free in time."""


class Workers:
    """Runs work in one of `count` threads. Of one event loop."""

    def __init__(self, count: int = WORKERS, wait_s: float = WAIT_S) -> None:
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="worker")
        self._free = asyncio.Semaphore(count)
        self._wait_s = wait_s

    async def run(self, work: Callable[[], T]) -> T:
        """Raises Busy when no thread becomes free in time."""
        try:
            async with asyncio.timeout(self._wait_s):
                await self._free.acquire()
        except TimeoutError:
            raise Busy(f"no worker became free in {self._wait_s:g} s. Ask again.") from None
        done = asyncio.get_running_loop().run_in_executor(self._pool, work)
        done.add_done_callback(lambda _: self._free.release())
        return await asyncio.shield(done)  # a request that is given up does not free a thread that still works
