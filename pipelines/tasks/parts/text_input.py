"""What tasks share whose input is a text that an encoder reads: options, tokenizer and configuration."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from core.atomic_files import read_json, said_in, write_json
from core.errors import BadRequest
from core.schema.section import Section
from core.weights.bert_config import DEFAULTS, is_plain_bert
from pipelines.tasks.parts import tokens

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa
    from tokenizers import Tokenizer

    from core.schema.model import Model
    from core.tables.task import Base, Interface, Place

_OPTIONS = "options.json"


class TextOptions(Section):
    max_tokens: Annotated[
        int, Field(ge=4, le=8192, description="that the encoder sees at once, special ones included")
    ] = 128
    vocabulary: Annotated[
        int, Field(ge=300, le=200_000, description="entries of a tokenizer learnt here (an architecture without one)")
    ] = 8000


def prepare(batches: Iterable[pd.DataFrame], options: TextOptions, at: Place, *, mask: bool = False) -> None:
    """Leave the base's tokenizer, or one learnt from the column `text`, in at.folder, and the options beside it.

    mask: whether the tokenizer needs a token that hides others.
    Raises BadRequest where base, tokenizer and options do not fit each other.
    """
    kept = {"max_tokens": options.max_tokens}
    if at.base.folder is not None:
        take(at, kept)
    else:
        texts = (text for rows in batches for text in rows["text"])
        tokens.learn(texts, at.folder, size=options.vocabulary, mask=mask)
        write_json(at.folder / _OPTIONS, kept)
        config(at.base, at.folder)
    if mask and tokens.mask_token(at.folder) is None:
        raise BadRequest(
            f"model.base {at.base.reference!r}: its tokenizer has no token that hides another, such as [MASK]. "
            "Choose a base that was trained as a masked language model, or an architecture."
        )


def take(at: Place, options: Mapping[str, Any], *, writes: bool = False) -> None:
    """Leave the base's tokenizer in at.folder, and the options beside it, `max_tokens` among them.

    writes: as for tokens.take(). Raises BadRequest where base, tokenizer and options do not fit each other.
    """
    assert at.base.folder is not None
    tokens.take(at.base.folder, at.folder, reference=str(at.base.reference), writes=writes)
    write_json(at.folder / _OPTIONS, options)
    config(at.base, at.folder)


def encoded(texts: Sequence[str], folder: Path) -> pa.Table:
    """Token ids of each text and how many there are."""
    import pyarrow as pa

    ids = tokens.token_ids(tokenizer(folder), texts)
    return pa.table(
        {
            "input_ids": pa.array(ids, pa.list_(pa.int32())),
            "length": pa.array([len(each) for each in ids], pa.int32()),
        }
    )


def interface(pad: int) -> Interface:
    """How a module is called that takes token ids and their mask, and returns logits."""
    from core.tables.task import Interface
    from pipelines.tasks.parts.encoder import pad_tokens

    inputs = pad_tokens([[pad] * 3, [pad] * 2], pad)
    return Interface(inputs, dict.fromkeys(inputs, ("texts", "tokens")), ("logits",))


def keep(options: Mapping[str, Any], folder: Path) -> None:
    """Leave the options of a tokenizer that was learnt, as take() does."""
    write_json(folder / _OPTIONS, options)


def options(folder: Path) -> Mapping[str, Any]:
    """The options that prepare() or take() left."""
    found: Mapping[str, Any] = read_json(folder / _OPTIONS)
    return found


def max_tokens(folder: Path) -> int:
    number: int = options(folder)["max_tokens"]
    return number


def tokenizer(folder: Path, base: Path | None = None) -> Tokenizer:
    """The tokenizer that prepare() left in `folder`, or that tokens.keep_with_base() moved."""
    return tokens.read(base or folder, max_tokens=max_tokens(folder))


def uncut(folder: Path, base: Path | None = None) -> Tokenizer:
    """The same, one that cuts nothing off."""
    found = tokenizer(folder, base)
    found.no_truncation()
    return found


def pad(folder: Path, base: Path | None = None) -> int:
    return tokens.pad_id(tokenizer(folder, base), folder)


def config(base: Base, folder: Path) -> Any:
    """The encoder's configuration. Raises BadRequest where base, tokenizer and options do not fit each other."""
    from pipelines.tasks.parts.encoder import base_config

    found = base_config(base, vocabulary=tokenizer(folder).get_vocab_size(), pad=pad(folder))
    require_positions(found, max_tokens(folder))
    return found


def require_positions(config: Any, limit: int, *, key: str = "max_tokens") -> None:
    """Raise BadRequest for texts that are longer than the base has positions for. key: the option that says so."""
    positions = getattr(config, "max_position_embeddings", None)
    if positions is not None and limit > positions:
        said = f"{limit} is more than the {positions} positions of the base. Lower it."
        raise BadRequest(f"preprocess.{key}: {said}")


def foresee(model: Model, options: TextOptions, base: Base) -> None:
    """Raise BadRequest for a base that no rows make right. A learnt tokenizer has `vocabulary` entries at most."""
    if surely_fits(model, base, options.max_tokens, vocabulary=options.vocabulary):
        return
    from pipelines.tasks.parts import encoder

    told = base.architecture.settings.get("vocab_size") if base.architecture is not None else 1
    vocabulary = min(told, options.vocabulary) if isinstance(told, int) else options.vocabulary
    config = encoder.base_config(base, vocabulary=vocabulary, pad=0)
    require_positions(config, options.max_tokens)
    encoder.foresee(model, base, config)


def surely_fits(model: Model, base: Base, limit: int, *, vocabulary: int) -> bool:
    """Whether a base is BERT as everybody has it, and reads that many tokens: then nothing else need be asked.

    False says nothing. To build the encoder and see, torch and transformers are imported, 5 s of CPU.
    """
    if model.lora is not None and model.lora.targets != type(model.lora)().targets:
        return False
    if base.architecture is not None:
        told = base.architecture.settings
        if base.architecture.architecture != "bert" or not told.keys() <= DEFAULTS.keys():
            return False
        config = {"vocab_size": vocabulary, **told, "model_type": "bert"}
    else:
        config = said_in(base.folder / "config.json") if base.folder is not None else {}
    return is_plain_bert(config) and limit <= config.get("max_position_embeddings", DEFAULTS["max_position_embeddings"])
