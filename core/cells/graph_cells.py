"""A whole graph, as a cell of a table keeps it: one JSON object, its edges in order and each once.

{"nodes":[{"kind":"C"},{"kind":"O"}],"edges":[[0,1]]}: two nodes, counted from 0, each with what is known of it, and an
edge between them, which has no direction. A node that is told as a text or a number is one of that `kind`.
"""

from __future__ import annotations

import json
import math
from typing import Any, NamedTuple

KIND = "kind"
_SHOWN_CHARS = 60


class Graph(NamedTuple):
    """nodes: what is known of each. edges: pairs of places among them, the lower first."""

    nodes: list[dict[str, Any]]
    edges: list[tuple[int, int]]


def told(value: Any, *, self_links: bool = True) -> tuple[str | None, str | None]:
    """A cell as a table of examples has it, and what is wrong with it, or None.

    value: an object with nodes and edges, or the same as JSON text. self_links: whether an edge may join a node to
    itself; if it may, it is left out all the same, for a node hears itself anyhow.
    """
    if value is None:
        return None, None
    try:
        return written(graph_of(value, self_links=self_links)), None
    except (ValueError, RecursionError) as error:
        fault = "not JSON" if isinstance(error, json.JSONDecodeError) else str(error)
        return (value if isinstance(value, str) else None), fault


def graph_of(value: Any, *, self_links: bool = True) -> Graph:
    """A graph as told() takes it. Raises ValueError, saying what is wrong."""
    value = json.loads(value) if isinstance(value, str) else value
    if not isinstance(value, dict) or not value.keys() >= {"nodes", "edges"}:
        raise ValueError(f'no object with "nodes" and "edges" but {_shown(value)}')
    nodes, edges = value["nodes"], value["edges"]
    if not isinstance(nodes, list) or not isinstance(edges, list):
        raise ValueError("its nodes, or its edges, are no list")
    if not nodes:
        raise ValueError("a graph without nodes")
    pairs = [_pair(edge, len(nodes)) for edge in edges]
    if not self_links and (own := [one for one, two in pairs if one == two]):
        raise ValueError(f"node {own[0]} is joined to itself (preprocess.self_links: true allows it)")
    return Graph(
        [_node(each, at) for at, each in enumerate(nodes)], sorted({pair for pair in pairs if len({*pair}) > 1})
    )


def written(graph: Graph) -> str:
    """The text that graph_of() reads."""
    return json.dumps(graph._asdict(), ensure_ascii=False, separators=(",", ":"))


def _node(value: Any, at: int) -> dict[str, Any]:
    node = value if isinstance(value, dict) else {KIND: value}
    if not any(each not in (None, "") for each in node.values()):
        raise ValueError(f"node {at} has no feature")
    if wrong := [name for name, each in node.items() if not _plain(each)]:
        raise ValueError(f"node {at}: {wrong[0]} is no text and no finite number")
    return dict(sorted(node.items()))


def _plain(value: Any) -> bool:
    return value is None or isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))


def _pair(value: Any, nodes: int) -> tuple[int, int]:
    if not isinstance(value, list | tuple) or len(value) != 2 or not all(type(end) is int for end in value):
        raise ValueError(f"the edge {_shown(value)} is no pair of nodes")
    if lost := [end for end in value if not 0 <= end < nodes]:
        raise ValueError(f"the edge {_shown(value)} leads to node {lost[0]}, and the graph has {nodes:,}, from 0")
    return min(value), max(value)


def _shown(value: Any) -> str:
    return repr(value)[:_SHOWN_CHARS]
