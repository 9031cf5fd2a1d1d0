"""Where package://PACKAGE/inner/path lies: files of an installed Python package, found without importing it."""

from __future__ import annotations

from pathlib import Path

from pipelines.errors import BadRequest

PREFIX = "package://"


def package_path(reference: str) -> Path:
    """Where package://PACKAGE/inner/path lies. Raises BadRequest when it is not installed or has no such path."""
    from importlib.util import find_spec

    name, inner = package_parts(reference)
    spec = find_spec(name) if name.isidentifier() else None
    places = list(spec.submodule_search_locations or []) if spec else []
    if not places:
        raise BadRequest(
            f"{reference}: no Python package {name!r} is installed. `pip install {name.replace('_', '-')}` "
            "(the examples' packages: `pip install 'headrace[demo]'`)."
        )
    for place in places:
        if (Path(place) / inner).exists():
            return Path(place) / inner
    holds = sorted(path.name for path in Path(places[0]).iterdir() if not path.name.startswith("_"))
    raise BadRequest(f"{reference}: {places[0]} has no {inner!r}. It holds: {', '.join(holds[:20])}")


def package_parts(reference: str) -> tuple[str, str]:
    """package://NAME/inner/path -> (NAME, inner/path)."""
    name, _, inner = reference[len(PREFIX) :].partition("/")
    return name, inner.strip("/")
