"""What a registry says of names, ids and locations -> places on this machine; nothing of it is believed.

And what is said there of runs, so that a person tells them apart in a list.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

from core.errors import BadRequest
from core.workspace import leads_out
from registry.store.connection import artifacts, is_embedded, is_remote, shown_server

_SHOWN = 200  # characters of what is refused
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,255}")  # of a run or a model: a folder's name, a part of an address
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,255}")  # of a registered model: it stands in filters and addresses


_OURS = re.compile(r" ([0-9a-f]{7}( \w+)?|training|from history)")  # of a run, behind its recipe's name
_HASH_CHARACTERS = 7  # as git's short ones
_METHOD = "model.method"  # among a run's params


def trained_name(recipe: str, hash_: str, params: Mapping[str, object]) -> str:
    """What a run is called before its model is registered: "film-reviews 1a2b3c4 lora"."""
    return f"{recipe} {hash_[:_HASH_CHARACTERS]} {params.get(_METHOD, '')}".strip()


def registered_name(recipe: str, version: str, params: Mapping[str, object], *, before: str) -> str:
    """And from then on: "film-reviews v3 lora". before: its name, which stays where a person gave it another one."""
    given = before.startswith(recipe) and _OURS.fullmatch(before.removeprefix(recipe))
    return f"{recipe} v{version} {params.get(_METHOD, '')}".strip() if given else before


def require_name(name: str) -> None:
    """Raise BadRequest for what cannot be a registered model's name."""
    if not _NAME.fullmatch(name):
        raise BadRequest(
            f"{name[:_SHOWN]!r} cannot be a model's name. Allowed: letters, digits, spaces, '.', '_' and '-'."
        )


def require_id(identity: str, *, of: str) -> None:
    """Raise BadRequest for what is no id of a run or a model; of: what has it, in words."""
    if not _ID.fullmatch(identity):
        raise BadRequest(
            f"{of} names {identity[:_SHOWN]!r}, which is no id of a run or a model of MLflow's. "
            "Allowed: letters, digits, '-' and '_'. Register the model again."
        )


def local_folder(place: str, var: Path) -> Path | None:
    """The folder behind an artifact location, if it is one of this machine; None for a server's.

    Files are read there and written there. Raises BadRequest for a location with tricks in it; and for one outside
    var/mlflow/artifacts, unless the store is a database of the user's: no server says where this machine's files lie.
    """
    path = _local_path(place)
    if path is None or not (is_embedded() or is_remote()):
        return path
    if leads_out(path, own := artifacts(var)):
        raise BadRequest(
            f"{shown_server()} places files at {place[:_SHOWN]!r}, which is not below {own}. Only a database that "
            "MLFLOW_TRACKING_URI names may do so; a server sends its files (`mlflow server --serve-artifacts`)."
        )
    return path


def _local_path(place: str) -> Path | None:
    try:
        parts = urlsplit(place)
    except ValueError:
        raise _refused(place) from None
    if parts.scheme not in ("file", ""):
        return None
    path = unquote(parts.path)
    tricks = bool({"\0", "\\", ";", "\n"} & set(place + unquote(path))) or parts.query or parts.fragment
    rooted = path.startswith("/") and not path.startswith("//") and parts.netloc in ("", "localhost")
    if tricks or not rooted or ".." in unquote(path).split("/"):  # twice: encoded twice is meant for somebody else
        raise _refused(place)
    return Path(path)


def _refused(place: str) -> BadRequest:
    return BadRequest(
        f"the artifact location {place[:_SHOWN]!r} is refused. Allowed: file:///FOLDER, without '..', ';', '#' or '?'."
    )


def downloads(identity: str, var: Path) -> Path:
    """Where copies of a server's files lie, by the id of their run or model. Raises BadRequest for what is no id."""
    require_id(identity, of=shown_server())
    return downloaded(var) / identity


def downloaded(var: Path) -> Path:
    """The folder that holds them all."""
    return var / "mlflow" / "downloads"
