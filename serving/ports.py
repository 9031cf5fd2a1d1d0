"""The port that a server of a workspace had before, for it to ask for again: its address stays from start to start.

var/servers/NAME.port holds it. Who finds it taken gets another, which counts from then on.
"""

from __future__ import annotations

from pathlib import Path

from core.atomic_files import said_in, to_json, write_private
from core.workspace import Workspace

_HIGHEST = 65535


def port_before(workspace: Workspace, name: str) -> int:
    """0 where it had none."""
    port = said_in(_file(workspace, name)).get("port")
    return port if isinstance(port, int) and 0 < port <= _HIGHEST else 0


def remember_port(workspace: Workspace, name: str, port: int) -> None:
    if port != port_before(workspace, name):
        write_private(_file(workspace, name), to_json({"port": port}))


def _file(workspace: Workspace, name: str) -> Path:
    return workspace.var / "servers" / f"{name}.port"
