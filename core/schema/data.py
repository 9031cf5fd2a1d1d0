"""`data:` and `documents:`: where examples come from, and how they are split."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from core.schema.columns import ADDED, Contract, own_name
from core.schema.section import Section
from core.schema.times import as_number, is_date, time_text

Scalar = str | int | float | bool | None
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
SplitName = Literal["train", "validation", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")
_FIELD = re.compile(r"\{([^{}/]*)\}")  # of a name pattern


class Sql(Section):
    """A query; the connection string stays in the environment, never in a file."""

    url_env: Annotated[
        str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", description="name of the variable that holds SQLAlchemy's URL")
    ]
    query: Annotated[str, Field(min_length=1)]


class SqlSource(Section):
    sql: Sql


class SplitSource(Section):
    """Published splits, each of them files at an address of its own; its rows say which in the column `split`."""

    train: str
    validation: str | None = None
    test: str

    @property
    def addresses(self) -> dict[SplitName, str]:
        """Those that are named, in the order of SPLITS."""
        return {name: address for name in SPLITS if (address := getattr(self, name)) is not None}


def _kind(source: Any) -> str:
    """Which of the forms of `source` a value has, so that its mistakes are told as those of that form."""
    if isinstance(source, SqlSource | SplitSource):
        return type(source).__name__
    if not isinstance(source, Mapping):
        return "str"
    return "SplitSource" if set(SPLITS) & source.keys() else "SqlSource"


Source = Annotated[
    Annotated[str, Tag("str")] | Annotated[SqlSource, Tag("SqlSource")] | Annotated[SplitSource, Tag("SplitSource")],
    Discriminator(_kind),
]


class Data(Section):
    """What to read and which rows to keep. `columns` maps the task's names to the source's."""

    source: Annotated[
        Source,
        Field(
            description="path or glob, file://, package://, http(s)://, s3:// and other fsspec URLs, hub://, sql; or "
            "one of files for each published split: {train, validation, test}"
        ),
    ]
    reader: Annotated[str | None, Field(description="csv, jsonl, parquet, folders ...; by default from the name")] = (
        None
    )
    sha256: Annotated[
        Sha256 | dict[SplitName, Sha256] | None, Field(description="of the file behind a URL, or behind each split's")
    ] = None
    name_pattern: Annotated[
        str | None,
        Field(
            description='of files in folders: which columns their names say, as "{label}_{speaker}_{take}.wav"; with '
            "a / the folders' names too, and * stands for any part of one"
        ),
    ] = None
    encoding: Annotated[str, Field(description="of text files; never guessed")] = "utf-8"
    delimiter: Annotated[
        str | None,
        Field(
            pattern=r'^[^"\r\n\x00]$',
            description="the character between the fields of a csv; by default , (tab in .tsv), or that of ; tab | , "
            "by which the first line has the columns that are needed",
        ),
    ] = None
    header: Annotated[
        list[Annotated[str, Field(min_length=1)]] | None,
        Field(min_length=1, description="names of a csv's columns, where its first line does not say them"),
    ] = None
    columns: dict[str, str] = {}
    where: Annotated[
        dict[str, Scalar | list[Scalar]], Field(description="rows to keep: a value, or a list of allowed values")
    ] = {}
    sample: Annotated[int | None, Field(ge=1, description="rows to keep: those of lowest content hash")] = None
    id: Annotated[str | None, Field(description="column with a stable row id; by default the content's hash")] = None
    licence: Annotated[str | None, Field(description="recorded in the manifest")] = None
    remove_boilerplate: Annotated[
        bool,
        Field(
            description="of HTML documents: leave out lists of links, and boxes that their names call cookie notice, "
            "share, related, newsletter and the like; false keeps them"
        ),
    ] = False
    options: Annotated[dict[str, Any], Field(description="arguments of a hub data set: name, split, revision")] = {}

    @field_validator("name_pattern")
    @classmethod
    def _has_fields(cls, value: str | None) -> str | None:
        names = _FIELD.findall(value or "")
        if value is not None and (not all(names) or len(names) != len(set(names)) or not names):
            raise ValueError(f'must name columns in braces, each once, as "{{label}}_{{take}}.wav", got {value!r}')
        return value

    @property
    def name_columns(self) -> tuple[str, ...]:
        """The columns that `name_pattern` names."""
        return tuple(_FIELD.findall(self.name_pattern or ""))

    def columns_of_name(self, name: str) -> dict[str, str] | None:
        """What a file's name, its path below the source, says by `name_pattern`; None: it is not as that has it."""
        pattern = self.name_pattern or ""
        parts = _FIELD.split(pattern)
        literals = (re.escape(part).replace(r"\*", "[^/]*") for part in parts[::2])
        found = re.fullmatch("([^/]+?)".join(literals), "/".join(name.split("/")[-1 - pattern.count("/") :]))
        return dict(zip(parts[1::2], found.groups(), strict=True)) if found else None

    def source_name(self, column: str) -> str:
        """What the source calls a column of the task."""
        return self.columns.get(column, own_name(column, ADDED))

    def needed(self, contract: Contract) -> dict[str, str]:
        """The source's columns that must be there -> what each is needed for."""
        required = (key for key, column in contract.columns.items() if column.required)
        return {
            **{self.source_name(key): key for key in required},
            **{source: key for key, source in self.columns.items()},
            **dict.fromkeys(self.where, "where"),
            **({self.id: "id"} if self.id else {}),
        }

    @property
    def pinned(self) -> str | None:
        """The sha256 of the one file; None where none is said, or one for each split."""
        return self.sha256 if isinstance(self.sha256, str) else None


class Cuts(Section):
    """Where splits begin in time, each as the rows say it: "2017-06-26", "2017-06-26T12:00:00" or a number."""

    validation: str | float
    test: str | float
    end: Annotated[str | float | None, Field(description="rows from here on are left out")] = None

    @model_validator(mode="after")
    def _in_order(self) -> Cuts:
        for name, value in self:
            if value is not None and time_text(value) is None:
                raise ValueError(f"{name} must be a date of ISO 8601 or a number, got {value!r}")
        if len({is_date(text) for text in self._texts}) > 1 or not self.numbers[0] < self.numbers[1] < self.numbers[2]:
            raise ValueError("validation, test and end must be times of one kind, each later than the one before")
        return self

    @property
    def _texts(self) -> list[str]:
        return [str(time_text(value)) for _, value in self if value is not None]

    @property
    def dates(self) -> bool:
        """Whether they are dates; else plain numbers."""
        return is_date(self._texts[0])

    @property
    def numbers(self) -> list[float]:
        """Where validation, test and what is left out begin, numbered as the rows' times are (core/schema/times.py)."""
        numbers = [as_number(text) for text in self._texts]
        return numbers if self.end is not None else [*numbers, math.inf]


class Split(Section):
    """Shares by thresholds on a content hash, so that a new row never moves an old one; or by time; or as given."""

    train: Annotated[float, Field(gt=0, lt=1)] = 0.8
    validation: Annotated[float, Field(ge=0, lt=1)] = 0.1
    test: Annotated[float, Field(gt=0, lt=1)] = 0.1
    seed: Annotated[int, Field(ge=0)] = 7
    stratify: Annotated[str | None, Field(description="column whose every value must stand in each split")] = None
    group_by: Annotated[str | None, Field(description="column whose rows of equal value stay together")] = None
    time: Annotated[str | None, Field(description="column of times: train comes first, test last")] = None
    cuts: Annotated[Cuts | None, Field(description="times where splits begin, in place of shares")] = None
    gap: Annotated[int, Field(ge=0, description="different times left out before validation and before test")] = 0
    given: Annotated[
        str | None, Field(description="column that says each row's split: train, validation (valid, val, dev) or test")
    ] = None
    values: Annotated[
        dict[SplitName, list[str | int | float]] | None,
        Field(description="what `given` says for each split, where it is no name of one; all others are of train"),
    ] = None

    @model_validator(mode="after")
    def _shares_add_up(self) -> Split:
        total = self.train + self.validation + self.test
        if abs(total - 1) > 1e-9:
            raise ValueError(f"train, validation and test must add up to 1, got {total:g}")
        return self

    @model_validator(mode="after")
    def _values_of_given(self) -> Split:
        if self.values is None:
            return self
        if self.given is None:
            raise ValueError("values belong to a given split: say which column has them (given: COLUMN)")
        if "test" not in self.values:
            raise ValueError("values must say which rows are of test")
        every = [str(value) for listed in self.values.values() for value in listed]
        if twice := sorted({name for name in every if every.count(name) > 1}):
            raise ValueError(f"values names {twice[0]!r} for two splits, or twice")
        return self

    @model_validator(mode="after")
    def _time_alone(self) -> Split:
        if self.time is None and (self.cuts is not None or self.gap):
            raise ValueError("cuts and gap belong to a split by time: say which column has the times (time: COLUMN)")
        if self.time is not None and self.group_by is not None:
            raise ValueError("time and group_by exclude each other: a group would stand on both sides of a cut")
        shares = {name: field.default for name, field in type(self).model_fields.items() if name in SPLITS}
        if self.cuts is not None and any(getattr(self, name) != share for name, share in shares.items()):
            raise ValueError("cuts stand in place of the shares train, validation and test: say one of both")
        return self


class RecipeData(Data):
    split: Split = Split()
