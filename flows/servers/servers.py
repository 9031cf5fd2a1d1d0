"""Which Prefect and MLflow a workspace has: its own local ones, behind a key and a link, or those of the user.

PREFECT_API_URL or MLFLOW_TRACKING_URI, when set, name servers of the user's; then nothing is started here.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from core.addresses import without_secrets
from core.atomic_files import write_private
from core.errors import BadRequest, Outage
from core.file_locks import locked
from core.patience import limit_s, patiently
from core.workspace import Workspace
from flows.servers import local
from flows.servers.local import QUIET, Name, Server
from registry.store.connection import database, public_address

_VARIABLE: dict[Name, str] = {"prefect": "PREFECT_API_URL", "mlflow": "MLFLOW_TRACKING_URI"}
_HEALTH = "/api/health"
_HEALTH_TIMEOUT_S = 5.0
_SERVERS_FAULT = 500  # from here on an HTTP status says that the server is to blame
_PROFILE = """\
# Written by Headrace at each start of the local Prefect server, for `PREFECT_HOME=$PWD/var/prefect prefect ...`.
active = "headrace"

[profiles.headrace]
PREFECT_API_URL = "{api}"
PREFECT_API_AUTH_STRING = "{credentials}"
"""


def prefect_api(workspace: Workspace) -> str:
    """The URL of Prefect's API, its server started if need be and ready to answer.

    Raises Outage when it does not start.
    """
    if (api := prefect_running(workspace)) is not None:
        return api
    with locked(workspace.var, "prefect-server"):
        server = local.started(workspace, "prefect")
        write_private(_profiles(workspace), _PROFILE.format(api=_api(server), credentials=server.credentials))
        local.await_answer(workspace, "prefect", server, _HEALTH)
    return _api(server)


def prefect_running(workspace: Workspace) -> str | None:
    """The URL of Prefect's API where a server is up (one of the user's is taken to be); nothing is started."""
    if given := os.environ.get("PREFECT_API_URL"):
        return given
    server = local.running(workspace, "prefect")
    return _api(server) if server and server.healthy(_HEALTH) else None


def is_own(workspace: Workspace) -> bool:
    """Whether the server that this process asks is the workspace's own: then all that is on it is of this workspace."""
    server = local.running(workspace, "prefect")
    return server is not None and os.environ.get("PREFECT_API_URL", _api(server)) == _api(server)


def record_event(workspace: Workspace, name: str, resource: dict[str, str], payload: dict[str, str]) -> bool:
    """Tell the workspace's own Prefect server of an event, without Prefect's client: 1.5 s of CPU to import.

    False where none is up, it does not take it, or another server is in charge.
    """
    if not is_own(workspace) or (server := local.running(workspace, "prefect")) is None:
        return False
    event = {
        "occurred": datetime.now(UTC).isoformat(), "event": name, "resource": resource, "related": [],
        "payload": payload, "id": str(uuid4()),
    }  # fmt: skip
    return server.post("/api/events", [event])


def await_users_server() -> None:
    """Wait for the server that PREFECT_API_URL names, if it does. Raises Outage after HEADRACE_PATIENCE_S."""
    if given := os.environ.get("PREFECT_API_URL"):
        require_usable_proxies()
        patiently(lambda: _require_answer(given))


def require_usable_proxies() -> None:
    """Raise BadRequest for a proxy that the HTTP client refuses: it then asks nobody, our own servers neither."""
    named = {name: value for name, value in os.environ.items() if name.lower().endswith("_proxy") and value}
    if not named:
        return
    import httpx

    try:
        httpx.Client(verify=False).close()  # noqa: S501  it asks nothing
    except (ImportError, ValueError, httpx.InvalidURL):
        said = ", ".join(f"{name}={without_secrets(value)}" for name, value in sorted(named.items()))
        raise BadRequest(
            f"a proxy in the environment cannot be used: {said}. Allowed: http://HOST:PORT and https://HOST:PORT, and "
            "socks5://HOST:PORT once `pip install socksio` was run. Correct the variable, or unset it."
        ) from None


@contextmanager
def prefect_environment(workspace: Workspace, api: str) -> Iterator[None]:
    """What Prefect reads when it is first imported, and hands to its child processes: which server, and to be quiet."""
    require_usable_proxies()
    given = {
        **_client(workspace, api),
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": os.environ.get("PREFECT_FLOWS_HEARTBEAT_FREQUENCY", "30"),  # seconds
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",  # flows/reporting/screen.py says it in fewer words
        "PREFECT_LOGGING_INTERNAL_LEVEL": "CRITICAL",  # of each event that a dead server did not take
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
        **QUIET,
    }
    if "PREFECT_API_URL" not in os.environ:  # else the user's profile may hold the key to their server
        given["PREFECT_HOME"] = str(workspace.var / "prefect")
    before = {key: os.environ.get(key) for key in given}
    os.environ.update(given)
    try:
        yield
    finally:
        for key, value in before.items():
            if value is None:
                os.environ.pop(key)
            else:
                os.environ[key] = value


@contextmanager
def prefect_settings(workspace: Workspace, api: str) -> Iterator[None]:
    """Point Prefect at a server, also when this process imported it for another one before."""
    with prefect_environment(workspace, api):
        import prefect.settings

        given = _client(workspace, api)
        with prefect.settings.temporary_settings({getattr(prefect.settings, name): given[name] for name in given}):
            yield


def _client(workspace: Workspace, api: str) -> dict[str, str]:
    """Which server Prefect's client asks, with which key (for one of the user's: what they have set), and how often.

    It asks again after 2, 4, 8 ... seconds, for HEADRACE_PATIENCE_S in all, and whatever failed: by itself it does so
    for 429, 502, 503 and lost connections.
    """
    retries = max(0, math.ceil(math.log2(limit_s() + 2)) - 1)
    server = local.running(workspace, "prefect")
    return {
        "PREFECT_API_URL": api,
        "PREFECT_CLIENT_MAX_RETRIES": str(retries),
        "PREFECT_CLIENT_RETRY_EXTRA_CODES": "500,504",
        **({"PREFECT_API_AUTH_STRING": server.credentials} if server and api == _api(server) else {}),
    }


def start_mlflow_page(workspace: Workspace) -> str | None:
    """The address of the MLflow page; its server is started, and loads MLflow when somebody opens it.

    None when the store is a file or database of the user's, or does not exist yet.
    """
    if given := os.environ.get("MLFLOW_TRACKING_URI"):
        return public_address(given) if given.startswith("http") else None
    if not database(workspace.var).exists():
        return None
    with locked(workspace.var, "mlflow-server"):
        return local.started(workspace, "mlflow").page


def pages(workspace: Workspace) -> dict[str, str]:
    """The web pages that are up: prefect, mlflow -> address, as it may be recorded; `link` opens it."""
    found: dict[str, str] = {}
    for name, variable in _VARIABLE.items():
        server, given = local.running(workspace, name), os.environ.get(variable)
        if server and given in (None, "", _api(server)):
            found[name] = server.page
        elif given and given.startswith("http"):
            found[name] = public_address(given).removesuffix("/api")
    return found


def link(workspace: Workspace, address: str) -> str:
    """The address of a page, for its owner to click on: with what opens it, where it is one of this workspace's own.

    It is printed, and written down nowhere: who has it may do what its owner may, while that server lives.
    """
    for name in _VARIABLE:
        if (server := local.running(workspace, name)) is not None:
            address = server.link(address)
    return address


def links(workspace: Workspace) -> dict[str, str]:
    """`pages`, each as its owner opens it."""
    return {name: link(workspace, address) for name, address in pages(workspace).items()}


def stop(workspace: Workspace) -> list[str]:
    """End this workspace's servers and their children; the names of those that ran."""
    ended = []
    for name in _VARIABLE:
        with locked(workspace.var, f"{name}-server"):
            if local.end(workspace, name):
                ended.append(str(name))
    _profiles(workspace).unlink(missing_ok=True)
    return ended


def _api(server: Server) -> str:
    return f"{server.url}/api"


def _profiles(workspace: Workspace) -> Path:
    return workspace.var / "prefect" / "profiles.toml"


def _require_answer(api: str) -> None:
    """Raise Outage unless a user's server answers, be it that it wants a key that only Prefect's client knows."""
    import httpx

    try:
        status = httpx.get(f"{api}/health", timeout=_HEALTH_TIMEOUT_S).status_code
        fault = f"it answered {status}" if status >= _SERVERS_FAULT else None
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        fault = str(error) or type(error).__name__
    if fault is not None:
        raise Outage(
            f"Prefect's server {public_address(api)} (PREFECT_API_URL) does not answer ({fault}). Start it, or unset "
            "the variable to use one of this workspace's own."
        )
