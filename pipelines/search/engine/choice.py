"""Which engine a workspace's indexes live in."""

from __future__ import annotations

import os

from core.workspace import Workspace
from pipelines.search.engine.engine import KEY, URL, Engine
from pipelines.search.engine.release_files import Versions


def choose(workspace: Workspace) -> Engine:
    """The server that QDRANT_URL names, else the embedded engine."""
    url = os.environ.get(URL)
    if url:
        from pipelines.search.engine.qdrant_server import connect

        return connect(url, os.environ.get(KEY))
    from pipelines.search.engine.embedded import Edge

    return Edge(Versions.embedded(workspace))
