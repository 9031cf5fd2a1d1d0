"""What a table of examples looks like: the columns a task needs, and those that `collect` adds to every table."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

ColumnKind = Literal[
    "text", "category", "number", "time", "media", "labels", "label_set", "spans", "answers", "links", "graph"
]  # fmt: skip
LABEL, LABEL_LENGTH = r"^[\w.:@/+-]+$", 100  # of who may read a document (core/tables/access.py)

# Every table of examples, whatever its modality, starts with these.
ROW_ID = "row_id"  # stable name of the example: a column of the source, or its content hash
CONTENT_HASH = "content_hash"  # sha256 of the content as it was read
PLACE = "place"  # where it stood: "reviews.csv:17"
FAULT = "fault"  # why the content could not be read, or null
UNREAD = "unread"  # of a document: what of its file is not in the text, as pages that are pictures; or null
ADDED = (ROW_ID, CONTENT_HASH, PLACE, FAULT)

# What collect measures of a file, by what it holds, and the types. Of a sound, `level` is the root of the samples' mean
# square, as a share of full scale, and `clipped` the share of samples that stand at full scale.
MEASURED: Mapping[str, Mapping[str, str]] = {
    "image": {"bytes": "int64", "width": "int64", "height": "int64", "mode": "string"},
    "audio": {
        "bytes": "int64", "seconds": "double", "rate": "int64", "channels": "int64", "level": "double",
        "clipped": "double",
    },
}  # fmt: skip

SOURCE = "source."  # stands before the name of a source's column where the table needs that name itself


def set_aside(name: str, taken: Collection[str]) -> str:
    """What a source's column is called in a table that needs the names `taken` for columns of its own.

    `place` becomes `source.place`, and what a source itself calls so `source.source.place`: no two columns ever meet.
    """
    return f"{SOURCE}{name}" if _bare(name) in taken or _bare(name).startswith("\0") else name


def meant(name: str, columns: Collection[str], taken: Collection[str]) -> str:
    """The column of a table that a settings file means by a name: the source's, where the table has one of its own too.

    columns: those of the table. taken: as for set_aside().
    """
    own = f"{SOURCE}{name}"
    return own if own in columns and _bare(name) in taken else name


def own_name(column: str, taken: Collection[str]) -> str:
    """What the source calls a column that set_aside() named."""
    return column.removeprefix(SOURCE) if _bare(column) in taken else column


def own_names(columns: Iterable[str], taken: Collection[str]) -> dict[str, str]:
    """Of the columns that set_aside() named: what the source calls each."""
    return {column: name for column in columns if (name := own_name(column, taken)) != column}


def _bare(name: str) -> str:
    while name.startswith(SOURCE):
        name = name.removeprefix(SOURCE)
    return name


@dataclass(frozen=True)
class Column:
    """A column of the table of examples.

    text: a string that is the content. category: one of a few strings. number: a finite float. time: a date of ISO 8601
    or a number, as core/schema/times.py spells it.
    media: a path below raw/, whose bytes are the content. labels: who may read, as text with commas.
    spans: labelled parts of a text, as a JSON list (core/cells/spans.py). answers: parts of a text that answer a
    question, any of them, likewise (core/cells/answer_spans.py). label_set: any number of strings of a fixed set
    (core/cells/label_sets.py); separator: what stands between them in a text, or, in a task, the option of
    `preprocess:` that says so. of: the column of that text; None: the first input.
    links: names of other rows, as a JSON list (core/cells/row_links.py). of: the column of those names.
    graph: nodes and the edges between them, as a JSON object (core/cells/graph_cells.py).
    feature: one of many columns that say something of a row together: its cells may be empty, but it has to vary.
    empty: its cells may be empty.
    """

    kind: ColumnKind
    required: bool = True
    of: str | None = None
    feature: bool = False
    separator: str | None = None
    empty: bool = False

    @property
    def filled(self) -> bool:
        """Whether every row must have a value."""
        return self.required and not self.feature and not self.empty


@dataclass(frozen=True)
class Contract:
    """Which columns there are, and what they are for.

    inputs: what a caller sends. targets: what is true about them, and what a model says. key: rows that are equal here
    are the same example; none: the inputs. agreed: columns in which such rows must not differ; none: the targets that
    the key does not have.
    media: what the files of the column of kind media hold. least: measures of a file -> the least that a row may have,
    or, in a task, the option of `preprocess:` that says so. named: options of `preprocess:` that are lists of more
    columns -> what those columns are: features are inputs, and on others such rows must agree.
    repeats: rows of one identity are examples of their own, whatever their targets; they stand on one side of a split.
    instead: of a task that takes rows of several kinds: options of `preprocess:` -> the contract where one is set.
    self_links: whether a row, or a node of a graph, may link to itself, or, in a task, the option of `preprocess:` that
    says so.
    """

    columns: Mapping[str, Column]
    inputs: tuple[str, ...]
    targets: tuple[str, ...] = ()
    key: tuple[str, ...] = ()
    agreed: tuple[str, ...] = ()
    media: Literal["image", "audio"] | None = None
    least: Mapping[str, int | float | str] = field(default_factory=dict)
    named: Mapping[str, Column] = field(default_factory=dict)
    repeats: bool = False
    self_links: bool | str = True
    instead: Mapping[str, Contract] = field(default_factory=dict)

    def chosen(self, options: Mapping[str, Any]) -> Contract:
        """The contract of the kind of rows that a recipe's options say."""
        return next((other for option, other in self.instead.items() if options.get(option)), self)

    def with_named(self, options: Mapping[str, Any]) -> Contract:
        """With the columns that a recipe's options name, each as `named` says, and the least that they ask."""
        if (other := self.chosen(options)) is not self:
            return other.with_named(options)
        more = {set_aside(name, ADDED): column for option, column in self.named.items() for name in options[option]}
        least = {name: told for name, option in self.least.items() if (told := options.get(str(option))) is not None}
        own = {
            name: replace(column, separator=options[column.separator]) if column.separator else column
            for name, column in self.columns.items()
        }
        features = [name for name, column in more.items() if column.feature]
        agreed = more if self.agreed else [name for name in more if name not in features]
        return replace(
            self, columns={**own, **more}, named={}, least=least, instead={}, inputs=(*self.inputs, *features),
            agreed=(*self.agreed, *agreed), self_links=bool(options.get(str(self.self_links), self.self_links)),
        )  # fmt: skip

    @property
    def measured(self) -> Mapping[str, str]:
        """What `collect` measures of the rows' files, and the types."""
        return MEASURED[self.media] if self.media else {}

    @property
    def added(self) -> tuple[str, ...]:
        """The columns that `collect` adds, and those that it measures."""
        return (*ADDED, *self.measured)

    @property
    def compared(self) -> tuple[str, ...]:
        """The columns in which rows of one identity must not differ: they would contradict each other.

        A target that is part of the identity is none of them: one text may have several translations.
        """
        if self.repeats:
            return ()
        return self.agreed or tuple(name for name in self.targets if name not in self.identity)

    @property
    def identity(self) -> tuple[str, ...]:
        """The columns by which rows are the same example."""
        return self.key or self.inputs

    @property
    def label(self) -> str | None:
        """The target that is one of a few strings; None: there is none."""
        return next((name for name in self.targets if self.columns[name].kind == "category"), None)

    @property
    def links(self) -> str | None:
        """The column that links rows into one graph: those of no split stay as neighbours. None: there is no graph."""
        return next((name for name, column in self.columns.items() if column.kind == "links"), None)

    @property
    def file(self) -> str | None:
        """The column that holds a file's path."""
        return next((name for name, column in self.columns.items() if column.kind == "media"), None)

    @property
    def media_sent(self) -> Literal["image", "audio"] | None:
        """What the files hold that a caller sends; None: no files are sent."""
        return self.media if self.file in self.inputs else None


DOCUMENTS = Contract(
    columns={
        "text": Column("text"),
        "title": Column("text", required=False),
        "id": Column("text", required=False),
        "labels": Column("labels", required=False),
    },
    inputs=("text",),
)
