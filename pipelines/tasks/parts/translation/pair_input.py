"""Pairs of a text and the text that is to be written from it, as tokens of one tokenizer for both."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from core.errors import BadData
from core.schema.section import Section
from pipelines.tasks.parts import text_input, tokens

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from tokenizers import Tokenizer

    from core.tables.task import Place


class Options(Section):
    max_tokens: Annotated[
        int, Field(ge=4, le=8192, description="of a source that are read, special ones included; the rest is cut off")
    ] = 128
    max_target_tokens: Annotated[
        int, Field(ge=2, le=8192, description="of a target that are learnt, and at most written")
    ] = 128
    vocabulary: Annotated[
        int, Field(ge=300, le=200_000, description="entries of a tokenizer learnt here (an architecture without one)")
    ] = 4000
    prefix: Annotated[
        str, Field(description='put before each source, as T5 was taught: "translate English to German: "')
    ] = ""


def prepare(batches: Iterable[pd.DataFrame], options: Options, at: Place) -> None:
    """Leave the base's tokenizer, or one learnt from sources and targets, in at.folder, and the options beside it.

    Says how many training rows are cut. Raises BadData where each target is its source.
    """
    if at.base.folder is not None:
        tokens.take(at.base.folder, at.folder, reference=str(at.base.reference))
    else:
        texts = (text for rows in batches for column in ("source", "target") for text in rows[column])
        tokens.learn_to_write(texts, at.folder, size=options.vocabulary)
    text_input.keep(options.model_dump(), at.folder)
    tokenizer = text_input.uncut(at.folder)
    sources = targets = 0
    same = True
    for rows in batches:
        same = same and bool((rows["source"] == rows["target"]).all())
        lengths = [[len(ids) for ids in tokens.token_ids(tokenizer, texts)] for texts in _texts(rows, options.prefix)]
        sources += sum(length > options.max_tokens for length in lengths[0])
        targets += sum(length > options.max_target_tokens for length in lengths[1])
    if same:
        raise BadData("each target is its source, word for word: there is nothing to learn. See `data.columns`.")
    for count, what, key in ((sources, "sources", "max_tokens"), (targets, "targets", "max_target_tokens")):
        if count:
            told = (
                f"{count:,} training {what} have more than {getattr(options, key)} tokens: the rest of each is cut off"
            )
            print(f"{told} (preprocess.{key})", file=sys.stderr, flush=True)


def encode(rows: pd.DataFrame, folder: Path) -> pa.Table:
    """Token ids of each source, and of its target; a target that is cut off has no token that ends it."""
    import pyarrow as pa

    options = read_options(folder)
    sources, targets = _texts(rows, options.prefix)
    read = source_ids(sources, folder)
    written = tokens.token_ids(text_input.uncut(folder), targets)
    labels = [ids[: options.max_target_tokens] for ids in written]
    return pa.table(
        {
            "input_ids": pa.array(read, pa.list_(pa.int32())),
            "labels": pa.array(labels, pa.list_(pa.int32())),
            "length": pa.array([len(one) + len(other) for one, other in zip(read, labels, strict=True)], pa.int32()),
        }
    )


def source_ids(sources: Sequence[str], folder: Path, base: Path | None = None) -> list[list[int]]:
    """Token ids of sources that have their prefix already, cut at max_tokens."""
    return tokens.token_ids(text_input.tokenizer(folder, base), sources)


def end_id(tokenizer: Tokenizer) -> int | None:
    """The token that the tokenizer puts at the end of each text; None where it puts none."""
    ids: list[int] = tokenizer.encode("").ids
    return ids[-1] if ids else None


def read_options(folder: Path) -> Options:
    """What prepare() left."""
    return Options(**text_input.options(folder))


def _texts(rows: pd.DataFrame, prefix: str) -> tuple[list[str], list[str]]:
    return [prefix + text for text in rows["source"]], rows["target"].tolist()
