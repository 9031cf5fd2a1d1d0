"""Token vectors -> one vector a text, and what a sentence-transformers folder says of that.

The embedder and the text tasks pool alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from core.atomic_files import read_json, write_json
from core.errors import BadRequest

if TYPE_CHECKING:
    from torch import Tensor

Pooling = Literal["mean", "cls"]
_MODULES = {"Transformer": "", "Pooling": "1_Pooling", "Normalize": "2_Normalize"}  # and their folders
_LIMITS = "sentence_bert_config.json"
_PASSAGES = ("document", "passage", "corpus")  # a passage's prompt, as sentence-transformers may call it


@dataclass(frozen=True)
class Prompts:
    """What a model wants to read before a question, and before what may answer one (E5: "query: ", "passage: ")."""

    question: str = ""
    passage: str = ""


def prompts_of(folder: Path) -> Prompts:
    """The prompts in config_sentence_transformers.json. Raises BadRequest when they are no texts."""
    path = folder / "config_sentence_transformers.json"
    said = read_json(path) if path.is_file() else {}
    prompts = said.get("prompts") or {}
    if not isinstance(prompts, dict) or not all(isinstance(text, str) for text in prompts.values()):
        raise BadRequest(f"{path}: prompts: {str(prompts)[:80]}. Allowed: a text for each name.")
    return Prompts(prompts.get("query", ""), next((prompts[name] for name in _PASSAGES if name in prompts), ""))


def mean_pool(hidden: Tensor, mask: Tensor) -> Tensor:
    """Average token vectors into one vector a text, padding left out.

    hidden: (texts, tokens, dim). mask: (texts, tokens), 1 = token, 0 = padding. Returns (texts, dim), not normalised.
    Source: Reimers & Gurevych 2019, section 3. Checked against transformers, unbatched, in the tests.
    """
    weights = mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * weights).sum(1) / weights.sum(1).clamp(min=1e-9)


def max_tokens_of(folder: Path) -> int:
    """How many tokens of a text the model reads, special tokens included."""
    own = folder / _LIMITS
    limit = read_json(own).get("max_seq_length") if own.is_file() else None
    if limit is None:
        limit = read_json(folder / "config.json").get("max_position_embeddings", 512)
    return int(limit)


def pooling_of(folder: Path) -> Pooling:
    """How the model pools. Raises BadRequest for modules or a pooling that are not known here."""
    modules = folder / "modules.json"
    if not modules.is_file():
        return "mean"  # sentence-transformers' own default for a plain transformer
    kinds = {module["type"].rsplit(".", 1)[-1]: module["path"] for module in read_json(modules)}
    unknown = sorted(set(kinds) - set(_MODULES))
    if unknown:
        raise BadRequest(f"{modules}: module {unknown[0]!r} is not known. Allowed: {', '.join(sorted(_MODULES))}.")
    flags = read_json(folder / kinds["Pooling"] / "config.json") if "Pooling" in kinds else {}
    chosen = flags.get("pooling_mode") or [
        name for name, on in flags.items() if name.startswith("pooling_mode_") and on
    ]
    if chosen in ([], "mean", ["pooling_mode_mean_tokens"]):
        return "mean"
    if chosen in ("cls", ["pooling_mode_cls_token"]):
        return "cls"
    raise BadRequest(f"{folder / kinds['Pooling']}/config.json: pooling {chosen} is not known. Allowed: mean, cls.")


def write_pooling(folder: Path, pooling: Pooling, *, width: int, max_tokens: int) -> None:
    """What makes a folder with an encoder and its tokenizer one that sentence-transformers and the embedder read."""
    modules: list[dict[str, Any]] = [
        {"idx": at, "name": str(at), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for at, (kind, path) in enumerate(_MODULES.items())
    ]
    write_json(folder / "modules.json", modules)
    place = folder / _MODULES["Pooling"]
    place.mkdir()
    flags = {"pooling_mode_cls_token": pooling == "cls", "pooling_mode_mean_tokens": pooling == "mean"}
    write_json(place / "config.json", {"word_embedding_dimension": width, **flags})
    write_json(folder / _LIMITS, {"max_seq_length": max_tokens, "do_lower_case": False})
