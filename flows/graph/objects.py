"""DVC's objects by their hash, in the cache and in the default remote: read, and removed from both."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from core.errors import Outage
from core.workspace import leads_out
from flows.graph.rot import remote_store

_OID = re.compile(r"[0-9a-f]{32}(\.dir)?")
_WEIGHTS = ".safetensors"  # nothing but numbers: not fetched from a remote to look for a row in them


def cached(cache: Path) -> dict[str, Path]:
    """Every object of a cache (its folder files/md5), by hash."""
    found = {path.parent.name + path.name: path for path in cache.glob("??/*") if path.is_file()}
    return {oid: path for oid, path in found.items() if _OID.fullmatch(oid)}


@dataclass(frozen=True)
class Objects:
    """repo: DVC's. scratch: where objects that only the remote has are fetched to."""

    repo: Any
    scratch: Path

    @property
    def cache(self) -> Path:
        return Path(self.repo.cache.local.path)

    @cached_property
    def remote(self) -> Any:
        return remote_store(self.repo)

    @property
    def other_remotes(self) -> list[str]:
        return sorted(set(self.repo.config["remote"]) - {self.repo.config["core"].get("remote")})

    @cached_property
    def cached(self) -> dict[str, Path]:
        """Every object of the cache."""
        return cached(self.cache)

    @cached_property
    def stored(self) -> frozenset[str]:
        """Every object of the default remote. Raises Outage when it does not answer."""
        if self.remote is None:
            return frozenset()
        with self._answering():
            return frozenset(oid for oid in self.remote.all() if _OID.fullmatch(oid))

    def get(self, oid: str) -> Path | None:
        """An object on this machine, fetched if need be; None when it is nowhere."""
        if oid in self.cached:
            return self.cached[oid]
        if oid not in self.stored:
            return None
        target = self.scratch / oid
        if not target.exists():
            with self._answering(), self.remote.fs.open(self.remote.oid_to_path(oid), "rb") as file:
                target.write_bytes(file.read())
        return target

    def listing(self, oid: str) -> dict[str, str]:
        """The files of an output: name -> object; empty when the list is nowhere, or torn."""
        file = self.get(oid)
        try:
            entries = json.loads(file.read_bytes()) if file is not None else []
            found = {str(entry["relpath"]): str(entry["md5"]) for entry in entries}
        except (ValueError, KeyError, TypeError):
            return {}
        return {name: md5 for name, md5 in found.items() if _OID.fullmatch(md5)}

    @cached_property
    def listings(self) -> dict[str, dict[str, str]]:
        """Every list of a folder's files, of the cache and of the remote."""
        return {oid: self.listing(oid) for oid in sorted({*self.cached, *self.stored}) if oid.endswith(".dir")}

    def contents(self) -> Iterator[tuple[str, Path]]:
        """Every object that may hold a row, on this machine: the cache's, then what only the remote has."""
        yield from ((oid, path) for oid, path in self.cached.items() if not oid.endswith(".dir"))
        weights = {
            md5 for listing in self.listings.values() for name, md5 in listing.items() if name.endswith(_WEIGHTS)
        }
        for oid in sorted(self.stored - self.cached.keys() - weights):
            if not oid.endswith(".dir") and (path := self.get(oid)) is not None:
                yield oid, path
                path.unlink()

    def whole(self, oids: Collection[str], named: Collection[str]) -> set[str]:
        """These objects, the lists that name them, and what only such lists name. named: what is an output itself."""
        going = {each for each, listing in self.listings.items() if set(oids) & set(listing.values())}
        staying = {md5 for each, listing in self.listings.items() if each not in going for md5 in listing.values()}
        alone = {md5 for each in going for md5 in self.listings[each].values()} - staying - set(named)
        return {*oids, *going, *alone}

    def delete(self, oids: Collection[str]) -> int:
        """Remove objects from the cache and from the remote; how many there were. Raises Outage."""
        here, there = self.cached.keys() & set(oids), self.stored & set(oids)
        for oid in here:
            if not leads_out(self.cached[oid].parent, self.cache):
                self.cached[oid].unlink(missing_ok=True)
        with self._answering():
            for oid in there:
                self.remote.delete(oid)
            if there:
                from dvc_data.hashfile.db import get_index

                get_index(self.remote).clear()  # else DVC takes them for pushed
        return len(here | there)

    @contextmanager
    def _answering(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise
        except Exception as error:  # every kind of remote has errors of its own
            remote = f"the remote {self.repo.config['core']['remote']!r} ({self.remote.path})"
            raise Outage(f"{remote} does not answer ({error}). Run the same again.") from error
