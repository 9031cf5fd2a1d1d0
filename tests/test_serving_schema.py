"""The API against its own description: requests made from /openapi.json, good and bad, get what it says."""

from __future__ import annotations

import os
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from schemathesis.generation import GenerationMode
from schemathesis.openapi import from_asgi

from core.workspace import Job
from tests import served_index
from tests.served_index import app_of, key_of

TRIES = int(os.environ.get("SCHEMA_TRIES", "6"))  # of each operation, of good requests and of bad ones
OPERATIONS = [
    "DELETE /indexes/{index}/documents/{id}", "GET /health", "GET /indexes", "GET /indexes/{index}/documents",
    "GET /indexes/{index}/documents/{id}", "GET /indexes/{index}/updates", "GET /metrics", "GET /models", "GET /ready",
    "POST /indexes/{index}/answer", "POST /indexes/{index}/search", "POST /indexes/{index}/updates",
    "POST /models/{name}/predict", "PUT /indexes/{index}/documents/{id}",
]  # fmt: skip
NAMES = {"index": "small", "id": "notes/new.txt"}
NOTHING_TO_SAY_WRONG = ("GET /health", "GET /ready")


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    return served_index.make(tmp_path_factory.mktemp("schema"))


@pytest.fixture(scope="module")
def operations(job: Job, key: str) -> dict[str, Any]:
    schema = from_asgi("/openapi.json", app_of(job))
    found = [each.ok() for each in schema.get_all_operations()]
    return {each.label: each for each in found}


@pytest.fixture(scope="module")
def key(job: Job) -> str:
    return key_of(job, "tester", requests_per_minute=1_000_000)


def test_all_that_is_described_is_asked(operations: dict[str, Any]) -> None:
    assert sorted(operations) == OPERATIONS


@pytest.mark.parametrize(
    ("label", "mode"),
    [(label, GenerationMode.POSITIVE) for label in OPERATIONS]
    + [(label, GenerationMode.NEGATIVE) for label in OPERATIONS if label not in NOTHING_TO_SAY_WRONG],
)
def test_the_api_does_what_it_says(operations: dict[str, Any], key: str, label: str, mode: GenerationMode) -> None:
    @settings(max_examples=TRIES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(case=operations[label].as_strategy(generation_mode=mode))
    def holds(case: Any) -> None:
        if mode is GenerationMode.POSITIVE:  # or every request would end at an index that there is not
            case.path_parameters.update({name: NAMES[name] for name in case.path_parameters if name in NAMES})
            (case.headers or {}).pop("Idempotency-Key", None)  # of another request, which is refused and not described
        answer = case.call(headers={"Authorization": f"Bearer {key}"})
        if answer.status_code != 422 or "Nothing was stored" not in answer.text:  # no schema says what can be read
            case.validate_response(answer)

    holds()
