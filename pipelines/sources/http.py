"""http:// and https://: one file, downloaded once, resumed where it was cut off, and checked before it counts.

With `sha256` the content is pinned and the server is asked only for what is not here yet. Without, what the server
says about the file (ETag, date, length) is its identity.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from core.addresses import recorded, without_secrets
from core.atomic_files import make_folder, sha256_file, swap_in, write_text
from core.errors import BadRequest, Outage
from core.progress import Progress
from core.schema.data import Data
from core.workspace import inside
from pipelines.sources import Identity
from pipelines.sources._files import Files
from pipelines.sources._opening import download_name, is_html

if TYPE_CHECKING:
    import httpx

SCHEMES = ("http", "https")
_TIMEOUT_S = 30.0  # without a byte
_HEAD_BYTES = 1024
_RETRYABLE = (408, 425, 429)  # and all from 500
_OK, _PARTIAL, _UNSATISFIABLE = 200, 206, 416


def identify(data: Data, root: Path) -> Identity:
    if data.pinned:
        return {"kind": "http", "sha256": data.pinned}
    with _get(str(data.source), {}) as answer:
        length = answer.headers.get("content-length")
        return {
            "kind": "http",
            "etag": answer.headers.get("etag"),
            "last_modified": answer.headers.get("last-modified"),
            "length": int(length) if length else None,
        }


def fetch(data: Data, root: Path, *, downloads: Path, identity: Identity) -> Files:
    url = str(data.source)
    key = data.pinned or hashlib.sha256(f"{url}\n{json.dumps(identity, sort_keys=True)}".encode()).hexdigest()
    target = inside(downloads / key, download_name(url))
    if not (target.is_file() and data.pinned and sha256_file(target) == data.pinned):
        known = any(identity.get(name) for name in ("etag", "last_modified"))
        if data.pinned or not known or not target.is_file():
            _download(url, downloads / f"{key}.part", target, data.pinned)
    return Files(target.parent, (target,))


def _download(url: str, part: Path, target: Path, sha256: str | None) -> None:
    """Bring the file under its name; a part that is there is continued if the server still has the same file."""
    make_folder(part.parent)
    _continue(url, part)
    found = sha256_file(part)
    if sha256 and found != sha256:
        size = part.stat().st_size
        _forget(part)
        raise BadRequest(
            f"{url}: the checksum does not match: {size:,} bytes with sha256 {found}, expected {sha256}. "
            "Nothing was kept. Correct `sha256`, or look what the address now holds."
        )
    make_folder(target.parent)
    swap_in(part, target)
    _forget(part)


def _continue(url: str, part: Path) -> None:
    """Download the rest of what is in `part`, or all of it."""
    note = part.with_name(part.name + ".json")  # whose beginning it is
    there = part.stat().st_size if part.exists() and note.exists() else 0
    validator = json.loads(note.read_text(encoding="utf-8"))["validator"] if there else None
    headers = {"Range": f"bytes={there}-", "If-Range": validator} if validator else {}
    with _get(url, headers) as answer:
        start = answer.headers.get("content-range", "")
        resumed = answer.status_code == _PARTIAL and start.startswith(f"bytes {there}-")
        if answer.status_code == _UNSATISFIABLE or (answer.status_code == _PARTIAL and not resumed):
            _forget(part)
        else:
            etag = answer.headers.get("etag", "")
            strong = "" if etag.startswith("W/") else etag  # If-Range takes one, or a date (RFC 9110, 13.1.5)
            validator = strong or answer.headers.get("last-modified") or None
            write_text(note, json.dumps({"url": recorded(url), "validator": validator}) + "\n")
            _save(answer, part, there if resumed else 0)
            return
    _continue(url, part)  # from the beginning: the part is gone


def _save(answer: httpx.Response, part: Path, there: int) -> None:
    """Write the body after the first `there` bytes of the part, page by page."""
    length = answer.headers.get("content-length")
    total = there + int(length) if length else None
    name = PurePosixPath(urlsplit(str(answer.url)).path).name
    with part.open("r+b" if there else "wb") as file, Progress(f"download {name}", total=total, unit="bytes") as bar:
        file.seek(there)
        file.truncate()
        bar.advance(there)
        with _outages(str(answer.url)):
            for chunk in answer.iter_raw():
                file.write(chunk)
                bar.advance(len(chunk))
        size = file.tell()
    if total is not None and size != total:
        raise Outage(f"{answer.url}: the connection ended after {size:,} of {total:,} bytes. Run again to continue.")
    with part.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if is_html(head):
        _forget(part)
        raise BadRequest(f"{answer.url}: an HTML page where data was expected. Check the address, or sign in first.")


@contextmanager
def _get(url: str, headers: Mapping[str, str]) -> Iterator[httpx.Response]:
    """The answer to a GET, its body not read yet. Raises Outage or BadRequest for one that is no answer."""
    import httpx

    try:
        client = httpx.Client(follow_redirects=True, timeout=_TIMEOUT_S)
    except (ImportError, ValueError, httpx.InvalidURL) as error:  # of a proxy in the environment that it does not know
        raise BadRequest(f"{url}: {without_secrets(str(error))}. Correct the proxy in the environment.") from None
    with client:
        with _outages(url):
            request = client.build_request("GET", url, headers={"Accept-Encoding": "identity", **headers})
            answer = client.send(request, stream=True)
        try:
            _check(answer, url)
            yield answer
        finally:
            answer.close()


def _check(answer: httpx.Response, url: str) -> None:
    status = answer.status_code
    if status in (_OK, _PARTIAL, _UNSATISFIABLE):
        if status != _UNSATISFIABLE and "html" in answer.headers.get("content-type", ""):
            raise BadRequest(f"{url}: an HTML page where data was expected. Check the address, or sign in first.")
        return
    said = f"{url}: the server answered {status} {answer.reason_phrase}"
    if status in _RETRYABLE or status >= 500:
        raise Outage(f"{said}. Run again later.")
    raise BadRequest(f"{said}. Check the address and who may read it.")


@contextmanager
def _outages(url: str) -> Iterator[None]:
    import httpx

    try:
        yield
    except (httpx.InvalidURL, httpx.UnsupportedProtocol, httpx.TooManyRedirects) as error:
        raise BadRequest(f"{url}: {error}. Check the address.") from None
    except httpx.TransportError as error:
        raise Outage(f"{url}: no answer ({error or type(error).__name__}). Run again later.") from None


def _forget(part: Path) -> None:
    for path in (part, part.with_name(part.name + ".json")):
        path.unlink(missing_ok=True)
