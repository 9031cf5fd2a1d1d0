"""A few threads that ask models and indexes: how many at once, how long a request waits for one and then has."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any, TypeVar

from fastapi import HTTPException

from serving.http.problems import later

WORKERS = min(os.cpu_count() or 1, 8)  # a core each; with more of them they wait for Python's lock, not for a core
WAIT_S = 10.0  # seconds a request waits for a free one: longer, and its client has given up, or asks again on top
WORK_S = 120.0  # seconds that it then has: a small model on two busy cores writes an answer in one

T = TypeVar("T")
_END: Any = object()


class Workers:
    """Runs work in one of `count` threads. Of one event loop."""

    def __init__(self, count: int = WORKERS, wait_s: float = WAIT_S, work_s: float = WORK_S) -> None:
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="worker")
        self._free = asyncio.Semaphore(count)
        self.count, self.wait_s, self._work_s = count, wait_s, work_s
        self.busy = 0  # threads at work

    async def run(self, work: Callable[[], T]) -> T:
        """Raises 503 when no thread becomes free in time, 504 when the work takes longer than a request has."""
        try:
            async with asyncio.timeout(self.wait_s):
                await self.acquire()
        except TimeoutError:
            raise self.none_free() from None
        return await self.work(work)

    async def acquire(self) -> None:
        """A free thread, in the order in which they are wanted; for work(), or release()."""
        await self._free.acquire()

    def release(self) -> None:
        self._free.release()

    def none_free(self) -> HTTPException:
        return later(f"no worker became free in {self.wait_s:g} s. Ask again.")

    async def work(self, work: Callable[[], T]) -> T:
        """With a thread that was acquired. Raises 504; the thread is free again when work that was given up is done."""
        self.busy += 1
        done = asyncio.get_running_loop().run_in_executor(self._pool, work)
        done.add_done_callback(self._is_done)
        await asyncio.wait([done], timeout=self._work_s)  # a request that is given up does not free a thread at work
        if not done.done():
            done.add_done_callback(lambda late: late.exception())
            raise HTTPException(504, f"the answer took longer than {self._work_s:g} s.")
        return done.result()

    def _is_done(self, _: object) -> None:
        self.busy -= 1
        self.release()

    async def each(self, work: Callable[[], Generator[T]]) -> AsyncIterator[T]:
        """What the work yields, as it does; it is ended early when nobody listens any more."""
        loop, given_up = asyncio.get_running_loop(), threading.Event()
        found: asyncio.Queue[T] = asyncio.Queue()

        def pump() -> None:
            with closing(work()) as items:
                for item in items:
                    if given_up.is_set():
                        return
                    loop.call_soon_threadsafe(found.put_nowait, item)

        pumping = asyncio.ensure_future(self.run(pump))
        pumping.add_done_callback(lambda _: found.put_nowait(_END))
        try:
            while (item := await found.get()) is not _END:
                yield item
            await pumping
        finally:
            given_up.set()
            pumping.add_done_callback(lambda late: late.cancelled() or late.exception())
