"""Files that were downloaded before, for those who may not add to them."""

from __future__ import annotations

from pathlib import Path

from core.atomic_files import make_folder


def borrowed(kept: Path, folder: Path) -> Path:
    """A folder of links to the files that were downloaded before; what is downloaded now does not go there."""
    make_folder(folder)
    for path in kept.rglob("*") if kept.is_dir() else ():
        if path.is_file():
            link = folder / path.relative_to(kept)
            make_folder(link.parent)
            if not link.exists():
                link.symlink_to(path)
    return folder
