"""What the shell offers for the word that is being typed: names of this workspace, without MLflow, DVC or torch.

Outside of a workspace, and where its files cannot be read, it offers nothing: a TAB is no place for a message.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from core.workspace import Workspace


def offer_recipes(incomplete: str) -> list[str]:
    """Live recipes."""
    return _offered(incomplete, lambda workspace: _live(workspace)[0])


def offer_indexes(incomplete: str) -> list[str]:
    """Live indexes."""
    return _offered(incomplete, lambda workspace: _live(workspace)[1])


def offer_names(incomplete: str) -> list[str]:
    """Both."""
    return offer_recipes(incomplete) + offer_indexes(incomplete)


def offer_models(incomplete: str) -> list[str]:
    """Models of the embedded store; a server of the user's is not asked."""
    return _offered(incomplete, _registered)


def offer_models_and_indexes(incomplete: str) -> list[str]:
    return offer_models(incomplete) + offer_indexes(incomplete)


def _offered(incomplete: str, look: Callable[[Workspace], Iterable[str]]) -> list[str]:
    from core.errors import HeadraceError
    from core.workspace import find_workspace

    try:
        return [name for name in look(find_workspace()) if name.startswith(incomplete)]
    except (HeadraceError, OSError):
        return []


def _live(workspace: Workspace) -> tuple[list[str], list[str]]:
    from flows.catalog.params import read_entries

    entries = read_entries(workspace)
    return sorted(entries["recipe"]), sorted(entries["index"])


def _registered(workspace: Workspace) -> list[str]:
    from registry.store.connection import is_embedded
    from registry.store.overview import standings

    return sorted(each.name for each in standings(workspace.var)) if is_embedded() else []
