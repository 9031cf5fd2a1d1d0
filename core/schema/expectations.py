"""`contract:`: what the rows must be, and what happens to those that are not."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from core.schema.section import Section


class DataContract(Section):
    bad_rows: Literal["quarantine", "stop"] = "quarantine"
    at_most: Annotated[float, Field(ge=0, le=1, description="share of rows that may be quarantined")] = 0.01
    labels: Annotated[
        list[str | int | float] | None, Field(description="the allowed labels; by default those that occur")
    ] = None
    min_rows_per_label: Annotated[int, Field(ge=1)] = 10
    drift: Annotated[
        float,
        Field(gt=0, le=1, description="largest distance allowed to the reference profile, 0 to 1 (Kolmogorov-Smirnov)"),
    ] = 0.2
    expectations: Annotated[
        list[dict[str, dict[str, Any]]], Field(description="Great Expectations' own names and arguments")
    ] = []

    @field_validator("expectations")
    @classmethod
    def _one_each(cls, value: list[dict[str, dict[str, Any]]]) -> list[dict[str, dict[str, Any]]]:
        for entry in value:
            if len(entry) != 1:
                raise ValueError(f"each entry holds one expectation, got {sorted(entry)}")
        return value


class IndexContract(DataContract):
    """Of documents: one that cannot be read costs itself, unless the file says what share should stop the index."""

    at_most: Annotated[
        float, Field(ge=0, le=1, description="share of documents that may be left out; more stop the index")
    ] = 1.0
