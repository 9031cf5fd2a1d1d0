"""Graphs as cells of a table: what is no graph, how a published set is read, what networks make of several at once."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from core.cells import graph_cells
from core.errors import BadData, BadRequest
from core.schema.columns import Column, Contract
from core.schema.data import Data
from core.schema.model import Architecture, Model
from core.tables.task import Base
from pipelines.sources._examples import Shape
from pipelines.sources._files import Files
from pipelines.sources.readers.published import graph_tables
from pipelines.tasks.parts.graphs import graph_network, whole_graphs
from pipelines.tasks.parts.graphs.node_features import NodeFeatures
from pipelines.tasks.parts.graphs.whole_graphs import GraphOptions

pytestmark = pytest.mark.usefixtures("one_thread")
CONTRACT = Contract({"graph": Column("graph"), "label": Column("category")}, inputs=("graph",), targets=("label",))
RING = '{"nodes": ["C", {"kind": "N", "charge": 1}, "C"], "edges": [[1, 0], [1, 2], [0, 2], [2, 0], [1, 1]]}'


def test_a_graph_is_kept_in_one_spelling() -> None:
    """Edges have no direction and stand there once; what joins a node to itself is left out, where it may."""
    told = '{"nodes":[{"kind":"C"},{"charge":1,"kind":"N"},{"kind":"C"}],"edges":[[0,1],[0,2],[1,2]]}'
    assert graph_cells.told(RING) == (told, None) == graph_cells.told(json.loads(RING)) == graph_cells.told(told)
    assert graph_cells.told(None) == (None, None)


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ('{"nodes": ["C"]}', 'no object with "nodes" and "edges"'),
        ('{"nodes": [], "edges": []}', "a graph without nodes"),
        ('{"nodes": ["C", "O"], "edges": [[0, 2]]}', r"the edge \[0, 2\] leads to node 2, and the graph has 2"),
        ('{"nodes": ["C", "O"], "edges": [[0, -1]]}', "leads to node -1"),
        ('{"nodes": ["C", "O"], "edges": [[0, 1.5]]}', "is no pair of nodes"),
        ('{"nodes": ["C", null], "edges": []}', "node 1 has no feature"),
        ('{"nodes": [{"kind": ""}], "edges": []}', "node 0 has no feature"),
        ('{"nodes": [{"kind": ["C"]}], "edges": []}', "node 0: kind is no text and no finite number"),
        ('{"nodes": "C", "edges": []}', "are no list"),
        ("[1", "not JSON"),
        (RING, "node 1 is joined to itself"),
    ],
)
def test_each_fault_is_told(value: str, fault: str) -> None:
    with pytest.raises(ValueError, match="" if "JSON" in fault else fault):
        graph_cells.graph_of(value, self_links=False)
    assert re.search(fault, str(graph_cells.told(value, self_links=False)[1]))


def test_a_published_set_is_read(tmp_path: Path) -> None:
    """A row a graph, edges within it; one that leaves its graph, and a graph without nodes, are faults."""
    files = {
        "A": "1, 2\n2, 1\n2, 3\n4, 5\n5, 4\n6, 1\n", "graph_indicator": "1\n1\n1\n2\n2\n3\n",
        "graph_labels": "1\n-1\n1\n1\n", "node_labels": "0\n1\n0\n2\n2\n0\n", "node_attributes": "1.5\n2\n3\n4\n5\n6\n",
    }  # fmt: skip
    for name, text in files.items():
        (tmp_path / f"T_{name}.txt").write_text(text)
    data = Data(source=str(tmp_path), reader="graph_tables", id="id")
    (table,) = graph_tables.read(Files(tmp_path), data=data, contract=CONTRACT)
    shape = Shape(CONTRACT, data, tmp_path)
    one, two, three, four = [shape.example(record) for record in table.records]
    assert json.loads(one.values["graph"]) == {
        "nodes": [{"a0": 1.5, "kind": "0"}, {"a0": 2.0, "kind": "1"}, {"a0": 3.0, "kind": "0"}],
        "edges": [[0, 1], [1, 2]],
    }  # fmt: skip
    assert [each.values["label"] for each in (one, two)] == ["1", "-1"] and one.fault is two.fault is None
    assert (one.id, one.place) == ("1", "T_graph_labels.txt:1")
    assert "leads to node -1" in str(three.fault) and "a graph without nodes" in str(four.fault)
    for name, text, match in (
        ("A", "1, two\n", "T: a line of edges or nodes is no number"),
        ("node_labels", "0\n", "T_node_labels.txt has another number of lines"),
        ("graph_labels", "", "T_graph_labels.txt is not there, or empty"),
    ):
        (tmp_path / f"T_{name}.txt").write_text(text) if text else (tmp_path / f"T_{name}.txt").unlink()
        with pytest.raises(BadRequest, match=match):
            [list(each.records) for each in graph_tables.read(Files(tmp_path), data=data, contract=CONTRACT)]
    with pytest.raises(BadRequest, match=r"no file of the folder is called NAME_A\.txt"):
        list(graph_tables.read(Files(tmp_path, ()), data=data, contract=CONTRACT))


def _known(folder: Path, cells: list[str], **options: Any) -> NodeFeatures:
    whole_graphs.prepare([pd.DataFrame({"graph": cells})], GraphOptions(**options), folder)
    return NodeFeatures(folder)


def _cells(count: int) -> list[str]:
    random = np.random.default_rng(2)
    return [
        json.dumps({"nodes": [{"kind": "CNO"[int(random.integers(3))]} for _ in range(size)],
                    "edges": [[one, int(random.integers(size))] for one in range(size - 1)]})
        for size in random.integers(1, 9, count)
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["gcn", "gat", "graphsage", "gin"])
def test_graphs_are_answered_together_as_torch_geometric_answers_each(tmp_path: Path, name: str) -> None:
    base = Base(Architecture(architecture=name, settings={"hidden_size": 16}), None, None)
    cells = _cells(12)
    known = _known(tmp_path, cells, categories=["kind"])
    found = whole_graphs.arrays(whole_graphs.graphs_of(cells), known)
    kind, width = graph_network.PooledNetwork, known.width + 1
    model = Model(base=base.reference, method="pretrain")
    module = graph_network.build(model, base, width=width, outputs=3, seed=1, kind=kind)
    graph_network.save(module.eval(), tmp_path)
    said = whole_graphs.logits(graph_network.load(tmp_path, kind), found)
    from torch_geometric.nn import GAT, GCN, GIN, GraphSAGE, global_add_pool, global_mean_pool

    whole = {"gcn": GCN, "gat": GAT, "graphsage": GraphSAGE, "gin": GIN}[name](
        width, 16, 2, 16, **({"heads": 8} if name == "gat" else {})
    )
    whole.load_state_dict(module.network.state_dict())
    pool = global_add_pool if name == "gin" else global_mean_pool
    for each, (features, ends) in zip(said, found, strict=True):
        with torch.inference_mode():
            nodes = whole.eval()(torch.from_numpy(features), torch.from_numpy(ends)).relu()
            expected = module.head(pool(nodes, torch.zeros(len(features), dtype=torch.int64)))[0]  # type: ignore[operator]
        np.testing.assert_allclose(each, expected.numpy(), atol=1e-5)


def test_counts_of_a_graph(tmp_path: Path) -> None:
    known = _known(tmp_path, [RING, '{"nodes": ["C"], "edges": []}'], categories=["kind"])
    found = whole_graphs.graphs_of([RING, '{"nodes": ["N"], "edges": []}'])
    ring, single = whole_graphs.summary(whole_graphs.arrays(found, known))
    assert ring[:6].tolist() == [3, 3, 0, 0, 1, 0] and single[:4].tolist() == [1, 0, 1, 0]
    np.testing.assert_allclose(ring[11:].sum(), 2, err_msg="shares of kinds, and the one that every node has")


def test_features_that_tell_nothing_or_are_not_there_are_refused(tmp_path: Path) -> None:
    same = '{"nodes": ["C", "C"], "edges": [[0, 1]]}'
    with pytest.raises(BadData, match="'kind' is 'C' in every node"):
        _known(tmp_path, [same], categories=["kind"])
    with pytest.raises(BadData, match=r"no node has 'charge'\. They have: kind"):
        _known(tmp_path, [same], numbers=["charge"])
    assert _known(tmp_path, [same]).width == 0, "how nodes are joined is enough"
    with pytest.raises(BadRequest, match="input 2: a graph without nodes"):
        whole_graphs.graphs_of([same, {"nodes": [], "edges": []}])
