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
from serving.http.problems import problems, refusals
from serving.http.threads import Workers
from serving.indexes.indexes import Indexes

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120)
_METHODS = ("GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS")


class Metrics:
    """Counts of one application, in a registry of its own. No label holds what a caller wrote, but for index names."""

    def __init__(self, indexes: Indexes) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter("headrace_requests", "Requests.", ("route", "method", "status"), registry=self.registry)
        self.seconds = Histogram(
            "headrace_request_seconds", "Seconds a request took.", ("route",), buckets=_SECONDS, registry=self.registry
        )
        self.searches = Counter("headrace_searches", "Searches.", ("index", "mode"), registry=self.registry)
        self.answers = Counter(
            "headrace_answers", "Answers; refused: not in the documents.", ("index", "outcome"), registry=self.registry
        )
        self.registry.register(_Releases(indexes))


class _Releases(Collector):
    """Looked up when somebody asks."""

    def __init__(self, indexes: Indexes) -> None:
        self._indexes = indexes

    def collect(self) -> Iterator[GaugeMetricFamily]:
        labels = ("index", "release")
        family = GaugeMetricFamily("headrace_release_info", "The live release of an index.", labels=labels)
        for index, release in self._indexes.standing().live.items():
            family.add_metric((index, release), 1)
        yield family


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
            method = scope["method"] if scope["method"] in _METHODS else "other"
            self._metrics.requests.labels(route, method, str(status)).inc()
            self._metrics.seconds.labels(route).observe(time.perf_counter() - began)


def exposition(metrics: Metrics, workers: Workers) -> APIRouter:
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
