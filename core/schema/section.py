"""The base of every settings section: frozen, strict, and unknown keys are mistakes."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

OF_ROWS = "of rows"  # in the annotation of a field: its value means something for certain rows alone


class Section(BaseModel):
    """One section of a settings file.

    Strict: a quoted number is text, not a number, so `epochs: "2"` is reported instead of guessed at.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
