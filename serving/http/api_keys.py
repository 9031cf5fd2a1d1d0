"""Who asks: keys by their hash in var/keys.yaml, each with the labels, the rights and the pace of its holder."""

from __future__ import annotations

import hashlib
import hmac
import math
import os
import secrets
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, get_args

from pydantic import Field
from ruamel.yaml import YAML
from starlette.exceptions import HTTPException

from core.atomic_files import make_folder, swap_in
from core.errors import BadRequest, HeadraceError
from core.schema.reading import parse, read_document
from core.schema.search import Label
from core.schema.section import Section
from core.workspace import NAMES, Workspace, is_name
from pipelines.search.engine.engine import Access

FILE = "HEADRACE_KEYS"
Right = Literal["search", "answer", "predict", "write", "metrics"]
RIGHTS: tuple[Right, ...] = get_args(Right)
READING: tuple[Right, ...] = ("search", "answer", "predict")
PER_MINUTE = 600  # requests of a key: ten a second, more than a person or a page makes
_BURST_S = 10  # seconds' worth that may come at once
_BYTES = 32  # of randomness in a key: none is guessed, so a plain sha256 keeps it


class Key(Section):
    """sha256: of the key, which nobody keeps. labels: of the documents that its holder may see, beside those of all."""

    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    labels: list[Label]
    sees_everything: bool = False
    rights: list[Right]
    requests_per_minute: Annotated[int, Field(ge=1, le=1_000_000)] = PER_MINUTE


class KeyFile(Section):
    keys: dict[str, Key]


@dataclass(frozen=True)
class Caller:
    """access: the labels that they have; None sees everything."""

    name: str
    access: Access
    rights: frozenset[Right]


OPERATOR = Caller("operator", None, frozenset(RIGHTS))
ANYBODY = Caller("anybody", frozenset(), frozenset(READING))  # where no key is asked for and other machines reach us


@dataclass
class Keys:
    """The key file, read again whenever it changes: a key that is taken out opens nothing from then on.

    without: who asks while there is no file. A file that was there and is gone lets nobody in.
    session: the hash of a key of this process alone, whose holder is the operator.
    """

    file: Path
    without: Caller | None
    session: str | None = None
    clock: Callable[[], float] = time.monotonic
    _read: tuple[tuple[int, int], dict[str, Key]] | None = None
    _buckets: dict[str, tuple[float, float, float]] = field(default_factory=dict)  # rate, tokens, and when
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def needed(self) -> bool:
        return self._read is not None or self.file.exists() or self.without is None

    def caller(self, key: str | None) -> Caller:
        """Raises 401 without a known key, 429 for one that asks too often, HeadraceError for a bad key file."""
        if self.session is not None and hmac.compare_digest(self.session, hash_of(key or "")):
            return OPERATOR
        with self._lock:
            known = self._known()
            if known is None and self.without is not None:
                return self.without
            name = _holder(known or {}, key)
            if known is None or name is None:
                told = "this server wants a key: send the header `Authorization: Bearer KEY`, with a key that it knows."
                raise HTTPException(401, told, {"WWW-Authenticate": "Bearer"})
            self._pace(name, known[name])
            said = known[name]
            return Caller(name, None if said.sees_everything else frozenset(said.labels), frozenset(said.rights))

    def _known(self) -> dict[str, Key] | None:
        """None: there has never been a file."""
        try:
            found = self.file.stat()
        except FileNotFoundError:
            if self._read is not None:
                self._read = (-1, -1), {}
            return None if self._read is None else {}
        stamp = (found.st_mtime_ns, found.st_ino)
        if self._read is None or self._read[0] != stamp:
            self._read = (-1, -1), {}  # a file that cannot be read lets nobody in
            self._read = stamp, read_keys(self.file)
        return self._read[1]

    def _pace(self, name: str, key: Key) -> None:
        """Take one of the tokens in a bucket that fills at `rate` a second, up to `most`."""
        rate, now = key.requests_per_minute / 60, self.clock()
        most = max(1.0, rate * _BURST_S)
        before, tokens, at = self._buckets.get(name, (rate, most, now))
        tokens = min(most, tokens + (now - at) * rate) if before == rate else most
        self._buckets[name] = rate, tokens - 1 if tokens >= 1 else tokens, now
        if tokens < 1:
            wait_s = (1 - tokens) / rate
            told = f"too many requests with this key. Ask again in {wait_s:.1f} s."
            raise HTTPException(429, told, {"Retry-After": str(math.ceil(wait_s))})


def _holder(keys: dict[str, Key], key: str | None) -> str | None:
    """Whose key it is; every hash is compared, each in constant time."""
    presented, found = hash_of(key or ""), None
    for name, said in keys.items():
        if hmac.compare_digest(said.sha256, presented) and key:
            found = name
    return found


def key_file(workspace: Workspace) -> Path:
    """Where the keys stand: the file that HEADRACE_KEYS names, else var/keys.yaml."""
    named = os.environ.get(FILE)
    return Path(named).expanduser() if named else workspace.var / "keys.yaml"


def read_keys(file: Path) -> dict[str, Key]:
    """Raises BadRequest with every mistake of the file."""
    document = read_document(file)
    return parse(document, KeyFile, document.values).keys


def made_up() -> str:
    """A key that nobody has."""
    return f"hr_{secrets.token_urlsafe(_BYTES)}"


def new_key(
    file: Path, name: str, labels: Sequence[str], rights: Sequence[str], *,
    sees_everything: bool = False, requests_per_minute: int = PER_MINUTE,
) -> str:  # fmt: skip
    """Add a key to the file, and return it: the file holds only its hash. Raises BadRequest."""
    if not is_name(name):
        raise BadRequest(f"{name!r} cannot be the name of a key. Allowed: {NAMES}.")
    known = {each: said.model_dump() for each, said in read_keys(file).items()} if file.exists() else {}
    if name in known:
        raise BadRequest(f"{file} has a key {name!r} already. Take it out first, or name the new one differently.")
    key = made_up()
    entry = {
        "sha256": hash_of(key), "labels": list(labels), "sees_everything": sees_everything, "rights": list(rights),
        "requests_per_minute": requests_per_minute,
    }  # fmt: skip
    _write(file, {"keys": {**known, name: entry}})
    return key


def _write(file: Path, document: dict[str, object]) -> None:
    """Readable for its owner alone; checked before it takes its name."""
    make_folder(file.parent)
    beside = file.with_name(f".{file.name}.new")
    beside.unlink(missing_ok=True)
    try:
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as out:
            YAML(typ="safe").dump(document, out)
        read_keys(beside)
        swap_in(beside, file)
    except HeadraceError as fault:
        raise BadRequest(str(fault).replace(beside.name, file.name)) from None
    finally:
        beside.unlink(missing_ok=True)


def hash_of(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()
