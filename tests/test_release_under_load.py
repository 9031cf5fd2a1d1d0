"""A new embedder goes live while questions are asked: no error, and no answer that mixes two releases.

TEST_QUERIES asks for more than the few hundred that fit the suite.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest

from core.workspace import Job
from pipelines.bases import identify
from pipelines.search.ask.query import asking, query
from pipelines.search.engine.choice import choose
from tests import small_index, small_pairs

pytestmark = pytest.mark.slow

QUERIES = int(os.environ.get("TEST_QUERIES", "400"))
QUESTIONS = ["who wrote story 3", "the tale numbered 7", "an author of no name"]
DOCUMENTS = {f"{number}.txt": row["passage"] for number, row in enumerate(small_pairs.pair_rows(40))}


def release(job: Job, base: str) -> None:
    """Make the index with an embedder."""
    identity = identify(base, job.workspace.root).model_dump(mode="json")
    search = {**small_index.HYBRID, "mode": "dense", "limit": 10}
    small_index.settings(
        job, embed={"model": base}, bases={base: identity}, search=search, chunk={"tokens": 24, "overlap": 0}
    )
    small_index.build(job)


def answer(job: Job, question: str) -> Any:
    with asking(job.workspace, "small") as asker:
        version = asker.release.version
    found = query(job.workspace, "small", question, access=None)
    return version, [(passage.document, round(passage.score, 5)) for passage in found]


def test_a_new_embedder_under_load(tmp_path: Path) -> None:
    job = small_index.make(tmp_path, DOCUMENTS, tokens=24, overlap=0)
    for name, seed in (("one", 1), ("two", 2)):
        small_pairs.make_base(tmp_path / name, seed=seed)
    release(job, "./one")
    first = {question: answer(job, question)[1] for question in QUESTIONS}
    asked: list[Any] = []
    errors: list[BaseException] = []
    over, begun = threading.Event(), threading.Event()

    def ask() -> None:
        try:
            while not (over.is_set() and len(asked) >= QUERIES):
                question = QUESTIONS[len(asked) % len(QUESTIONS)]
                asked.append((question, answer(job, question)[1]))
                begun.set()
        except BaseException as error:  # noqa: BLE001
            errors.append(error)
            begun.set()

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    begun.wait(60)
    release(job, "./two")
    over.set()
    for thread in threads:
        thread.join(600)
    assert not errors
    second = {question: answer(job, question)[1] for question in QUESTIONS}
    assert first != second
    mixed = [each for each in asked if each[1] not in (first[each[0]], second[each[0]])]
    assert mixed == []
    assert len(asked) >= QUERIES
    told = {1 if found == first[question] else 2 for question, found in asked}
    assert told == {1, 2}, "the release changed while questions were asked"
    assert choose(job.workspace).pointers("small").previous is not None
