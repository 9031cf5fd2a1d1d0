"""How a TokenClassifier learns from encoded windows and tags the words of new ones. Imports torch at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from core.tables.task import Place
from pipelines.tasks.parts.encoder import by_length, kept_vectors, pad_tokens
from pipelines.tasks.parts.entities.token_classifier import TokenClassifier
from pipelines.tasks.parts.entities.token_windows import NO_TAG, Tagged, Window
from pipelines.tasks.parts.headed_encoder import FEATURES, vectors_file

_COLUMNS = ("input_ids", "labels")
_MOST_VALUES = 2**30  # in one piece of a column of lists: their ends are counted in 32 bits

Firsts = Sequence[Sequence[int]]  # of each text, where in its tokens a word begins


def collate(rows: Sequence[Mapping[str, Any]], *, pad: int) -> dict[str, Tensor]:
    """A batch of encoded windows, or of the vectors that features() made of them."""
    labels = _padded([row["labels"] for row in rows], NO_TAG)
    if FEATURES not in rows[0]:
        return {**pad_tokens([row["input_ids"] for row in rows], pad), "labels": labels}
    vectors = [torch.from_numpy(row[FEATURES].reshape(len(row["labels"]), -1).copy()) for row in rows]
    return {FEATURES: torch.nn.utils.rnn.pad_sequence(vectors, batch_first=True), "labels": labels}


def _padded(rows: Sequence[Any], value: int) -> Tensor:
    """Whole numbers, as many a row as there are, as one rectangle."""
    return torch.nn.utils.rnn.pad_sequence(
        [torch.as_tensor(np.array(row, dtype=np.int64)) for row in rows], batch_first=True, padding_value=value
    )


def watch(said: Any, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """How many windows of a batch have every tag right: `exact`."""
    right = (said.logits.argmax(dim=-1) == batch["labels"]) | (batch["labels"] == NO_TAG)
    return {"exact": right.all(dim=1).sum()}


def tagged(
    module: TokenClassifier, parts: Sequence[Window], names: Sequence[str], *, pad: int, batch_size: int
) -> list[list[Tagged]]:
    """The most probable tag of each word of each window. names: of the tags, in the module's numbering."""
    found: list[list[Tagged]] = [[] for _ in parts]
    tokens = [part.ids for part in parts]
    for rows, batch in by_length(module, tokens, pad=pad, batch_size=batch_size, what="predict"):
        with torch.inference_mode():
            sure, tags = module(**batch).logits.float().softmax(dim=-1).cpu().max(dim=-1)
        for at, row in enumerate(rows):
            said = list(zip(tags[at].tolist(), sure[at].tolist(), strict=True))
            for first, bounds in zip(parts[row].firsts, parts[row].bounds, strict=True):
                tag, confidence = said[first]
                found[row].append(Tagged(bounds, names[tag], confidence))
    return found


def features(module: TokenClassifier, table: pa.Table, *, at: Place, pad: int, batch_size: int) -> pa.Table:
    """With a frozen encoder the vectors of the words replace the tokens; computed once for equal rows, base, threads.

    Other modules learn from the rows as they are.
    """
    if not module.frozen or not len(table):
        return table
    firsts = [[place for place, tag in enumerate(tags) if tag != NO_TAG] for tags in table["labels"].to_pylist()]
    table = table.filter(pa.array([bool(each) for each in firsts]))  # a window may have no word at all
    firsts, tokens, labels = [each for each in firsts if each], *(table[name].to_pylist() for name in _COLUMNS)
    path = vectors_file(module, at, batch_size, tokens, firsts)
    vectors = kept_vectors(path, lambda: _vectors(module, tokens, firsts, pad=pad, batch_size=batch_size))
    tags = [[row[place] for place in each] for row, each in zip(labels, firsts, strict=True)]
    counts = [len(each) for each in firsts]
    made = {FEATURES: _lists(vectors, counts), "length": pa.array(counts, pa.int32())}
    made["labels"] = pa.array(tags, pa.list_(pa.int32()))
    table = table.drop_columns([*_COLUMNS, "length"])
    for name, column in made.items():
        table = table.append_column(name, column)
    return table


def _vectors(
    module: TokenClassifier, tokens: Sequence[Sequence[int]], firsts: Firsts, *, pad: int, batch_size: int
) -> Tensor:
    """The vectors of every word of every text in turn: (words, width)."""
    found: dict[int, Tensor] = {}
    for rows, batch in by_length(module, tokens, pad=pad, batch_size=batch_size, what="features"):
        with torch.inference_mode():
            vectors = module.vectors(**batch).cpu()
        for at, row in enumerate(rows):
            found[row] = vectors[at][torch.tensor(firsts[row], dtype=torch.int64)]
    return torch.cat([found[row] for row in range(len(tokens))])


def _lists(vectors: Tensor, counts: Sequence[int]) -> pa.ChunkedArray:
    """The vectors of each row's words as one list, one vector behind the other."""
    width = vectors.shape[1]
    values = vectors.numpy().reshape(-1)
    ends = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]) * width
    chunks, first = [], 0
    while first < len(counts):
        last = max(first + 1, int(np.searchsorted(ends, ends[first] + _MOST_VALUES, side="right")) - 1)
        offsets = pa.array((ends[first : last + 1] - ends[first]).astype(np.int32))
        chunks.append(pa.ListArray.from_arrays(offsets, pa.array(values[ends[first] : ends[last]])))
        first = last
    return pa.chunked_array(chunks, pa.list_(pa.float32()))
