"""What a version is made of, as a graph: version -> run -> stages -> data -> source, base, code. Pure.

It is built from what was kept with the version; flows/lineage/trace.py hashes again whatever a node names.
"""

from __future__ import annotations

import hashlib
import html
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from core.addresses import recorded as without_values
from registry.store.versions import Version

# recorded: not looked at. verified: hashed again, and the same. moved: it goes on elsewhere, and a copy is verified.
State = Literal["recorded", "verified", "moved", "missing", "mismatch"]
Kind = Literal["version", "evidence", "run", "stage", "data", "source", "base", "code", "index"]
_COLUMNS: Sequence[Kind] = ("version", "evidence", "run", "stage", "data", "source", "base", "code", "index")
_COLOURS: Mapping[State, str] = {
    "recorded": "#eceff1", "verified": "#d7f0dc", "moved": "#fdf3cf", "missing": "#fbdcc4", "mismatch": "#f7c5c5",
}  # fmt: skip
_FAULTS = ("missing", "mismatch")
_WIDTH, _HEIGHT, _GAP_X, _GAP_Y, _EDGE = 250, 44, 50, 14, 12  # pixels of a box, between boxes, around the picture
_SHOWN = 34  # characters of a line in a box


@dataclass(frozen=True)
class Node:
    """One thing. hash: what it must be; where: the path or reference by which it is found."""

    id: str
    kind: Kind
    label: str
    hash: str | None = None
    where: str | None = None
    state: State = "recorded"
    why: str = ""


@dataclass(frozen=True)
class Lineage:
    """The graph. edges: (what was made, what it was made of)."""

    nodes: Sequence[Node]
    edges: Sequence[tuple[str, str]]

    @property
    def faults(self) -> list[Node]:
        return [node for node in self.nodes if node.state in _FAULTS]

    def settled(self, states: Mapping[str, tuple[State, str]]) -> Lineage:
        """With what was found out about nodes: id -> state, why."""
        found = [(node, *states.get(node.id, (node.state, node.why))) for node in self.nodes]
        return replace(self, nodes=[replace(node, state=state, why=why) for node, state, why in found])

    def joined(self, nodes: Sequence[Node], edges: Sequence[tuple[str, str]]) -> Lineage:
        return Lineage([*self.nodes, *nodes], [*self.edges, *edges])


def rows_hash(lock: Mapping[str, Any]) -> str | None:
    """DVC's hash of the folder of rows that a version was made of. lock: entries of dvc.lock by stage."""
    outs = (out for entry in lock.values() for out in entry.get("outs", ()) if out["path"].endswith("/prepared"))
    return next((str(out["md5"]) for out in outs), None)


def recorded(version: Version, lock: Mapping[str, Any], settings: Mapping[str, Any]) -> Lineage:
    """The graph as it was kept. lock: entries of dvc.lock by stage. settings: the recipe's settings.json."""
    tags, run_id = version.tags, version.run_id
    top = Node(version.called, "version", f"{version.name} version {version.version}", version.model_hash)
    evidence = Node("evidence", "evidence", "evidence.json", tags.get("evidence_hash"))
    run = Node(run_id, "run", f"run {run_id[:8]}", None, run_id)
    code = Node("code", "code", f"commit {tags.get('code_commit', 'none')[:10]}", tags.get("code_commit"))
    nodes, edges = [top, evidence, run, code], [(top.id, evidence.id), (top.id, run.id)]
    for stage, entry in lock.items():
        nodes.append(Node(stage, "stage", stage, key_of(entry), entry.get("cmd")))
        edges += [(stage, code.id)]
        for out in entry.get("outs", ()):
            nodes.append(Node(out["path"], "data", out["path"], out.get("md5"), out["path"]))
            edges.append((out["path"], stage))
        edges += [(stage, dep["path"]) for dep in entry.get("deps", ()) if dep["path"].startswith("data/")]
    edges += [(run.id, node.id) for node in nodes if node.kind == "data" and node.label.endswith("/model")]
    return Lineage(nodes, edges).joined(*_origins(settings, lock))


def key_of(entry: Mapping[str, Any]) -> str:
    """A stage's key: a hash of its command, and of every input by its hash."""
    inputs = {"cmd": entry.get("cmd"), "deps": entry.get("deps", []), "params": entry.get("params", {})}
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()


def code_of(lock: Mapping[str, Any]) -> dict[str, str]:
    """Every file of code that the stages ran -> its md5, as DVC saw it; folders aside."""
    return {
        dep["path"]: dep["md5"]
        for entry in lock.values()
        for dep in entry.get("deps", ())
        if dep["path"].endswith(".py") and "md5" in dep
    }


def lines(lineage: Lineage) -> Iterator[str]:
    """The graph for a person, a line a node, then what is wrong."""
    for node in sorted(lineage.nodes, key=lambda node: _COLUMNS.index(node.kind)):
        digest = f"  {node.hash[:12]}" if node.hash else ""
        why = f"  ({node.why})" if node.why else ""
        yield f"{node.kind:<9} {node.label}{digest}  {node.state}{why}"
    faults = lineage.faults
    for node in faults:
        yield f"{node.state.upper()}: {node.kind} {node.label}: {node.why}"
    wrong = f"{len(faults)} of them not" if faults else "every one that can be hashed is"
    yield f"{len(lineage.nodes)} things, {wrong} what {'they' if faults else 'it'} should be"


def svg(lineage: Lineage) -> str:
    """The graph as a picture: a column a kind, what it was made of to the right."""
    places = _places(lineage)
    width = max(x for x, _ in places.values()) + _WIDTH + _EDGE
    height = max(y for _, y in places.values()) + _HEIGHT + _EDGE
    arrows = [_arrow(places[a], places[b]) for a, b in lineage.edges if a in places and b in places]
    boxes = [_box(node, *places[node.id]) for node in lineage.nodes]
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif">'
    return "\n".join([head, *arrows, *boxes, "</svg>"]) + "\n"


def _origins(settings: Mapping[str, Any], lock: Mapping[str, Any]) -> tuple[list[Node], list[tuple[str, str]]]:
    """The source and the bases, and which stage read them."""
    source = without_values(str(settings.get("data", {}).get("source")))
    identity = settings.get("source", {})
    known = next((str(identity[key]) for key in ("sha256", "listing", "mark") if identity.get(key)), None)
    nodes = [Node("source", "source", source, known, source)]
    edges = [(stage, "source") for stage in lock if stage.startswith(("collect@", "documents@"))]
    for reference, base in settings.get("bases", {}).items():
        nodes.append(Node(f"base {reference}", "base", reference, base["sha256"], reference))
        edges += [(stage, f"base {reference}") for stage in lock if stage.startswith(("train@", "embed@"))]
    return nodes, edges


def _places(lineage: Lineage) -> dict[str, tuple[int, int]]:
    used = [kind for kind in _COLUMNS if any(node.kind == kind for node in lineage.nodes)]
    return {
        node.id: (_EDGE + column * (_WIDTH + _GAP_X), _EDGE + row * (_HEIGHT + _GAP_Y))
        for column, kind in enumerate(used)
        for row, node in enumerate(node for node in lineage.nodes if node.kind == kind)
    }


def _box(node: Node, x: int, y: int) -> str:
    title = html.escape(f"{node.kind} {node.label} {node.hash or ''} {node.state} {node.why}".strip())
    first, second = html.escape(_cut(node.label)), html.escape(_cut(f"{(node.hash or '')[:12]} {node.state}".strip()))
    return (
        f'<g><title>{title}</title><rect x="{x}" y="{y}" width="{_WIDTH}" height="{_HEIGHT}" rx="5" '
        f'fill="{_COLOURS[node.state]}" stroke="#607d8b"/>'
        f'<text x="{x + 8}" y="{y + 18}" font-size="13">{first}</text>'
        f'<text x="{x + 8}" y="{y + 35}" font-size="11" fill="#455a64">{second}</text></g>'
    )


def _arrow(start: tuple[int, int], end: tuple[int, int]) -> str:
    (x1, y1), (x2, y2) = (start[0] + _WIDTH, start[1] + _HEIGHT // 2), (end[0], end[1] + _HEIGHT // 2)
    if x2 < x1:
        x1, x2 = start[0], end[0] + _WIDTH
    middle = (x1 + x2) // 2
    return f'<path d="M{x1},{y1} C{middle},{y1} {middle},{y2} {x2},{y2}" fill="none" stroke="#b0bec5"/>'


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else f"...{text[-_SHOWN + 3 :]}"
