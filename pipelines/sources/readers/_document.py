"""A whole file as one text."""

from __future__ import annotations

from pathlib import Path

from core.errors import BadRequest
from pipelines.sources._opening import MAX_CHARS, undecoded


def document(path: Path, encoding: str) -> tuple[str | None, str | None]:
    """The text, and what is wrong with it, if anything is. Line ends become "\\n", a byte order mark goes."""
    try:
        with path.open(encoding=encoding, errors="surrogateescape") as file:
            text = file.read(MAX_CHARS + 1).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        return None, f"not {encoding.upper()} (byte {error.start})"
    except LookupError:
        raise BadRequest(f"encoding {encoding!r} is not known to Python. Examples: utf-8, latin-1, cp1252.") from None
    except OSError as error:
        return None, f"cannot be read ({error.strerror})"
    if len(text) > MAX_CHARS:
        return None, f"longer than {MAX_CHARS:,} characters"
    return text, undecoded(text, encoding)
