"""Where a verb writes the picture that it was asked for."""

from __future__ import annotations

from pathlib import Path

from core.errors import BadRequest


def picture_file(named: Path | None) -> Path | None:
    """The file that was named, looked at before anything is computed for it.

    Raises BadRequest for one whose name is no PNG's, or whose folder is not there.
    """
    if named is None:
        return None
    if named.suffix.lower() != ".png":
        raise BadRequest(f"--picture {named}: it is written as PNG. Name a file that ends in .png.")
    if not named.parent.is_dir():
        raise BadRequest(f"--picture {named}: there is no folder {named.parent}.")
    return named
