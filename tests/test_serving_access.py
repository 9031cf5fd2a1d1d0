"""Whoever asks, however they ask: nothing that comes back holds a word of a document that they may not see."""

from __future__ import annotations

import json
import os
from itertools import chain, combinations
from typing import Any

import pytest
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.workspace import Job
from tests import served_index
from tests.served_index import app_of, client_of, key_of

TRIES = int(os.environ.get("ACCESS_TRIES", "60"))  # 1,000 take minutes
LABELS = ("board", "hr", "legal")
GROUPS = [frozenset(each) for each in chain.from_iterable(combinations(LABELS, size) for size in range(4))]
WORDS = ("river", "salary", "merger", "harvest", "verdict", "bridge", "window", "engine")
ASIDE = ("x", "none", "of/this", "x/../y")  # ids and filters that name nothing


def named(group: frozenset[str], number: int) -> str:
    return f"g{GROUPS.index(group)}/case{number}.txt"


def secret(group: frozenset[str], number: int) -> str:
    """A word that stands in this document alone, and that no question has."""
    return f"zq{GROUPS.index(group)}x{number}"


# Every set of labels there is, two documents each; all share words, so any of them answers any question.
SEEN_BY = {named(group, number): group for group in GROUPS for number in range(2)}
DOCUMENTS = {
    named(group, number): f"The {WORDS[at]} of case {secret(group, number)} met the {WORDS[-at - 1]} in the night. "
    f"The {WORDS[at]} was repaired by {secret(group, number)} in March."
    for at, group in enumerate(GROUPS)
    for number in range(2)
}
SECRETS = {named(group, number): secret(group, number) for group in GROUPS for number in range(2)}
GLOBS = {f"g{at}/*": sorted(group) for at, group in enumerate(GROUPS) if group}


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    return served_index.make(tmp_path_factory.mktemp("access"), DOCUMENTS, GLOBS)


@pytest.fixture(scope="module")
def app(job: Job) -> FastAPI:
    return app_of(job)


@pytest.fixture(scope="module")
def keys(job: Job) -> dict[frozenset[str], str]:
    """A key for each set of labels."""
    return {
        group: key_of(job, "-".join(["k", *sorted(group)]), *group, requests_per_minute=1_000_000) for group in GROUPS
    }


def hidden(caller: frozenset[str]) -> list[str]:
    return [name for name, group in SEEN_BY.items() if group and not group & caller]


names = st.sampled_from([*DOCUMENTS, *ASIDE])
filters = st.fixed_dictionaries(
    {},
    optional={
        "document": names, "source": names, "heading": st.sampled_from(["", "x"]),
        "section": st.sampled_from([*{name.split("/")[0] for name in DOCUMENTS}, "x"]),
    },
)  # fmt: skip
questions = st.fixed_dictionaries(
    {"question": st.lists(st.sampled_from([*WORDS, *DOCUMENTS, "Who", "night"]), min_size=1).map(" ".join)},
    optional={"limit": st.integers(-1, 120), "filters": filters},
)
modes = st.sampled_from(["dense", "sparse", "hybrid", "fuzzy", None])
requests = st.one_of(
    st.tuples(st.just("search"), st.builds(lambda q, m: {**q, "mode": m}, questions, modes)),
    st.tuples(st.sampled_from(["answer", "stream"]), questions),
    st.tuples(st.sampled_from(["GET", "DELETE", "PUT"]), names),
)


@pytest.mark.slow
@settings(max_examples=TRIES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(caller=st.sampled_from(GROUPS), asked=requests)
def test_nothing_that_comes_back_is_of_what_a_caller_may_not_see(
    app: FastAPI, keys: dict[frozenset[str], str], job: Job, caller: frozenset[str], asked: tuple[str, Any]
) -> None:
    verb, what = asked
    client = client_of(app, keys[caller])
    if verb in ("search", "answer", "stream"):
        accept = "text/event-stream" if verb == "stream" else "application/json"
        path = f"/indexes/small/{verb.replace('stream', 'answer')}"
        done = client.post(path, json=what, headers={"Accept": accept})
    else:
        if verb != "GET" and what not in hidden(caller):
            return  # what they may see they may change: that is for the other tests
        done = client.request(verb, f"/indexes/small/documents/{what}", json={"text": "a"} if verb == "PUT" else None)
    assert done.status_code in (200, 404, 422)
    for name in hidden(caller):
        assert SECRETS[name] not in done.text, (caller, name)
        assert name in json.dumps(what) or name not in done.text, (caller, name)
        if name == what:
            assert done.status_code == 404
            assert done.json() == {"detail": f"small has no document {name!r} that you may see or write."}
            assert (job.workspace.root / "documents" / name).read_text() == DOCUMENTS[name]


@pytest.mark.parametrize("caller", GROUPS, ids=lambda group: "-".join(sorted(group)) or "nobody")
def test_and_all_that_they_may_see_is_found(
    app: FastAPI, keys: dict[frozenset[str], str], caller: frozenset[str]
) -> None:
    for mode in ("dense", "hybrid"):
        asked = {"question": "What met in the night?", "limit": 100, "mode": mode}
        done = client_of(app, keys[caller]).post("/indexes/small/search", json=asked).json()
        assert {each["document"] for each in done["passages"]} == set(DOCUMENTS) - set(hidden(caller))
        assert "labels" not in done["passages"][0]
