"""Nodes of a graph: what is read and set aside of one, what of it is kept, and that its parts answer as the whole."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import torch

from core.atomic_files import read_json
from core.cells import row_links
from core.errors import BadData, BadRequest
from core.manifest import write_manifest
from core.schema.model import Architecture, Model
from core.tables.prepared import ENCODER, read_rows
from core.tables.task import Base, Foreseeing, Place
from core.workspace import Job
from pipelines.evidence.row_counts import row_counts
from pipelines.tasks import find_task
from pipelines.tasks.parts.graphs import node_graph
from pipelines.validate.feature_faults import FeatureFaults
from pipelines.validate.link_faults import LinkFaults
from tests.conftest import Workspace
from tests.places import a_learner
from tests.samples.node_classification import linked_rows
from tests.small_table import Row, small_workspace, through

pytestmark = pytest.mark.usefixtures("one_thread")

TASK = find_task("node_classification")
OPTIONS = {"words": ["words"], "numbers": ["size"], "categories": ["kind"], "dates": [], "self_links": False}
RECIPE = (
    "task: node_classification\ndata: {source: rows.csv, split: {train: 0.6, validation: 0.2, test: 0.2}}\n"
    "preprocess: {words: [words], numbers: [size], categories: [kind], self_links: false}\n"
    "contract: {at_most: 0.2}\n"
    "model: {base: {architecture: gcn}, method: pretrain}\n"
)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return small_workspace(tmp_path_factory.mktemp("nodes") / "workspace")


@pytest.fixture(autouse=True)
def here(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(workspace.root)


@pytest.fixture(scope="module")
def job(workspace: Workspace) -> Job:
    """A recipe over clean rows and one of each fault, up to preprocess."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(workspace.root)
        return through(workspace, RECIPE, [*linked_rows(), *FAULTS], to="preprocess")


def _row(node: str, **cells: Any) -> Row:
    return {"node": node, "links": '["n3"]', "words": "red", "size": 0.1, "kind": "k1", "label": "rose", **cells}


FAULTS = [
    _row("away", links='["n3", "nowhere"]'),
    _row("itself", links="n4 itself"),
    _row("bare", words="", size="", kind=""),
    _row(""),
    _row("torn", links='["n3'),
    _row("twice"),
    _row("twice", links='["n4"]'),
    _row("pointing", links='["away", "torn", "bare", "n5"]'),  # sound: the rows are there, though set aside
]
REASONS = {
    "away": "names a row that is not there",
    "itself": "names the row itself",
    "bare": "no value in any of its features",
    "": "node is missing",
    "torn": "links: not JSON",
    "twice": "contradiction",
}


def test_each_planted_fault_is_set_aside_and_nothing_else(job: Job) -> None:
    bad = pq.read_table(job.folder / "validated/quarantine.parquet").to_pylist()
    assert len(bad) == len(FAULTS) - 1 and {row["node"] or "" for row in bad} == REASONS.keys()
    for row in bad:
        assert REASONS[row["node"] or ""] in row["reason"], row["node"]


def test_rows_without_a_label_are_in_the_graph_and_in_no_split(job: Job) -> None:
    rows = read_rows(job.folder / "prepared")
    assert len(rows) == 241 and (rows["split"].isna() == rows["label"].isna()).all()
    facts, graph = read_json(job.folder / "prepared/statistics.json"), _graph(job)
    assert facts["of_no_split"] == 40 and facts["duplicates_dropped"] == 0
    counts = row_counts(job.folder)
    assert counts is not None and (counts.read, counts.kept, counts.quarantined) == (248, 241, 7)
    assert sorted(graph.names) == sorted(rows["node"])
    assert (graph.links != graph.links.T).nnz == 0, "both ends of a link hear each other"
    assert graph.links[graph.places["pointing"]].nnz == 1, "links to rows that were set aside are left out"


def test_a_constant_feature_stops_and_clean_rows_have_no_fault() -> None:
    rows = pd.DataFrame(linked_rows()).replace("", None).assign(fault=None)
    rows["links"] = [row_links.told(cell)[0] for cell in rows["links"]]
    contract = TASK.contract.with_named(OPTIONS)
    assert contract.inputs == ("node", "links", "words", "size", "kind")
    for found, count in ((rows, 0), (rows.assign(size=1.0), 1)):
        features, linked = FeatureFaults(contract), LinkFaults(contract)
        for start in range(0, len(rows), 50):
            features.look(found[start : start + 50])
            linked.look(found[start : start + 50])
        assert len(list(features.checks())) == count
        assert all(check.passed for check in linked.checks())


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (["a", 7, 7.0], '["a","7","7"]'), ("a, b  c", '["a","b","c"]'), ("[1, 2]", '["1","2"]'), (5, '["5"]'),
        ("", None), (None, None), ([], "[]"),
    ],
)  # fmt: skip
def test_links_are_read_however_they_are_told(value: Any, told: str | None) -> None:
    assert row_links.told(value) == (told, None)
    assert row_links.listed(told) == ([] if told is None else json.loads(told))


@pytest.mark.parametrize("value", [{"a": 1}, [None], [["a"]], [""], True, "[1"])
def test_what_is_no_list_of_names_is_a_fault(value: Any) -> None:
    assert row_links.told(value)[1]


@pytest.mark.parametrize("name", ["gcn", "gat", "graphsage", "gin"])
def test_a_neighbourhood_answers_as_the_whole_graph(job: Job, name: str) -> None:
    """Beside torch-geometric's own network on all nodes and links at once, with its own weights of links."""
    learner, predictor = _learnt(job, name, {"hidden_size": 16, "num_layers": 3})
    from torch_geometric.nn import GAT, GCN, GIN, GraphSAGE

    kinds = {"gcn": GCN, "gat": GAT, "graphsage": GraphSAGE, "gin": GIN}
    graph, more = _graph(job), {"heads": 8} if name == "gat" else {}
    whole = kinds[name](graph.features.shape[1], 16, 3, 2, **more).eval()
    whole.load_state_dict(learner.module.network.state_dict())
    x = torch.from_numpy(graph.features.toarray())
    with torch.inference_mode():
        expected = whole(x, torch.from_numpy(np.stack(graph.links.nonzero())).long()).softmax(dim=-1).numpy()
    rows = read_rows(job.folder / "prepared")
    said = predictor.predict(rows)["probabilities"]
    np.testing.assert_allclose(said, expected[[graph.places[node] for node in rows["node"]]], atol=1e-5)


def test_nodes_are_asked_by_name_or_as_new_ones(job: Job) -> None:
    """The name alone of a known node is enough; a new one is told by what it has and whom it names, and by no other."""
    _, predictor = _learnt(job, "graphsage", {})
    rows = read_rows(job.folder / "prepared", "test")
    whole = predictor.predict(rows)["probabilities"]
    np.testing.assert_allclose(predictor.predict(rows[["node"]])["probabilities"], whole, atol=1e-6)
    cells = json.loads(rows.iloc[0]["links"])
    new = {"links": cells, "words": "red w1", "size": 0.5, "kind": "k1"}
    others = [new, {**new, "node": "unheard of"}, {**new, "links": " ".join(cells)}, {**new, "links": None}]
    said = predictor.predict(pd.DataFrame(others))["probabilities"]
    np.testing.assert_allclose(said[1:3], said[[0, 0]], atol=1e-6)
    assert abs(said[3] - said[0]).max() > 1e-4
    for sent, match in (
        ({"node": "unheard of"}, "input 1: the graph has no node 'unheard of', and no feature of a new one"),
        ({"links": ["n1"]}, "no node is sent, and no feature"),
        ({"words": "red", "links": ["nowhere"]}, "column 'links': the graph has no node 'nowhere'"),
        ({"words": "red", "links": {"a": 1}}, "column 'links': not a list of names"),
    ):
        with pytest.raises(BadRequest, match=match):
            predictor.predict(pd.DataFrame([sent]))


def test_neighbours_are_drawn_and_each_stands_for_those_left_out(job: Job) -> None:
    graph = _graph(job)
    these = node_graph.of_graph(graph, graph.names[:40])
    np.random.seed(1)
    some = node_graph.neighbourhood(these, graph, steps=2, most=2)
    np.random.seed(1)
    again = node_graph.neighbourhood(these, graph, steps=2, most=2)
    assert np.array_equal(some.sources, again.sources), "a checkpoint keeps numpy's generator"
    counts = np.bincount(some.targets, minlength=sum(some.steps))
    assert counts.max() == 2 and counts[-1] == 0
    heard = np.diff(these.links.indptr)
    np.testing.assert_allclose(np.bincount(some.targets, some.drawn)[:40], heard[:40], err_msg="sums are kept")
    every = node_graph.neighbourhood(these, graph, steps=2)
    assert set(some.nodes) < set(every.nodes) and (every.drawn == 1).all()


@pytest.mark.parametrize(
    ("architecture", "settings", "match"),
    [
        ("gnc", {}, "'gnc' is no architecture for graphs. Did you mean"),
        ("gcn", {"heads": 2}, r"model.base.settings.heads.* gcn has: hidden_size"),
        ("gat", {"hidden_size": 9}, "must be a multiple of heads"),
        ("label_propagation", {"rounds": 2}, "has no settings"),
    ],
)
def test_what_cannot_be_built_is_refused_before_there_are_rows(architecture: str, settings: Row, match: str) -> None:
    base = Base(Architecture(architecture=architecture, settings=settings), None, None)
    assert isinstance(TASK, Foreseeing)
    with pytest.raises(BadRequest, match=match):
        TASK.foresee(Model(base=base.reference, method="pretrain"), TASK.Preprocess.model_construct(), base)


def test_a_graph_is_read_from_two_tables(workspace: Workspace) -> None:
    """A link stands with whichever end is a row; one between two strangers is a row with that fault."""
    rows = linked_rows(60)
    nodes = pd.DataFrame([{**row, "part": ("train", "test", "none")[at // 3 % 3]} for at, row in enumerate(rows)])
    folder = workspace.path("two")
    folder.mkdir()
    nodes.drop(columns="links").to_csv(folder / "nodes.tsv", sep="\t", index=False)
    pairs = [("n1", "n2"), ("n2", "n1"), ("n2", "n4"), ("gone", "n7"), ("gone", "lost"), ("n9", "")]
    pd.DataFrame(pairs, columns=["from", "to"]).to_csv(folder / "edges.csv", index=False)
    recipe = RECIPE.replace("{source: rows.csv, split: {train: 0.6, validation: 0.2, test: 0.2}}",
                            "{source: two, reader: graph_tables, id: node, split: {given: part}}")  # fmt: skip
    job = through(workspace, recipe, rows, to="preprocess")
    bad = {
        row["place"]: row["reason"] for row in pq.read_table(job.folder / "validated/quarantine.parquet").to_pylist()
    }
    assert "a link between 'gone' and 'lost', and neither is a node" in bad["edges.csv:6"]
    assert "a link without two ends" in bad["edges.csv:7"] and "names a row that is not there" in bad["nodes.tsv:9"]
    assert len(bad) == 3
    facts = read_json(job.folder / "prepared/statistics.json")
    assert facts["rows"] == {"train": 17, "validation": 0, "test": 18} and facts["of_no_split"] == 24
    assert _graph(job).links.nnz == 4, "a link that stands there twice is one"
    (folder / "edges.csv").unlink()
    with pytest.raises(BadRequest, match=r"the folder needs one of edges.csv, edges.tsv, .*; there: none"):
        through(workspace, recipe, rows, to="collect")


def test_labels_of_one_kind_are_refused(workspace: Workspace) -> None:
    with pytest.raises(BadData, match="the training rows have 1 label"):
        through(workspace, RECIPE, [{**row, "label": "rose"} for row in linked_rows(60)], to="preprocess")


def _at(job: Job, name: str, settings: Row) -> Place:
    base = Base(Architecture(architecture=name, settings=settings), None, None)
    return Place(job.folder / "prepared" / ENCODER, job.folder, job.folder, base, 7)


def _graph(job: Job) -> node_graph.NodeGraph:
    from pipelines.tasks.parts.graphs.node_features import NodeFeatures

    folder = job.folder / "prepared" / ENCODER
    return node_graph.read(folder, NodeFeatures(folder).width)


def _learnt(job: Job, name: str, settings: Row) -> tuple[Any, Any]:
    """A network with fresh weights, saved and loaded."""
    at = _at(job, name, settings)
    learner = a_learner(TASK, Model(base=at.base.reference, method="pretrain"), at)
    folder = Path(tempfile.mkdtemp(dir=job.folder))
    TASK.save(learner, at, into=folder)
    write_manifest(folder, {})
    return learner, TASK.load(folder)
