"""`champion` moved by hand, with a look at the evidence first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipelines.errors import BadRequest
from pipelines.workspace import Workspace

if TYPE_CHECKING:
    from registry.store import Promotion


def promote(workspace: Workspace, model: str, version: str, *, force: bool) -> Promotion:
    """Make a version the champion.

    Raises BadRequest when there is no such version, or when its gates refused it and `force` is not set.
    """
    from registry import store
    from registry.versions import resolve

    chosen = resolve(model, version, workspace.var)
    if not chosen.passed and not force:
        reasons = "".join(f"\n  {line}" for line in chosen.tags.get(store.REASONS, "it was never judged").splitlines())
        raise BadRequest(
            f"{model}/{chosen.version} was refused by its gates:{reasons}\n"
            f"`headrace promote {model} {chosen.version} --force` promotes it all the same."
        )
    return store.promote(model, chosen.version, workspace.var)
