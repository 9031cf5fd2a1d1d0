"""Requests for one model that come together: computed together, answered each by itself, refused each by itself."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest

from core.errors import BadRequest
from core.tables.task import Predictions
from serving.http.threads import Workers
from serving.models import batching
from tests.test_serving_app import Sizes, app_of, champions, client


class Recording(Sizes):
    """Answers with the length of each text, notes how many rows it was asked at once, and takes no `bad` one."""

    def __init__(self, may_answer: threading.Event | None = None) -> None:
        super().__init__(may_answer)
        self.asked: list[int] = []

    def predict(self, rows: pd.DataFrame, media: Path | None = None) -> Predictions:
        self.asked.append(len(rows))
        if self.may_answer is not None:
            assert self.may_answer.wait(timeout=60)
        texts = rows["text"].tolist()
        if "bad" in texts:
            raise BadRequest(f"input {texts.index('bad') + 1}: not this one.")
        return {"size": np.array([len(text) for text in texts])}


def behind(tmp_path: Path, others: Sequence[Any], workers: int = 1) -> tuple[Recording, list[Any]]:
    """What others are answered that come, in this order, while a worker computes a first request's text."""
    may_answer = threading.Event()
    model = Recording(may_answer)
    app = app_of(champions(tmp_path, words=model), tmp_path, Workers(workers))

    async def ask() -> list[httpx.Response]:
        async with client(app) as asking:
            asked = []
            for inputs in (["first"], *others):
                asked.append(asyncio.create_task(asking.post("/models/words/predict", json={"inputs": inputs})))
                while not model.asked:  # the first one has the worker
                    await asyncio.sleep(0.01)
                await asyncio.sleep(0.2)
            may_answer.set()
            return [await each for each in asked]

    return model, asyncio.run(ask())


def sizes(answer: httpx.Response) -> list[int]:
    return [each["size"] for each in answer.json()["answers"]]


def test_what_waits_is_computed_together_and_answered_each_by_itself(tmp_path: Path) -> None:
    model, answers = behind(tmp_path, [["a"], ["four", "to"], ["seventh"]])
    assert [sizes(answer) for answer in answers] == [[5], [1], [4, 2], [7]]
    assert model.asked == [1, 4]


def test_a_bad_row_fails_its_own_request_only(tmp_path: Path) -> None:
    model, answers = behind(tmp_path, [["a"], ["to", "bad"], ["four"]])
    assert [answer.status_code for answer in answers] == [200, 200, 422, 200]
    assert answers[2].json() == {"detail": "input 2: not this one."}
    assert [sizes(answer) for answer in (answers[1], answers[3])] == [[1], [4]]
    assert model.asked == [1, 4, 1, 2, 1]


def test_a_batch_has_bounds_and_a_large_request_is_alone(tmp_path: Path) -> None:
    model, answers = behind(tmp_path, [["a"] * 40, ["a"] * 40, ["a"] * 200])
    assert [len(answer.json()["answers"]) for answer in answers] == [1, 40, 40, 200]
    assert model.asked == [1, 40, 40, 200]


def test_what_waits_is_shared_among_the_workers(tmp_path: Path) -> None:
    model, answers = behind(tmp_path, [["second"], *([["a"]] * 6)], workers=2)
    assert [sizes(answer) for answer in answers] == [[5], [6], *([[1]] * 6)]
    assert model.asked[:2] == [1, 1]
    assert max(model.asked[2:]) in (3, 4)  # of six and of one that may still be at work


def test_rows_whose_answer_depends_on_their_company_are_asked_alone(tmp_path: Path) -> None:
    """A picture without a seed is drawn from its place among the rows; a number takes its neighbours' type."""
    served = champions(tmp_path, words=Sizes())
    loaded = served.serving["words"].loaded
    texts = batching._Request(["a", {"text": "b"}], 0, None)  # type: ignore[arg-type]
    number = batching._Request([{"text": 5}], 0, None)  # type: ignore[arg-type]
    less = batching._Request([{}], 0, None)  # type: ignore[arg-type]
    assert batching._joins(texts, loaded)
    assert not batching._joins(number, loaded)
    assert not batching._joins(less, loaded)


def test_no_more_wait_than_memory_is_meant_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "MAX_WAITING_ROWS", 3)
    _, answers = behind(tmp_path, [["a", "b"], ["c", "d"]])
    assert [answer.status_code for answer in answers] == [200, 200, 503]
    assert answers[2].headers["Retry-After"] == "1"
    assert answers[2].json() == {"detail": "too many requests wait for words. Ask again."}
    monkeypatch.setattr(batching, "MAX_WAITING_BYTES", 40)
    _, answers = behind(tmp_path, [["a"], ["b" * 30]])
    assert [answer.status_code for answer in answers] == [200, 200, 503]


def test_models_take_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A queue of one model does not come before a request of another, which is answered after the batch at work."""
    may_answer, order, came, add = threading.Event(), [], [], batching._Queue.add

    def noted(queue: batching._Queue, new: batching._Request) -> None:
        came.append(new)
        add(queue, new)

    monkeypatch.setattr(batching._Queue, "add", noted)

    class Noting(Sizes):
        def __init__(self, name: str) -> None:
            super().__init__(may_answer)
            self.name = name

        def predict(self, rows: pd.DataFrame, media: Path | None = None) -> Predictions:
            order.append(self.name)
            return super().predict(rows, media)

    app = app_of(champions(tmp_path, many=Noting("many"), one=Noting("one")), tmp_path, Workers(1))

    async def until_here(count: int) -> None:
        while len(came) < count:
            await asyncio.sleep(0.01)

    async def ask() -> None:
        async with client(app) as asking:
            inputs = {"inputs": ["a"] * batching.MAX_ROWS}
            asked = [asyncio.create_task(asking.post("/models/many/predict", json=inputs)) for _ in range(5)]
            await until_here(5)
            asked.append(asyncio.create_task(asking.post("/models/one/predict", json={"inputs": ["a"]})))
            await until_here(6)
            may_answer.set()
            assert {(await each).status_code for each in asked} == {200}

    asyncio.run(ask())
    assert order.index("one") in (1, 2)  # behind the one at work, and at most one that had its turn before
    assert order.count("many") == 5
