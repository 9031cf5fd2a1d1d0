"""Texts -> unit vectors, with a sentence-transformers model's folder on this machine.

`embed` and `query` both use it, so they cannot differ. BERT models (MiniLM, BGE, GTE, E5 ...) run through
search/bert.py, because importing transformers takes longer than answering a question; any other model through it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipelines.bases import Resolved, locked
from pipelines.errors import BadRequest
from pipelines.pooling import Pooling, max_tokens_of, mean_pool, pooling_of
from pipelines.schema.lock import BaseIdentity
from pipelines.workspace import Job, read_json

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from torch import Tensor, nn

Vectors = np.ndarray[Any, np.dtype[np.float32]]
# A text's vector has the same bits whichever texts are beside it: every batch has the same number of rows, filled up
# with copies, and a length that is a multiple of this. So embedding one edited passage equals embedding all anew.
_PAD_TO = 16
_ROWS = 8


@dataclass(frozen=True)
class Reader:
    """The embedder's tokenizer: what `chunk` counts with."""

    tokenizer: Tokenizer
    max_tokens: int  # special tokens included; the model reads no further

    def lengths(self, texts: Sequence[str], *, special: bool = True) -> list[int]:
        """Tokens of each text; special: with the tokens that the model wants around it."""
        encoded = self.tokenizer.encode_batch_fast(list(texts), add_special_tokens=special)
        return [len(one) for one in encoded]

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Start and end of each token in the text."""
        return list(self.tokenizer.encode(text, add_special_tokens=False).offsets)

    @property
    def special(self) -> int:
        return int(self.tokenizer.num_special_tokens_to_add(False))


@dataclass(frozen=True)
class Embedder:
    reader: Reader
    model: nn.Module  # (ids, mask) -> (texts, tokens, dim)
    pooling: Pooling
    dim: int
    padding_id: int
    rows: int = _ROWS  # texts a forward pass

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors, (texts, dim) float32, in the texts' order. A text beyond max_tokens is cut there."""
        vectors = np.zeros((len(texts), self.dim), np.float32)
        for rows, batch in self.encode_batches(texts):
            vectors[rows] = batch
        return vectors

    def encode_batches(self, texts: Sequence[str]) -> Iterator[tuple[list[int], Vectors]]:
        """The same as they are computed, the longest first: positions in `texts`, and their vectors."""
        ids = [one.ids for one in self.reader.tokenizer.encode_batch_fast(list(texts))]
        by_length: dict[int, list[int]] = {}
        for row, tokens in enumerate(ids):
            by_length.setdefault(self._padded(len(tokens)), []).append(row)
        for length in sorted(by_length, reverse=True):
            rows = by_length[length]
            for first in range(0, len(rows), self.rows):
                batch = rows[first : first + self.rows]
                yield batch, self._vectors([ids[row] for row in batch], length)

    def _padded(self, length: int) -> int:
        return min(-(-max(length, 1) // _PAD_TO) * _PAD_TO, self.reader.max_tokens)

    def _vectors(self, ids: list[list[int]], length: int) -> Vectors:
        import torch

        rows = [*ids, *[ids[0]] * (self.rows - len(ids))]
        padded = torch.tensor([[*row, *[self.padding_id] * (length - len(row))] for row in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in rows])
        with torch.inference_mode():
            hidden = self.model(padded, mask)
            pooled = mean_pool(hidden, mask) if self.pooling == "mean" else hidden[:, 0]
            unit = torch.nn.functional.normalize(pooled.float(), dim=1)
        vectors: Vectors = unit[: len(ids)].numpy()
        return vectors


def locked_base(job: Job) -> Resolved:
    """The embedder's folder, by the index's lock. Raises BadRequest when its weights are not there or others."""
    reference = job.settings["embed"]["model"]
    return locked(reference, BaseIdentity(**job.settings["bases"][reference]), job.workspace.root)


def load_reader(folder: Path) -> Reader:
    """The tokenizer of a model's folder, without its weights. Raises BadRequest when the folder has none."""
    from tokenizers import Tokenizer

    path = folder / "tokenizer.json"
    if not path.is_file():
        raise BadRequest(
            f"{folder} has no tokenizer.json, so it cannot embed texts. Name a sentence-transformers model."
        )
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_truncation()  # the file may carry limits of its own: all-MiniLM-L6-v2's cuts at 128
    tokenizer.no_padding()
    return Reader(tokenizer, max_tokens_of(folder))


def load(folder: Path, *, threads: int | None = None, rows: int = _ROWS) -> Embedder:
    """An embedder from a model's folder (config.json, model.safetensors, tokenizer.json, 1_Pooling ...).

    threads: for torch; None leaves torch's own number. rows: texts a forward pass. Both decide a vector's last bits.
    Raises BadRequest for a folder that is no embedder, or one with modules that are not known here.
    """
    import torch

    reader = load_reader(folder)
    reader.tokenizer.enable_truncation(reader.max_tokens)
    config = read_json(folder / "config.json")
    if threads:
        torch.set_num_threads(threads)
    model, dim = _model(folder, config)
    return Embedder(reader, model, pooling_of(folder), dim, int(config.get("pad_token_id") or 0), rows)


def _model(folder: Path, config: Mapping[str, Any]) -> tuple[nn.Module, int]:
    """The encoder, and the size of its vectors."""
    from pipelines.search import bert

    if bert.fits(config):
        return bert.load(folder, config), int(config["hidden_size"])
    return _through_transformers(folder)


def _through_transformers(folder: Path) -> tuple[nn.Module, int]:
    import torch
    from transformers import AutoModel

    class Hidden(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = AutoModel.from_pretrained(
                folder, attn_implementation="sdpa", local_files_only=True, use_safetensors=True, trust_remote_code=False
            )

        def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
            hidden: Tensor = self.inner(input_ids=ids, attention_mask=mask).last_hidden_state
            return hidden

    hidden = Hidden().eval()
    return hidden, int(hidden.inner.config.hidden_size)
