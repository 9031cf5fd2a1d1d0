"""The sections of an index: how documents are cut, embedded, searched, judged and answered from."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from core.schema.columns import LABEL, LABEL_LENGTH
from core.schema.section import Section

Language = Literal[
    "none", "arabic", "armenian", "basque", "catalan", "danish", "dutch", "english", "esperanto", "estonian", "finnish",
    "french", "german", "greek", "hindi", "hungarian", "indonesian", "irish", "italian", "lithuanian", "nepali",
    "norwegian", "portuguese", "romanian", "russian", "serbian", "spanish", "swedish", "tamil", "turkish", "yiddish",
]  # fmt: skip
Label = Annotated[str, Field(pattern=LABEL, max_length=LABEL_LENGTH)]  # in one pattern it takes 40 ms to compile


class Chunk(Section):
    """Sizes in the embedder's tokens."""

    tokens: Annotated[int, Field(ge=16, le=8192)] = 200
    overlap: Annotated[int, Field(ge=0)] = 30

    @model_validator(mode="after")
    def _overlap_is_smaller(self) -> Chunk:
        if self.overlap * 2 > self.tokens:
            raise ValueError(f"overlap must be at most half of tokens ({self.tokens}), got {self.overlap}")
        return self


class Embed(Section):
    model: Annotated[str, Field(min_length=1, description="hub id, path, package:// or models:/NAME@ALIAS")]
    precision: Annotated[
        Literal["fp32", "int8", "bf16", "auto"],
        Field(description="of the model's arithmetic; auto: bf16 on a GPU, int8 where the processor gains by it"),
    ] = "fp32"


class Search(Section):
    """How questions are answered, and by which of the three ways the release is judged."""

    mode: Annotated[Literal["dense", "sparse", "hybrid"], Field(description="sparse: BM25; hybrid: both, fused")] = (
        "hybrid"
    )
    fusion: Literal["dbsf", "rrf"] = "dbsf"
    language: Annotated[
        Language,
        Field(description="whose stems BM25 counts; scripts without spaces need none; none: words as they are"),
    ] = "english"
    limit: Annotated[int, Field(ge=1, le=1000, description="passages an answer")] = 5
    rerank: Annotated[str | None, Field(min_length=1, description="a cross-encoder: hub id, path or package://")] = None
    collapse: Annotated[
        float | None, Field(gt=0, le=1, description="cosine from which two passages count as one; null: never")
    ] = None
    diversity: Annotated[float, Field(ge=0, le=1, description="0: by score alone; 1: by unlikeness alone")] = 0.0


class Judging(Section):
    """What a release is judged on. Without queries, known items: sentences taken out of the index under test."""

    queries: Annotated[str | None, Field(min_length=1, description="BEIR's queries.jsonl: _id or id, text")] = None
    qrels: Annotated[str | None, Field(min_length=1, description="BEIR's qrels.tsv: query-id, corpus-id, score")] = None
    known_items: Annotated[int, Field(ge=0, le=10_000, description="where there are no queries; 0: no judging")] = 200

    @model_validator(mode="after")
    def _both_files(self) -> Judging:
        if (self.queries is None) != (self.qrels is None):
            raise ValueError("queries and qrels belong together: name both or neither")
        return self


class Access(Section):
    """Who may read which documents, where their rows do not say it: a caller needs one of a document's labels."""

    labels: Annotated[
        dict[str, list[Label]], Field(description="glob over a document's id -> its labels; [] for everybody")
    ] = {}
    others: Annotated[
        list[Label] | None, Field(description="of documents that no glob matches; without it, such a one is a mistake")
    ] = None


KEY_PREFIX = "HEADRACE_ANSWER_"  # of the only variables whose values an index may send
_SENDS_SAFELY = re.compile(
    r"https://.*|http://(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::\d+)?(?:/[^@\\]*)?", re.IGNORECASE
)


def _variable_faults(name: str) -> Iterator[str]:
    """What is wrong with the variable; what is no variable's name may be the key itself, and is not repeated."""
    if re.fullmatch(f"{KEY_PREFIX}[A-Za-z0-9_]+", name):
        return
    yield f"must be the name of a variable that begins with {KEY_PREFIX}, since its value goes to this file's address."
    if re.fullmatch("[A-Za-z_]{1,40}|[A-Z][A-Z0-9]*(?:_[A-Z0-9]+){1,9}", name):
        yield f"Rename the variable {name} to {KEY_PREFIX}{name.strip('_')}, where it is set and here."


def _address_faults(address: str | None) -> Iterator[str]:
    if address is not None and not _SENDS_SAFELY.fullmatch(address):
        yield "A key is sent over https:// only, or to this machine (http://localhost, 127.0.0.1, [::1])."


class Answer(Section):
    """Who writes answers. Without a model they are the passages' own sentences."""

    model: Annotated[
        str | None,
        Field(
            min_length=1,
            description="hub id, path or package:// (safetensors or one GGUF file), models:/NAME@ALIAS, or the http(s)://"
            " address of an OpenAI-compatible API",
        ),
    ] = None
    name: Annotated[str | None, Field(min_length=1, description="of the model, at an http(s):// address")] = None
    key_env: Annotated[
        str | None,
        Field(
            json_schema_extra={"pattern": f"^{KEY_PREFIX}[A-Za-z0-9_]+$"},
            description=f"name of the variable that holds that API's key; it begins with {KEY_PREFIX}",
        ),
    ] = None
    max_tokens: Annotated[int, Field(ge=1, le=4096, description="of what the model writes")] = 256
    timeout_s: Annotated[float, Field(gt=0, le=3600, description="for a whole answer of an http(s):// address")] = 60.0

    @field_validator("key_env")
    @classmethod
    def _no_other_secret_leaves(cls, name: str | None, others: ValidationInfo) -> str | None:
        """The variable's value goes where the file says, and the file may come from anybody."""
        if name and (faults := [*_variable_faults(name), *_address_faults(others.data.get("model"))]):
            raise ValueError(" ".join(faults))
        return name

    @model_validator(mode="after")
    def _an_address_has_a_name(self) -> Answer:
        remote = self.model is not None and self.model.startswith(("http://", "https://"))
        if remote and self.name is None:
            raise ValueError("name is missing: which model at this address?")
        if not remote and (self.name or self.key_env):
            raise ValueError("name and key_env belong to a model at an http(s):// address")
        return self
