"""`data:` and `documents:`: where examples come from, and how they are split."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from core.schema.section import Section

Scalar = str | int | float | bool | None


class Sql(Section):
    """A query; the connection string stays in the environment, never in a file."""

    url_env: Annotated[
        str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", description="name of the variable that holds SQLAlchemy's URL")
    ]
    query: Annotated[str, Field(min_length=1)]


class SqlSource(Section):
    sql: Sql


class Data(Section):
    """What to read and which rows to keep. `columns` maps the task's names to the source's."""

    source: Annotated[
        str | SqlSource,
        Field(description="path or glob, file://, package://, http(s)://, s3:// and other fsspec URLs, hub://, sql"),
    ]
    reader: Annotated[str | None, Field(description="csv, jsonl, parquet, folders ...; by default from the name")] = (
        None
    )
    sha256: Annotated[str | None, Field(pattern=r"^[0-9a-f]{64}$", description="of the file behind a URL")] = None
    encoding: Annotated[str, Field(description="of text files; never guessed")] = "utf-8"
    columns: dict[str, str] = {}
    where: Annotated[
        dict[str, Scalar | list[Scalar]], Field(description="rows to keep: a value, or a list of allowed values")
    ] = {}
    sample: Annotated[int | None, Field(ge=1, description="rows to keep: those of lowest content hash")] = None
    id: Annotated[str | None, Field(description="column with a stable row id; by default the content's hash")] = None
    licence: Annotated[str | None, Field(description="recorded in the manifest")] = None
    options: Annotated[dict[str, Any], Field(description="arguments of a hub data set: name, split, revision")] = {}


class Split(Section):
    """Shares by thresholds on a content hash, so that a new row never moves an old one."""

    train: Annotated[float, Field(gt=0, lt=1)] = 0.8
    validation: Annotated[float, Field(ge=0, lt=1)] = 0.1
    test: Annotated[float, Field(gt=0, lt=1)] = 0.1
    seed: Annotated[int, Field(ge=0)] = 7
    stratify: Annotated[str | None, Field(description="column whose every value must stand in each split")] = None
    group_by: Annotated[str | None, Field(description="column whose rows of equal value stay together")] = None

    @model_validator(mode="after")
    def _shares_add_up(self) -> Split:
        total = self.train + self.validation + self.test
        if abs(total - 1) > 1e-9:
            raise ValueError(f"train, validation and test must add up to 1, got {total:g}")
        return self


class RecipeData(Data):
    split: Split = Split()


SplitName = Literal["train", "validation", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")
