"""A folder of graphs in the layout of TUDataset, a row a graph: NAME_A.txt (a line an edge),
NAME_graph_indicator.txt (of each node its graph), NAME_graph_labels.txt, and of nodes labels and attributes, if any.

A node's label is its `kind`, its attributes are `a0`, `a1` ... What is said of edges is left out.
Source: Morris et al. 2020, "TUDataset: A collection of benchmark datasets for learning with graphs".
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from core.cells.graph_cells import KIND
from core.errors import BadRequest
from pipelines.sources._files import Files, Record, Table
from pipelines.sources._opening import open_text, readable

COLUMNS = ("graph", "label", "id")
_EDGES, _GRAPHS, _LABELS = "_A.txt", "_graph_indicator.txt", "_graph_labels.txt"
_NODE_LABELS, _ATTRIBUTES = "_node_labels.txt", "_node_attributes.txt"


def tables(files: Files, encoding: str) -> Iterator[Table]:
    """Raises BadRequest for a folder that is not so."""
    names = [found.name.removesuffix(_EDGES) for found in files if found.name.endswith(_EDGES)]
    if not names:
        raise BadRequest(f"reader graph_tables: no file of the folder is called NAME{_EDGES}.")
    for name in names:
        parts = {
            end: _lines(files, name + end, encoding) for end in (_EDGES, _GRAPHS, _LABELS, _NODE_LABELS, _ATTRIBUTES)
        }
        if absent := [end for end in (_GRAPHS, _LABELS) if not parts[end]]:
            raise BadRequest(f"reader graph_tables: {name}{absent[0]} is not there, or empty.")
        if wrong := [end for end in (_NODE_LABELS, _ATTRIBUTES) if len(parts[end]) not in (0, len(parts[_GRAPHS]))]:
            raise BadRequest(f"reader graph_tables: {name}{wrong[0]} has another number of lines than {name}{_GRAPHS}.")
        yield Table(name, COLUMNS, _records(name, parts))


def _records(name: str, parts: Mapping[str, list[list[str]]]) -> Iterator[Record]:
    try:
        graphs = _graphs(parts)
    except (ValueError, IndexError) as fault:
        raise BadRequest(
            f"reader graph_tables: {name}: a line of edges or nodes is no number of a node: {fault}."
        ) from None
    for number, (label, *_) in enumerate(parts[_LABELS], start=1):
        yield Record({"graph": graphs[str(number)], "label": label, "id": str(number)}, f"{name}{_LABELS}:{number}")


def _graphs(parts: Mapping[str, list[list[str]]]) -> Mapping[str, Mapping[str, list[Any]]]:
    """The nodes and edges of each graph. An edge that leaves its graph leads to node -1, which no graph has."""
    owners, none = [line[0] for line in parts[_GRAPHS]], [list[str]()] * len(parts[_GRAPHS])
    found = defaultdict[str, dict[str, list[Any]]](lambda: {"nodes": [], "edges": []})
    places = []
    for owner, kind, told in zip(owners, parts[_NODE_LABELS] or none, parts[_ATTRIBUTES] or none, strict=True):
        node: dict[str, Any] = {f"a{at}": float(value) for at, value in enumerate(told)}
        nodes = found[owner]["nodes"]
        places.append(len(nodes))
        nodes.append({KIND: " ".join(kind), **node} if kind or not node else node)
    for one, two, *_ in parts[_EDGES]:
        first, second = int(one) - 1, int(two) - 1
        inside = 0 <= second < len(owners) and owners[second] == owners[first]
        found[owners[first]]["edges"].append([places[first], places[second] if inside else -1])
    return found


def _lines(files: Files, name: str, encoding: str) -> list[list[str]]:
    """The fields of each line; none where there is no such file."""
    found = next((each for each in files if each.name == name), None)
    if found is None:
        return []
    with open_text(found, encoding) as file, readable(found, encoding):
        return [[field.strip() for field in line.split(",")] for line in file if line.strip()]
