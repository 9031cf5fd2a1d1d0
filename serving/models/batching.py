"""Requests for one model that come together are computed together (dynamic batching), each with an answer of its own.

Nobody waits for company while the model is idle. What comes while it computes waits for a worker anyway, and goes on
with all that wait by then. Joined are rows that say every column, in texts: such a row's answer does not depend on its
company, but for the last bits of floating point (tests/test_tasks.py has the bound for every task).
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from fastapi import HTTPException

from core.weights.device import use_cores
from registry.version.predict import Answers, Loaded
from serving.http.bodies import MAX_BODY_BYTES
from serving.http.problems import later
from serving.http.threads import WORKERS, Workers
from serving.models.champions import Champions

GATHER_S = 0.005  # what is answered together asks again together: the first of it waits so long for the others
CORES = os.cpu_count() or 1
SHARED = max(1, CORES // WORKERS)  # cores of a batch among others
MAX_ROWS = 64  # of a batch, as the tasks compute them; one request alone may have more
MAX_WAITING_ROWS = 1024  # of a model: ten seconds' work of a small one, and nobody waits longer for a worker
MAX_WAITING_BYTES = 8 * MAX_BODY_BYTES  # of a model

Inputs = Sequence[str | Mapping[str, Any]]


@dataclass(eq=False)
class _Request:
    """size: bytes of its body. answer: set when it is there."""

    inputs: Inputs
    size: int
    answer: asyncio.Future[Answers]


@dataclass
class _Queue:
    """The requests of one model that wait, in their order. has_turn: somebody waits for a worker on their behalf."""

    waiting: deque[_Request] = field(default_factory=deque)
    has_turn: bool = False
    at_work: int = 0  # rows
    before: int = 0  # rows of the batch that was answered last
    enough: asyncio.Event = field(default_factory=asyncio.Event)  # as many rows wait as that batch had

    def rows(self) -> int:
        """How many wait."""
        return _rows(self.waiting)

    def add(self, new: _Request) -> None:
        self.waiting.append(new)
        if self.rows() >= self.before:
            self.enough.set()

    def has_room(self, new: _Request) -> bool:
        rows = self.rows() + len(new.inputs)
        return rows <= MAX_WAITING_ROWS and sum(each.size for each in self.waiting) + new.size <= MAX_WAITING_BYTES

    def take(self, loaded: Loaded, share: int) -> list[_Request]:
        """The oldest request and those that can be computed with it, of so many rows; they wait no more."""
        first = self.waiting.popleft()
        batch, rows, size = [first], len(first.inputs), first.size
        if _joins(first, loaded):
            for each in list(self.waiting):
                rows, size = rows + len(each.inputs), size + each.size
                if rows > share or size > MAX_BODY_BYTES:
                    break
                if _joins(each, loaded):
                    batch.append(each)
        self.waiting = deque(each for each in self.waiting if each not in batch)
        return batch


class Batcher:
    """Answers for the champions' callers. Of one event loop."""

    def __init__(self, champions: Champions, workers: Workers) -> None:
        self._champions, self._workers = champions, workers
        self._queues: dict[str, _Queue] = {}
        self._turns: set[asyncio.Task[None]] = set()

    async def ask(self, name: str, inputs: Inputs, size: int) -> Answers:
        """The answers of a model that is served. size: bytes of the request's body.

        Raises BadRequest for an input that is none; 503 while too many wait, or when no worker becomes free in time;
        504 when the work takes longer than a request has.
        """
        queue, loop = self._queues.setdefault(name, _Queue()), asyncio.get_running_loop()
        request = _Request(inputs, size, loop.create_future())
        if not queue.has_room(request):
            raise later(f"too many requests wait for {name}. Ask again.")
        queue.add(request)
        late = loop.call_later(self._workers.wait_s, self._give_up, queue, request)
        self._take_turn(name, queue)
        try:
            return await request.answer
        finally:
            late.cancel()
            if request in queue.waiting:  # its client has gone
                queue.waiting.remove(request)

    def _give_up(self, queue: _Queue, request: _Request) -> None:
        if request in queue.waiting:
            queue.waiting.remove(request)
            _settle(request, self._workers.none_free())

    def _take_turn(self, name: str, queue: _Queue) -> None:
        """One at a time stands in line with those of other models, of searches and answers: so nobody is starved."""
        if queue.waiting and not queue.has_turn:
            queue.has_turn = True
            turn = asyncio.get_running_loop().create_task(self._turn(name, queue))
            self._turns.add(turn)
            turn.add_done_callback(self._turns.discard)

    async def _turn(self, name: str, queue: _Queue) -> None:
        if queue.at_work:
            await _at_most(GATHER_S, queue.enough)
        await self._workers.acquire()
        queue.has_turn = False
        if not queue.waiting:
            self._workers.release()
            return
        loaded = self._champions.serving[name].loaded  # now: what waits is answered by the newest
        share = -(-(queue.rows() + queue.at_work) // self._workers.count)  # none computes while others have nothing
        batch = queue.take(loaded, min(share, MAX_ROWS))
        rows = _rows(batch)
        is_alone = not (queue.waiting or self._workers.busy)
        queue.at_work += rows
        queue.enough.clear()
        self._take_turn(name, queue)
        found: Sequence[Answers | Exception]
        try:
            found = await self._workers.work(lambda: _computed(batch, loaded, CORES if is_alone else SHARED))
        except HTTPException as late:
            found = [late] * len(batch)
        queue.at_work -= rows
        queue.before = rows
        for request, answer in zip(batch, found, strict=True):
            _settle(request, answer)


async def _at_most(seconds: float, event: asyncio.Event) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)


def _rows(requests: Iterable[_Request]) -> int:
    return sum(len(each.inputs) for each in requests)


def _joins(request: _Request, loaded: Loaded) -> bool:
    """Whether its rows may be computed among others: each says every column, and in texts."""
    columns, plain = set(loaded.answerer.about.inputs), loaded.answerer.plain
    return all(
        {plain} == columns
        if isinstance(row, str)
        else row.keys() == columns and all(isinstance(value, str) for value in row.values())
        for row in request.inputs
    )


def _computed(batch: Sequence[_Request], loaded: Loaded, cores: int) -> list[Answers | Exception]:
    """cores: all of them for a batch that is alone; two batches that both took all would wait for each other."""
    use_cores(cores)
    return _answered(batch, loaded)


def _answered(batch: Sequence[_Request], loaded: Loaded) -> list[Answers | Exception]:
    """One answer a request. Where it fails for all together, each is asked alone, and only the bad one fails."""
    try:
        found = loaded.answer([row for each in batch for row in each.inputs], local_files=False)
    except Exception as fault:  # noqa: BLE001  its caller hears it
        return [fault] if len(batch) == 1 else [_answered([each], loaded)[0] for each in batch]
    rows = iter(found.rows)
    return [Answers(found.version, list(islice(rows, len(each.inputs)))) for each in batch]


def _settle(request: _Request, answer: Answers | Exception) -> None:
    if request.answer.done():
        return
    if isinstance(answer, Exception):
        request.answer.set_exception(answer)
    else:
        request.answer.set_result(answer)
