"""Vectors of queries and of passages under test, remembered from one judging to the next by text and embedder."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from core.atomic_files import sha256_json
from pipelines.search.vectors.forward import Vectors

if TYPE_CHECKING:
    from pipelines.search.ask.query import Asker


@dataclass
class Remembered:
    """known: from earlier; used: what this judging asked for, the only thing that is written."""

    known: dict[str, Vectors] = field(default_factory=dict)
    used: dict[str, Vectors] = field(default_factory=dict)

    @classmethod
    def read(cls, file: Path) -> Remembered:
        """What a judging wrote; nothing when the file is missing or torn: then all is computed."""
        try:
            table = pq.read_table(file, columns=["key", "vector"])
        except (OSError, pa.ArrowException):
            return cls()
        return cls({key: np.array(vector, np.float32) for key, vector in zip(*table.to_pydict().values(), strict=True)})

    def write(self, file: Path) -> None:
        keys = sorted(self.used)
        vectors = [self.used[key].tolist() for key in keys]
        pq.write_table(pa.table({"key": keys, "vector": pa.array(vectors, pa.list_(pa.float32()))}), file)

    def vectors(self, asker: Asker, texts: Sequence[str], *, asked: bool = False) -> list[Vectors]:
        """A unit vector a text, by the asker's own embedder. asked: the texts are questions."""
        made_with = sha256_json([asker.release.facts["embedder"]["method"], asked])
        encode = asker.embedder.questions if asked else asker.embedder.encode
        keys = [hashlib.sha256(f"{made_with} {text}".encode("utf-8", "surrogatepass")).hexdigest() for text in texts]
        new = {key: text for key, text in zip(keys, texts, strict=True) if key not in self.known}
        if new:
            self.known.update(zip(new, encode(list(new.values())), strict=True))
        self.used.update((key, self.known[key]) for key in keys)
        return [self.known[key] for key in keys]
