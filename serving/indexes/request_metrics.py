"""GET /metrics for Prometheus: requests, their seconds, searches, answers, and which releases are live."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.responses import Response
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.http.api_keys import Caller
from serving.http.door import may
from serving.http.problems import problems
from serving.http.refusals import refusals
from serving.http.threads import Workers
from serving.indexes.indexes import Indexes

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120)


class Metrics:
    """Counts of one application, in a registry of its own. No label holds what a caller wrote, but for index names."""

    def __init__(self, indexes: Indexes | None) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "headrace_requests", "Requests.", ("route", "method", "status"), registry=self.registry
        )
        self._seconds = Histogram(
            "headrace_request_seconds", "Seconds a request took.", ("route",), buckets=_SECONDS, registry=self.registry
        )
        self._searches = Counter("headrace_searches", "Searches.", ("index", "mode"), registry=self.registry)
        self._answers = Counter(
            "headrace_answers", "Answers; refused: not in the documents.", ("index", "outcome"), registry=self.registry
        )
        if indexes is not None:
            self.registry.register(_Releases(indexes))

    def answered_request(self, route: str, method: str, status: int, seconds: float) -> None:
        self._requests.labels(route, method, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def searched(self, index: str, mode: str) -> None:
        self._searches.labels(index, mode).inc()

    def answered(self, index: str, *, refused: bool) -> None:
        self._answers.labels(index, "refused" if refused else "answered").inc()


class _Releases(Collector):
    """Looked up when somebody asks."""

    def __init__(self, indexes: Indexes) -> None:
        self._indexes = indexes

    def collect(self) -> Iterator[GaugeMetricFamily]:
        family = _release_info()
        for index, release in self._indexes.standing().live.items():
            family.add_metric((index, release), 1)
        yield family

    def describe(self) -> Iterator[GaugeMetricFamily]:
        yield _release_info()


def _release_info() -> GaugeMetricFamily:
    return GaugeMetricFamily("headrace_release_info", "The live release of an index.", labels=("index", "release"))


class Measured:
    """ASGI middleware around everything: counts each request under its route's pattern."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.perf_counter(), 500

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watched)
        finally:
            route = getattr(scope.get("route"), "path", "none")
            self._metrics.answered_request(route, _method(scope["method"]), status, time.perf_counter() - began)


def _method(method: str) -> str:
    return method if method in ("GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS") else "other"


def exposition(metrics: Metrics, workers: Workers) -> APIRouter:
    """The route that Prometheus reads."""
    router = APIRouter(tags=["health"])

    @router.get(
        "/metrics", response_class=Response,
        responses={**problems(503, 504), 200: {"content": {"text/plain": {}}, "description": "For Prometheus."}},
    )  # fmt: skip
    async def read(caller: Annotated[Caller, Depends(may("metrics"))]) -> Response:
        """Counts and times since the server began."""
        with refusals():
            text = await workers.run(lambda: generate_latest(metrics.registry))
        return Response(text, media_type=CONTENT_TYPE_LATEST)

    return router
