"""Rows that are nodes of one graph, as arrays: who hears whom, what is known of each, and the neighbourhood of some.

The graph is kept with the model: a node that is asked about is answered by its neighbours there.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from core.atomic_files import read_json, write_json
from core.cells import row_links
from core.errors import BadRequest
from core.tables.keys import label_name

if TYPE_CHECKING:
    import pandas as pd

    from pipelines.tasks.parts.graphs.node_features import NodeFeatures
    from pipelines.tasks.parts.graphs.sparse_arrays import csr_matrix

NODE, LINKS = "node", "links"  # columns of rows
_NAMES, _ARRAYS = "nodes.json", "graph.safetensors"
Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class NodeGraph:
    """names: of the nodes. links: (nodes, nodes), 1 where a row hears a column. features: (nodes, width) float32."""

    names: list[str]
    links: csr_matrix
    features: csr_matrix

    @cached_property
    def places(self) -> dict[str, int]:
        return {name: at for at, name in enumerate(self.names)}

    @cached_property
    def heard(self) -> Array:
        """(nodes,): how many nodes each hears."""
        return np.diff(self.links.indptr)

    def save(self, folder: Path) -> None:
        from safetensors.numpy import save_file

        write_json(folder / _NAMES, self.names)
        arrays: dict[str, Array] = {}
        for name in ("links", "features"):
            matrix = getattr(self, name)
            arrays |= {f"{name}.indptr": matrix.indptr.astype(np.int64), f"{name}.indices": matrix.indices}
        save_file({**arrays, "features.data": self.features.data}, folder / _ARRAYS)


@dataclass(frozen=True)
class Asked:
    """Nodes that are asked about: what is known of each, (asked, width), and whom it hears, (asked, nodes).

    known: (asked,), the number in the graph of each, -1 of a new one.
    """

    features: csr_matrix
    links: csr_matrix
    known: Array

    def part(self, here: slice) -> Asked:
        return Asked(self.features[here], self.links[here], self.known[here])


@dataclass(frozen=True)
class Neighbourhood:
    """The nodes from which answers about `asked` are made, those first, then those of each step away.

    nodes: numbers in the graph of all but the asked. sources, targets: of each link, places among these nodes; those of
    the first step first. steps: how many nodes each step has, the asked first. step_links: how many links.
    drawn: of each link, how many links it stands for: more than 1 where some were drawn.
    """

    nodes: Array
    sources: Array
    targets: Array
    steps: list[int]
    step_links: list[int]
    drawn: Array


def read(folder: Path, width: int) -> NodeGraph:
    """What save() left. width: numbers of a node."""
    from safetensors.numpy import load_file

    from pipelines.tasks.parts.graphs.sparse_arrays import csr_matrix

    names, arrays = read_json(folder / _NAMES), load_file(folder / _ARRAYS)
    found = {}
    for name, columns in (("links", len(names)), ("features", width)):
        indices = arrays[f"{name}.indices"]
        data = arrays.get(f"{name}.data", np.ones(len(indices), np.float32))
        found[name] = csr_matrix((data, indices, arrays[f"{name}.indptr"]), shape=(len(names), columns))
    return NodeGraph(names, found["links"], found["features"])


def of_rows(rows: pd.DataFrame, known: NodeFeatures, *, directed: bool) -> NodeGraph:
    """The graph of all rows; says what is left out: links to rows that were set aside, to the row itself, and repeats.

    directed: a node hears those that it names; else both ends of a link hear each other.
    """
    from pipelines.tasks.parts.graphs.sparse_arrays import csr_matrix

    names = [str(label_name(name)) for name in rows[NODE]]
    places = {name: at for at, name in enumerate(names)}
    told = [row_links.listed(cell) for cell in rows[LINKS]]
    one = np.repeat(np.arange(len(names)), [len(each) for each in told])
    two = np.array([places.get(name, -1) for each in told for name in each], np.int64)
    there, itself = two >= 0, one == two
    one, two = one[there & ~itself], two[there & ~itself]
    pairs = np.unique(np.stack([one, two] if directed else [np.minimum(one, two), np.maximum(one, two)]), axis=1)
    ends = pairs if directed else np.concatenate([pairs, pairs[::-1]], axis=1)
    links = csr_matrix((np.ones(ends.shape[1], np.float32), ends), shape=(len(names), len(names)))
    links.sort_indices()
    linked = np.zeros(len(names), bool)
    linked[ends.ravel()] = True
    print(
        f"graph: {len(names):,} nodes, {pairs.shape[1]:,} links, {int((~linked).sum()):,} nodes without one; left out "
        f"{len(one) - pairs.shape[1]:,} repeated links, {int(itself.sum()):,} of a node to itself, "
        f"{int((~there).sum()):,} to rows that were set aside",
        file=sys.stderr, flush=True,
    )  # fmt: skip
    return NodeGraph(names, links, known.of(rows))


def of_graph(graph: NodeGraph, nodes: Sequence[str]) -> Asked:
    """Nodes of the graph as they stand there."""
    at = np.array([graph.places[name] for name in nodes], np.int64)
    return Asked(graph.features[at], graph.links[at], at)


def asked(rows: pd.DataFrame, graph: NodeGraph, known: NodeFeatures) -> Asked:
    """What a caller sent, beside what the graph has of a node that it knows: features replace those of the graph, links
    are added to them. Nodes that are asked about together do not hear each other.

    Raises BadRequest for a new node without features, or that names one which the graph has not.
    """
    from pipelines.tasks.parts.graphs.sparse_arrays import csr_matrix, vstack

    sent = np.zeros(len(rows), bool)
    for name in known.columns:
        if name in rows:
            sent |= (rows[name].notna() & (rows[name] != "")).to_numpy(bool)
    own, features, ends = known.of(rows), [], []
    names = [label_name(name) for name in rows[NODE]] if NODE in rows else [None] * len(rows)
    links = rows[LINKS] if LINKS in rows else [None] * len(rows)
    at = np.array([graph.places.get(name or "", -1) for name in names], np.int64)
    for row, (name, told, place) in enumerate(zip(names, links, at, strict=True)):
        new = place < 0
        if new and not sent[row]:
            what = f"the graph has no node {name[:80]!r}" if name else "no node is sent"
            raise BadRequest(f"input {row + 1}: {what}, and no feature of a new one ({', '.join(known.columns)}).")
        features.append(own[row] if sent[row] else graph.features[place])
        heard = set() if new else set(graph.links[place].indices.tolist())
        ends.append(sorted((heard | _ends(told, row, graph, new=new)) - {place}))
    starts = np.cumsum([0, *map(len, ends)])
    flat = np.array([end for each in ends for end in each], np.int64)
    shape = (len(ends), len(graph.names))
    heard_by = csr_matrix((np.ones(len(flat), np.float32), flat, starts), shape=shape)
    return Asked(csr_matrix(vstack(features)), heard_by, at)


def _ends(told: Any, row: int, graph: NodeGraph, *, new: bool) -> set[int]:
    """The nodes that are named. Of a node that the graph has, names of rows that were set aside are left out."""
    if told is None or (isinstance(told, float) and told != told) or (isinstance(told, str) and not told.strip()):
        return set()
    try:
        names = row_links.names(told)
    except ValueError as fault:
        raise BadRequest(f"input {row + 1}, column {LINKS!r}: {fault}.") from None
    absent = [name for name in names if name not in graph.places]
    if absent and new:
        raise BadRequest(f"input {row + 1}, column {LINKS!r}: the graph has no node {absent[0][:80]!r}.")
    return {graph.places[name] for name in names if name in graph.places}


def neighbourhood(these: Asked, graph: NodeGraph, *, steps: int, most: int | None = None) -> Neighbourhood:
    """All that is within so many steps of the nodes asked about, each node once.

    most: links of a node that are followed; of one with more, so many are drawn from numpy's generator.
    Source: Hamilton et al. 2017, "Inductive Representation Learning on Large Graphs", algorithm 2.
    """
    place = np.full(len(graph.names), -1, np.int64)  # of each node of the graph among those found
    sizes, step_links = [these.links.shape[0]], []
    nodes, sources, targets, drawn = [np.empty(0, np.int64)], [], [], []
    here, matrix, rows = np.arange(sizes[0]), these.links, np.arange(sizes[0])
    for _ in range(steps):
        owner, ends, weight = _followed(matrix, rows, most)
        new = np.unique(ends[place[ends] < 0])
        place[new] = sum(sizes) + np.arange(len(new))
        sources.append(place[ends])
        targets.append(here[owner])
        drawn.append(weight)
        step_links.append(len(ends))
        nodes.append(new)
        here, matrix, rows = place[new], graph.links, new
        sizes.append(len(new))
    found, one, two, weights = map(np.concatenate, (nodes, sources, targets, drawn))
    return Neighbourhood(found, one, two, sizes, step_links, weights)


def _followed(links: csr_matrix, rows: Array, most: int | None) -> tuple[Array, Array, Array]:
    """Of each link that is followed from these rows: its row's place in `rows`, its end, how many it stands for."""
    starts = links.indptr[rows].astype(np.int64)
    counts = links.indptr[rows + 1].astype(np.int64) - starts
    owner = np.repeat(np.arange(len(rows)), counts)
    before = np.repeat(np.cumsum(counts) - counts, counts)
    places = np.repeat(starts, counts) + np.arange(len(owner)) - before
    weight = np.ones(len(owner), np.float32)
    if most is not None and len(counts) and counts.max() > most:
        order = np.lexsort((np.random.random(len(owner)), owner))
        kept = np.sort(order[np.arange(len(owner)) - before < most])
        owner, places = owner[kept], places[kept]
        weight = (counts / np.minimum(counts, most).clip(1)).astype(np.float32)[owner]
    return owner, links.indices[places].astype(np.int64), weight
