"""Tokenizers as tokenizer.json: taken from a base, or learnt from the training rows."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.atomic_files import read_json, write_json
from core.errors import BadRequest

if TYPE_CHECKING:
    from tokenizers import AddedToken, Tokenizer

_SPECIAL = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
_MASK, MASK = "mask_token", "[MASK]"  # of a tokenizer that hides tokens; the others have none
FILE, _CONFIG = "tokenizer.json", "tokenizer_config.json"
BYTES = 256 + 3  # entries of a tokenizer that is learnt for writing, where none is more than a byte
_ENDS = ("bos_token", "eos_token")  # of a tokenizer whose model writes
_WRITING = {"pad_token": "<|pad|>", "bos_token": "<|start|>", "eos_token": "<|end|>"}  # of one that is learnt for it


def take(base: Path, folder: Path, *, reference: str, writes: bool = False) -> None:
    """Copy a base's tokenizer. Raises BadRequest when the base has none, or none that can pad.

    writes: whether its model writes: then what begins and ends a text is kept, and how a dialogue is put.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(base, local_files_only=True, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError, ImportError, AttributeError, RecursionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise BadRequest(f"model.base {reference!r}: no tokenizer can be read from {base} ({reason}).") from error
    names = (*_SPECIAL, _MASK, *(_ENDS if writes else ()), *(("chat_template",) if writes else ()))
    special = {name: str(getattr(tokenizer, name)) for name in names if getattr(tokenizer, name, None) is not None}
    special.setdefault("pad_token", special.get("sep_token", str(tokenizer.eos_token or "")))
    if not tokenizer.is_fast or not special["pad_token"]:
        raise BadRequest(f"model.base {reference!r}: its tokenizer is no fast one with a padding token.")
    _store(tokenizer.backend_tokenizer, special, folder)


def learn(texts: Iterable[str], folder: Path, *, size: int, mask: bool = False) -> None:
    """Byte-level BPE, lower case. Equal texts give an equal tokenizer, whatever their order.

    mask: with a token that hides another, and a way back from tokens to words.
    WordPiece would not: tokenizers 0.23 numbers its pieces in the order of a hash map that differs in each process.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    tokenizer = Tokenizer(models.BPE(unk_token=_SPECIAL["unk_token"]))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    hiding = [AddedToken(MASK, lstrip=True, special=True)] if mask else []
    _learn_pieces(tokenizer, texts, size=size, special=[*_SPECIAL.values(), *hiding])
    start, end = _SPECIAL["cls_token"], _SPECIAL["sep_token"]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{start} $A {end}", special_tokens=[(token, tokenizer.token_to_id(token)) for token in (start, end)]
    )
    if mask:
        tokenizer.decoder = decoders.ByteLevel()
    _store(tokenizer, {**_SPECIAL, **({_MASK: MASK} if mask else {})}, folder)


def learn_writing(texts: Iterable[str], folder: Path, *, size: int, chat_template: str) -> None:
    """Byte-level BPE that gives every text back as it was. Equal texts give an equal tokenizer, whatever their order.

    size: BYTES at least; with so many, tokens are bytes. chat_template: how a dialogue is put, in Jinja.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    _learn_pieces(tokenizer, texts, size=size, special=list(_WRITING.values()))
    _store(tokenizer, {**_WRITING, "chat_template": chat_template}, folder)


def learn_to_write(texts: Iterable[str], folder: Path, *, size: int) -> None:
    """Byte-level BPE that keeps letter case and blanks, gives every text back, and puts a token at its end.

    Equal texts give an equal tokenizer, whatever their order.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    special = {"pad_token": "<pad>", "eos_token": "</s>"}
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer, tokenizer.decoder = normalizers.NFC(), decoders.ByteLevel()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)  # a word is one, wherever it stands
    _learn_pieces(tokenizer, texts, size=size, special=list(special.values()))
    end = special["eos_token"]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"$A {end}", special_tokens=[(end, tokenizer.token_to_id(end))]
    )
    _store(tokenizer, special, folder)


def _learn_pieces(tokenizer: Tokenizer, texts: Iterable[str], *, size: int, special: list[str | AddedToken]) -> None:
    """Let a byte-level tokenizer learn `size` pieces of the texts; equal texts give equal pieces."""
    from tokenizers import pre_tokenizers, trainers

    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=special,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(sorted(texts), trainer)


def keep_with_base(into: Path, base: Path | None) -> None:
    """Move a saved model's tokenizer, if it has one, to its base, where that is kept apart: it may be megabytes."""
    if base is not None and any(base.iterdir()) and (into / FILE).is_file():
        shutil.move(into / FILE, base / FILE)


def read(folder: Path, *, max_tokens: int) -> Tokenizer:
    """The tokenizer of a folder, cutting texts at max_tokens, special tokens included."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / FILE))
    tokenizer.enable_truncation(max_tokens)
    return tokenizer


def pad_id(tokenizer: Tokenizer, folder: Path) -> int:
    number = tokenizer.token_to_id(read_json(folder / _CONFIG)["pad_token"])
    assert number is not None
    return number


def named(folder: Path) -> dict[str, Any]:
    """What the tokenizer's special tokens are for -> the tokens; and its chat_template, where it has one."""
    found: dict[str, Any] = read_json(folder / _CONFIG)
    return found


def mask_token(folder: Path) -> str | None:
    """What hides a token, in a tokenizer that has such a token."""
    found: str | None = read_json(folder / _CONFIG).get(_MASK)
    return found


def token_ids(tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[int]]:
    return [encoding.ids for encoding in tokenizer.encode_batch_fast(list(texts))]


def without(special: Sequence[str], text: str) -> str:
    """A text that opens and closes no message: the tokens that do are taken out of it."""
    pattern = "|".join(map(re.escape, special))
    while pattern and re.search(pattern, text):  # again: taking one out may put another together
        text = re.sub(pattern, "", text)
    return text


def _store(tokenizer: Tokenizer, special: dict[str, Any], folder: Path) -> None:
    tokenizer.no_padding()
    tokenizer.no_truncation()
    tokenizer.save(str(folder / FILE))
    write_json(folder / _CONFIG, {"tokenizer_class": "PreTrainedTokenizerFast", **special})
