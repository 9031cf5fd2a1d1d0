"""GCN, GAT, GraphSAGE and GIN of torch-geometric: built by name, kept as config.json and model.safetensors.

Sources: Kipf & Welling 2017; Velickovic et al. 2018; Hamilton et al. 2017; Xu et al. 2019. Imports torch-geometric at
once, which takes two seconds.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from core.atomic_files import read_json, write_json
from core.schema.model import Model
from core.tables.learner import Said
from core.tables.task import Base
from core.weights.tensor_files import write_tensors
from pipelines.tasks.parts.architecture import as_request, saved_weights
from pipelines.tasks.parts.graphs.graph_settings import settings_of

with warnings.catch_warnings():  # torch.jit.script, which torch-geometric calls, is to go
    warnings.simplefilter("ignore", FutureWarning)
    from torch_geometric.nn import GAT, GCN, GIN, GraphSAGE

_KINDS: Mapping[str, Any] = {"gcn": GCN, "gat": GAT, "graphsage": GraphSAGE, "gin": GIN}
# Links of a node to itself are in the batches, and so are GCN's weights: both come from the whole graph, not from what
# of it is in a batch.
_OWN: Mapping[str, dict[str, Any]] = {"gcn": {"normalize": False}, "gat": {"add_self_loops": False}}
_CONFIG = "config.json"


class GraphNetwork(nn.Module):
    """Features of nodes -> dropout -> layers, each over the links -> numbers of each node.

    config: what config.json says: model_type, settings, width (numbers of a node), outputs.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.config, kind, told = dict(config), config["model_type"], config["settings"]
        self.hears_itself = kind in _OWN
        more = {"heads": told["heads"]} if kind == "gat" else {}
        self.dropout = nn.Dropout(told["dropout"])
        self.network = _KINDS[kind](
            config["width"], told["hidden_size"], told["num_layers"], config["outputs"], dropout=told["dropout"],
            **more, **_OWN.get(kind, {}),
        )  # fmt: skip

    def forward(
        self,
        x: Tensor,
        links: Tensor,
        weights: Tensor,
        steps: Tensor | None = None,
        step_links: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> Said:
        """x: (nodes, width). links: (2, links), from and to. weights: (links,).

        steps, step_links: how many nodes and links each step away from the nodes asked about has; those stand first,
        and logits are theirs. None: all nodes are asked about.
        """
        weighed = weights if self.network.supports_edge_weight else None
        hops = {}
        if steps is not None and step_links is not None:
            hops = {"num_sampled_nodes_per_hop": steps.tolist(), "num_sampled_edges_per_hop": step_links.tolist()}
        logits = self.network(self.dropout(x), links, edge_weight=weighed, **hops)
        logits = logits if steps is None else logits[: int(steps[0])]
        return Said(None if labels is None else nn.functional.cross_entropy(logits, labels), logits)


class PooledNetwork(GraphNetwork):
    """The mean of a graph's nodes, or the sum for GIN (Xu et al. 2019, section 4.2), through a linear map -> logits.

    config: outputs are the labels.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        hidden = config["settings"]["hidden_size"]
        super().__init__({**config, "outputs": hidden})
        self.config = dict(config)
        self.head = nn.Linear(hidden, config["outputs"])

    def forward(  # type: ignore[override]
        self, x: Tensor, links: Tensor, weights: Tensor, graphs: Tensor, labels: Tensor | None = None
    ) -> Said:
        """graphs: (nodes,), of which graph each is; ascending."""
        nodes = super().forward(x, links, weights).logits.relu()
        sizes = torch.bincount(graphs)
        pooled = torch.zeros(len(sizes), nodes.shape[1], device=x.device).index_add(0, graphs, nodes)
        if self.config["model_type"] != "gin":
            pooled = pooled / sizes[:, None]
        logits = self.head(self.dropout(pooled))
        return Said(None if labels is None else nn.functional.cross_entropy(logits, labels), logits)


def build(
    model: Model, base: Base, *, width: int, outputs: int, seed: int, kind: type[GraphNetwork] = GraphNetwork
) -> GraphNetwork:
    """A network with fresh weights. Raises BadRequest for settings that it has not."""
    settings = settings_of(model, base)
    assert base.architecture is not None
    torch.manual_seed(seed)
    config = {"model_type": base.architecture.architecture, "settings": settings.model_dump()}
    with as_request("model.base.settings: no network can be built from them"):
        return kind({**config, "width": width, "outputs": outputs})


def save(module: Any, folder: Path) -> None:
    write_tensors(module.state_dict(), folder / "model.safetensors")
    write_json(folder / _CONFIG, module.config)


def load(folder: Path, kind: type[GraphNetwork] = GraphNetwork) -> GraphNetwork:
    """What save() wrote, ready to predict. Raises BadRequest."""
    with as_request(f"{folder}: its weights are of another model"):
        module = kind(read_json(folder / _CONFIG))
        module.load_state_dict(saved_weights(folder))
    return module.eval()
