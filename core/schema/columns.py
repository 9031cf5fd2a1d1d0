"""What a table of examples looks like: the columns a task needs, and those that `collect` adds to every table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

ColumnKind = Literal["text", "category", "number", "media", "labels"]
LABEL, LABEL_LENGTH = r"^[\w.:@/+-]+$", 100  # of who may read a document (core/tables/access.py)

# Every table of examples, whatever its modality, starts with these.
ROW_ID = "row_id"  # stable name of the example: a column of the source, or its content hash
CONTENT_HASH = "content_hash"  # sha256 of the content as it was read
PLACE = "place"  # where it stood: "reviews.csv:17"
FAULT = "fault"  # why the content could not be read, or null
ADDED = (ROW_ID, CONTENT_HASH, PLACE, FAULT)

# What collect measures of a file, and the types.
MEASURED = {"bytes": "int64", "width": "int64", "height": "int64", "mode": "string"}


@dataclass(frozen=True)
class Column:
    """A column of the table of examples.

    text: a string that is the content. category: one of a few strings. number: a finite float.
    media: a path below raw/, whose bytes are the content. labels: who may read, as text with commas.
    """

    kind: ColumnKind
    required: bool = True


@dataclass(frozen=True)
class Contract:
    """Which columns there are, which one is the content, which one the label (None: unlabelled)."""

    columns: Mapping[str, Column]
    content: str
    label: str | None = None
    media: Literal["image", "audio"] | None = None


DOCUMENTS = Contract(
    columns={
        "text": Column("text"),
        "title": Column("text", required=False),
        "id": Column("text", required=False),
        "labels": Column("labels", required=False),
    },
    content="text",
)
