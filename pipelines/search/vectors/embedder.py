"""Texts -> unit vectors, with a sentence-transformers model's folder on this machine.

`embed` and `query` both use it, so they cannot differ. BERT models (MiniLM, BGE, GTE, E5 ...) are computed by OpenVINO
(search/bert.py), because importing transformers takes longer than answering a question; any other model by it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from itertools import pairwise
from os import sched_getaffinity
from pathlib import Path
from typing import Any, Literal

import numpy as np

from core.atomic_files import sha256_file, sha256_json
from core.errors import BadRequest
from core.weights.pooling import Prompts, prompts_of
from pipelines.search.vectors.bert import graph, is_bert
from pipelines.search.vectors.forward import Forward, OpenVino, Vectors, through_transformers
from pipelines.search.vectors.token_reader import Reader, load_reader

Precision = Literal["fp32", "int8", "bf16"]
QUANTISED = "int8/model.xml"  # in vectors/: the int8 model that made them, which questions need too


@dataclass(frozen=True)
class Embedder:
    reader: Reader
    forward: Forward
    prompts: Prompts = field(default_factory=Prompts)

    def questions(self, texts: Sequence[str]) -> Vectors:
        """What `encode` returns, of texts that are asked."""
        return replace(self, prompts=Prompts(passage=self.prompts.question)).encode(texts)

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors, (texts, dim) float32, in the texts' order. A text beyond max_tokens is cut there."""
        vectors = np.zeros((len(texts), self.forward.dim), np.float32)
        for rows, batch in self.encode_batches(texts):
            vectors[rows] = batch
        return vectors

    def encode_batches(self, texts: Sequence[str]) -> Iterator[tuple[list[int], Vectors]]:
        """The same as they are computed, the longest first: positions in `texts`, and their vectors.

        Like lengths stand together, so that the engine prepares each once; the next texts are tokenised meanwhile.
        """
        texts = [f"{self.prompts.passage}{text}" for text in texts]
        order = sorted(range(len(texts)), key=lambda row: len(texts[row]), reverse=True)
        size = self.forward.texts
        groups = [*(order[first : first + size] for first in range(0, len(order), size)), []]

        def ids_of(group: list[int]) -> list[list[int]]:
            return [one.ids or [0] for one in self.reader.tokenizer.encode_batch_fast([texts[row] for row in group])]

        with ThreadPoolExecutor(1) as aside:
            coming = aside.submit(ids_of, groups[0])
            for group, after in pairwise(groups):
                ids, coming = coming.result(), aside.submit(ids_of, after)
                inner = sorted(range(len(ids)), key=lambda at: len(ids[at]), reverse=True)
                yield [group[at] for at in inner], self.forward([ids[at] for at in inner])


def load(
    folder: Path, *, threads: int | None = None, precision: Precision = "fp32", quantised: Path | None = None
) -> Embedder:
    """An embedder from a model's folder (config.json, model.safetensors, tokenizer.json, 1_Pooling ...).

    threads: texts at a time, by default as many as this process may use. quantised: the file of the int8 model.
    Raises BadRequest for a folder that is no embedder, or one with modules that are not known here.
    """
    reader = load_reader(folder)
    reader.tokenizer.enable_truncation(reader.max_tokens)
    threads, prompts = threads or len(sched_getaffinity(0)), prompts_of(folder)
    if precision == "int8":
        return Embedder(reader, OpenVino(quantised, threads), prompts)
    if precision == "fp32" and is_bert(folder):
        return Embedder(reader, OpenVino(graph(folder), threads), prompts)
    forward = through_transformers(folder, reader.max_tokens, threads, half=precision == "bf16")
    return Embedder(reader, forward, prompts)


def load_for(said: Mapping[str, Any], base: Path, vectors: Path) -> Embedder:
    """What embeds the questions to an index: the model that made its vectors.

    said: `embedder` of the vectors' manifest. base: the folder of its weights. vectors: the index's vectors/.
    bf16 is for many texts on a GPU: a question goes through the same weights in fp32, which needs no GPU.
    """
    if said["precision"] != "int8":
        return load(base)
    path = vectors / QUANTISED
    if not path.is_file() or fingerprint(path.parent) != said["quantised"]:
        raise BadRequest(
            f"{path}: the int8 model that made these vectors is missing. `dvc checkout`, or `headrace index` again."
        )
    return load(base, precision="int8", quantised=path)


def fingerprint(folder: Path) -> str:
    """Of an int8 model's files."""
    return sha256_json({path.name: sha256_file(path) for path in sorted(folder.iterdir())})
