"""May the ONNX variant of a version answer in PyTorch's place? Only where its evidence says: equal, and faster.

Its evidence is a section of the version's bundle, whose hash is a tag of the version and stands in the ledger, and
which a key signs. Whatever is wrong with any of it, PyTorch answers.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from core.errors import BadRequest, HeadraceError
from core.tables.task import Exportable, Predictor
from registry.store import signing
from registry.store.versions import EVIDENCE_HASH, Version, evidence

SECTION = "onnx"  # of a version's bundle, and the folder with the graph among its evidence
GRAPH = f"{SECTION}/model.onnx"
CLOSE = 1e-4  # of any score over all test rows: float32 in another order; measured 1e-7 to 1e-6
ALONE, TOGETHER = 1.1, 0.9  # times PyTorch's speed: one input clearly faster, and a batch as fast as medians can tell


@dataclass(frozen=True)
class Timing:
    """What an engine takes: inputs one by one, and as many a second in one batch."""

    latency_p50_ms: float
    latency_p95_ms: float
    throughput_rows_per_s: float


@dataclass(frozen=True)
class Choice:
    """predictor: who answers. remark: why that is not the ONNX variant, where a version has one."""

    predictor: Predictor
    engine: str
    remark: str | None = None


def chosen(version: Version, predictor: Predictor, var: Path) -> Choice:
    """The predictor itself, or one that asks the version's ONNX graph. predictor: as the version's task loaded it."""
    try:
        graph = _graph(version, var)
        if graph is None:
            return Choice(predictor, "torch")
        return Choice(_by_onnx(predictor, graph), "onnx")
    except (_NotUsed, OSError) as why:
        return Choice(predictor, "torch", f"PyTorch answers for {version.called}, not its ONNX variant: {why}")


def exchanged(predictor: Exportable, module: Any) -> Any:
    """The same predictor, asking another module."""
    other = copy.copy(predictor)
    other.module = module
    return other


def unfit(told: Mapping[str, Any], place: Mapping[str, Any]) -> str | None:
    """Why a variant may not answer, by its evidence; None: it is equal and faster.

    place: as registry/version/onnx_graph.py says it.
    """
    if "error" in told:
        return f"there is none: {told['error']}"
    try:
        rows, apart, differ = int(told["rows"]), float(told["max_difference"]), int(told["answers_differ"])
        alone, together = speedup(told)
        measured = told["place"]
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return "its evidence cannot be read"
    if rows < 1 or differ or not apart <= CLOSE:
        return f"of {rows:,} test rows it answers {differ:,} otherwise, scores differ by up to {apart:.1g} ({CLOSE:g})"
    if not (alone >= ALONE and together >= TOGETHER):
        return (
            f"it is not faster ({alone:.2f} times alone, {together:.2f} times in batches; {ALONE:g} and {TOGETHER:g})"
        )
    if dict(measured) != dict(place):
        then, now = (f"{at.get('device')} with {', '.join(at.get('providers', []))}" for at in (measured, place))
        return f"it was timed on {then}, and this is {now}"
    return None


def described(told: Mapping[str, Any]) -> str:
    """A variant's evidence in a line, for people."""
    if why := unfit(told, told.get("place", {})):
        return f"PyTorch answers, {why}"
    alone, together = speedup(told)
    return (
        f"{alone:.1f} times PyTorch's speed for one input, {together:.1f} times for a batch; the same answers over "
        f"{told['rows']:,} test rows, scores within {told['max_difference']:.1g}"
    )


def speedup(told: Mapping[str, Any]) -> tuple[float, float]:
    """How many times as fast as PyTorch it is: one input, a batch."""
    torch, onnx = (Timing(**told["timing"][engine]) for engine in ("torch", "onnx"))
    return torch.latency_p50_ms / onnx.latency_p50_ms, onnx.throughput_rows_per_s / torch.throughput_rows_per_s


def graph_fault(told: Mapping[str, Any], version: Version, var: Path) -> str | None:
    """How the graph differs from what a version's bundle says of it; None: it does not, or the bundle names none."""
    try:
        if "sha256" in told.get(SECTION, {}):
            _recorded(told, version, var)
    except _NotUsed as fault:
        return str(fault)
    return None


class _NotUsed(Exception):
    """Why PyTorch answers."""


def _graph(version: Version, var: Path) -> bytes | None:
    """The graph that the version's evidence allows; None when it has no variant."""
    try:
        bundle = evidence(version, signing.BUNDLE, var)
    except BadRequest:  # its run's id or place is none: the version is loaded all the same
        return None
    if bundle is None:
        return None
    content = bundle.read_bytes()
    try:
        told = json.loads(content)
        asked = SECTION in told
    except (ValueError, TypeError, RecursionError):
        raise _NotUsed("its evidence cannot be read") from None
    if not asked:
        return None
    if hashlib.sha256(content).hexdigest() != version.tags.get(EVIDENCE_HASH):
        raise _NotUsed("its evidence was edited")
    if told["model"] != {"name": version.name, "model_hash": version.model_hash}:
        raise _NotUsed("its evidence is that of another version")
    keys = signing.trusted_keys()
    if keys and (fault := signing.fault(bundle, evidence(version, signing.EVIDENCE, var), keys)):
        raise _NotUsed(f"of its evidence, {fault}")
    if find_spec("onnxruntime") is None:
        raise _NotUsed("onnxruntime is not installed")
    from registry.version.onnx_graph import place

    if why := unfit(told[SECTION], place()):
        raise _NotUsed(why)
    return _recorded(told, version, var)


def _recorded(told: Mapping[str, Any], version: Version, var: Path) -> bytes:
    """The graph that a bundle names by its hash."""
    file = evidence(version, GRAPH, var)
    if file is None:
        raise _NotUsed(f"{GRAPH} is missing")
    graph = file.read_bytes()
    if (found := hashlib.sha256(graph).hexdigest()) != told[SECTION]["sha256"]:
        again = "Register the model again, which makes it anew"
        raise _NotUsed(f"{file} was altered: {GRAPH} is {found[:12]} now. {again}")
    return graph


def _by_onnx(predictor: Predictor, graph: bytes) -> Predictor:
    from registry.version.onnx_graph import opened

    if not isinstance(predictor, Exportable):
        raise _NotUsed("this code of its task cannot ask it")
    try:
        session = opened(graph, predictor.module.state_dict(), predictor.interface().outputs)
    except HeadraceError as fault:
        raise _NotUsed(str(fault)) from None
    other: Predictor = exchanged(predictor, session)
    return other
