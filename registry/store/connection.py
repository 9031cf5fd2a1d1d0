"""Which MLflow answers: MLFLOW_TRACKING_URI, or the SQLite store in var/mlflow, made by one process at a time."""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, urlsplit, urlunsplit

from core.addresses import without_secrets
from core.atomic_files import make_folder
from core.errors import BadRequest, HeadraceError, Outage
from core.file_locks import locked
from registry.store.moved import bring_home

if TYPE_CHECKING:
    from mlflow import MlflowClient

T = TypeVar("T")

EMBEDDED = "embedded"
_RETRIES = "MLFLOW_HTTP_REQUEST_MAX_RETRIES"
# MLflow's own: seven retries of two minutes each. A server that is down should be reported, not waited for.
_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    _RETRIES: "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",  # seconds
    "MLFLOW_ENABLE_ASYNC_LOGGING": "false",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "GIT_PYTHON_REFRESH": "quiet",
}
_PREPARED: set[tuple[Path, int, int]] = set()  # stores that this process has found whole: looking takes a second


def tracking_uri(var: Path) -> str:
    """The user's MLFLOW_TRACKING_URI, or the SQLite file below `var`."""
    return os.environ.get("MLFLOW_TRACKING_URI") or embedded_uri(var)


def is_embedded() -> bool:
    return not os.environ.get("MLFLOW_TRACKING_URI")


def is_remote() -> bool:
    """Whether a server answers, rather than a database or folder that MLFLOW_TRACKING_URI names."""
    return os.environ.get("MLFLOW_TRACKING_URI", "").lower().startswith(("http://", "https://"))


def database(var: Path) -> Path:
    return var / "mlflow" / "mlflow.db"


def artifacts(var: Path) -> Path:
    """Where the embedded store keeps files."""
    return var / "mlflow" / "artifacts"


def server_name() -> str:
    """What a receipt calls the server: its address without credentials, or "embedded"."""
    if is_embedded():
        return EMBEDDED
    return public_address(os.environ["MLFLOW_TRACKING_URI"])


def public_address(url: str) -> str:
    """An address as it may be shown: no user, no password, no query."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="")).rstrip("/")


def shown_server() -> str:
    """The server in a message."""
    return "the store in var/mlflow" if is_embedded() else server_name()


def exclusive(var: Path) -> AbstractContextManager[None]:
    """Judge, register and promote under this: one at a time in a workspace, so that a model gets one version."""
    return locked(var, "registry")


def quiet() -> None:
    """Set what MLflow reads from the environment, where the user has not: no telemetry, short time-outs."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def prepare_embedded(var: Path) -> str:
    """Make the SQLite store if there is none, and return its URI. Safe from several processes at once.

    Where the workspace was moved or copied since, the places of its files are written anew.

    MLflow's migrations race when two processes open an empty file, so the first opening is done under a lock.
    """
    quiet()
    uri = embedded_uri(var)
    if _file_at(database(var)) not in _PREPARED:
        from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

        with locked(var, "mlflow"), answering():
            make_folder(artifacts(var))
            SqlAlchemyStore(uri, artifacts(var).resolve().as_uri())  # type: ignore[no-untyped-call]
        if (found := _file_at(database(var))) is not None:
            _PREPARED.add(found)
    try:
        bring_home(database(var), artifacts(var).resolve().as_uri())
    except sqlite3.Error as error:
        raise _outage(error) from error
    return uri


def embedded_uri(var: Path) -> str:
    """SQLAlchemy takes what stands behind a question mark for options, unless SQLite itself reads the path as a URI."""
    path = str(database(var).resolve())
    return f"sqlite:///file:{quote(path)}?uri=true" if "?" in path else f"sqlite:///{path}"


def _file_at(place: Path) -> tuple[Path, int, int] | None:
    """Which file lies there; None: none does. A workspace that was moved has the same files in another place."""
    try:
        return place.resolve(), (status := place.stat()).st_dev, status.st_ino
    except FileNotFoundError:
        return None


def connect(var: Path) -> MlflowClient:
    """A client of the server that is in charge. Raises Outage when it does not answer."""
    quiet()
    logging.getLogger("alembic").setLevel(logging.WARNING)
    from mlflow import MlflowClient

    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # it logs tracebacks of what we report
    for chatty in ("mlflow.pyfunc", "mlflow.store.model_registry.abstract_store"):
        logging.getLogger(chatty).setLevel(logging.WARNING)

    uri = prepare_embedded(var) if is_embedded() else tracking_uri(var)
    return MlflowClient(uri, registry_uri=uri)


@contextmanager
def asking(var: Path) -> Iterator[MlflowClient]:
    """A client of the server that is in charge, whose exceptions become ours while the block runs."""
    with answering():
        yield connect(var)


class NotThere(HeadraceError):
    """The embedded store, read without MLflow, has nothing of that name."""


def if_there(ask: Callable[..., T], *about: str) -> T | None:
    """What MLflow answers; None when it asks for something that is not there."""
    try:
        return ask(*about)
    except NotThere:
        return None
    except Exception as error:  # MLflow's, which is not imported to name its class
        if getattr(error, "error_code", None) in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


def every_page(search: Callable[..., Any], *about: Any) -> list[Any]:
    """What a search of MLflow's finds, all pages of it."""
    found: list[Any] = []
    token = None
    while True:
        page = search(*about, max_results=1000, page_token=token)
        found += page
        if not (token := page.token):
            return found


def sent_once() -> AbstractContextManager[None]:
    """Requests that make something are not repeated by MLflow's client, which would make it twice when a reply is lost.

    The whole action is repeated instead (core/patience.py), and looks first what is there already.
    """
    return _environment(_RETRIES, "0")


def as_default(client: MlflowClient) -> AbstractContextManager[None]:
    """Make the client's server MLflow's default one: some of its calls ask that one, whatever the client."""
    return _environment("MLFLOW_TRACKING_URI", client.tracking_uri)


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def experiment_id(client: MlflowClient, name: str, var: Path) -> str:
    """The experiment of that name, made or taken back from the bin when needed."""
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        place = (artifacts(var).resolve() / name).as_uri() if is_embedded() else None
        try:
            return client.create_experiment(name, artifact_location=place)
        except MlflowException as error:
            found = client.get_experiment_by_name(name)  # another process was quicker
            if found is None:
                raise error
    if found.lifecycle_stage == "deleted":
        client.restore_experiment(found.experiment_id)
    return str(found.experiment_id)


@contextmanager
def answering() -> Iterator[None]:
    """Turn MLflow's exceptions into ours: no answer is an Outage, a refused login a BadRequest."""
    from mlflow.exceptions import MlflowException
    from requests import RequestException
    from sqlalchemy.exc import DBAPIError

    try:
        yield
    except (RequestException, DBAPIError) as error:
        raise _outage(error) from error
    except MlflowException as error:
        if error.error_code in _UNREACHABLE:
            raise _outage(error) from error
        if error.error_code in _REFUSED:
            raise BadRequest(
                f"the MLflow server {server_name()} refuses: {_first_line(error)}. "
                "Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN."
            ) from error
        raise HeadraceError(f"MLflow ({shown_server()}): {_first_line(error)}.") from error


_UNREACHABLE = {"INTERNAL_ERROR", "TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED", "DEADLINE_EXCEEDED"}
_REFUSED = {"UNAUTHENTICATED", "PERMISSION_DENIED", "CUSTOMER_UNAUTHORIZED"}


def _outage(error: Exception) -> Outage:
    if is_embedded():
        return Outage(f"MLflow's store var/mlflow/mlflow.db cannot be used: {_first_line(error)}. Run the same again.")
    return Outage(
        f"the MLflow server {server_name()} (MLFLOW_TRACKING_URI) does not answer: {_first_line(error)}. "
        "Start it, or unset the variable to use the embedded store, and run again."
    )


def _first_line(error: Exception) -> str:
    """The first line of an exception's text, without the credentials of an address in it."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return without_secrets(lines[0])[:300].rstrip(".")
