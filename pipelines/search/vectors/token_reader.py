"""A model's tokens without its weights, for cutting and counting."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import BadRequest
from core.schema.lock import BaseIdentity
from core.weights.pooling import max_tokens_of
from core.workspace import Job
from pipelines.bases import Resolved, located, locked

if TYPE_CHECKING:
    from tokenizers import Tokenizer


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


def locked_base(job: Job) -> Resolved:
    """The embedder's folder, by the index's lock. Raises BadRequest when its weights are not there or others."""
    return locked(*_base(job))


def named_base(job: Job) -> Resolved:
    """What `locked_base` returns, the weights not hashed: for those that read none of them."""
    reference, identity, root = _base(job)
    return Resolved(located(reference, identity, root), identity.sha256, identity.version)


def _base(job: Job) -> tuple[str, BaseIdentity, Path]:
    reference = job.settings["embed"]["model"]
    return reference, BaseIdentity(**job.settings["bases"][reference]), job.workspace.root


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
