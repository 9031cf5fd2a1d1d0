"""Outputs that DVC made as links into its cache (`cache.type symlink`): made anew where they lead elsewhere.

A link names the cache by its absolute path. In a workspace that was moved it leads nowhere, and every stage would run
again; in a copy it leads into the original. Only flows/graph/graph.py calls what is here.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any


def heal(repo: Any) -> None:
    """Make such links anew, each to the object that dvc.lock names; what the cache lacks is for its stage to make.

    A link that leads nowhere goes: DVC takes it for a file, and stops over it.
    """
    if "symlink" not in repo.cache.local.cache_types or not any(map(_strays, _outs(repo))):
        return
    with repo.lock:  # several commands may start at once
        for out in _outs(repo):
            strays = _strays(out)
            lacking = bool(strays) and out.changed_cache()
            for link in strays:
                if not lacking or not link.exists():
                    link.unlink()
            if strays and not lacking:
                out.checkout(force=True)


def _outs(repo: Any) -> Iterator[Any]:
    yield from (out for stage in repo.index.stages for out in stage.outs if out.use_cache and out.hash_info)


def _strays(out: Any) -> list[Path]:
    """The links of an output that lead elsewhere than into the cache, or nowhere."""
    place, cache = Path(out.fs_path), Path(out.cache.path)
    links = (path for path in (place, *place.rglob("*")) if path.is_symlink())
    return [link for link in links if not (link.readlink().is_relative_to(cache) and link.exists())]
