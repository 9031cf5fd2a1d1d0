"""An index: the settings of one searchable collection of documents."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipelines.schema.contract import DataContract
from pipelines.schema.data import Data
from pipelines.schema.model import Compute
from pipelines.schema.schedule import Schedule
from pipelines.schema.section import Section


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
    batch_size: Annotated[int, Field(ge=1, description="texts a forward pass; decides a vector's last bits")] = 8


class Search(Section):
    mode: Literal["dense"] = "dense"
    limit: Annotated[int, Field(ge=1, le=1000, description="passages an answer")] = 5


class Index(Section):
    title: str = ""
    documents: Data
    contract: DataContract = DataContract()
    chunk: Chunk = Chunk()
    embed: Embed
    search: Search = Search()
    compute: Compute = Compute()
    schedule: Schedule | None = None
