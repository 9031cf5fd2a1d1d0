"""The rows of validated/examples.parquet as documents: each content once, and who may read it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import pyarrow.parquet as pq

from core.errors import BadData, BadRequest
from core.schema.columns import UNREAD
from core.tables.access import Rules, listed
from core.tables.keys import text_key
from core.tables.row_groups import batches
from pipelines.chunk.unread import NAMES
from pipelines.sources.parsers import without_invisible

AT_ONCE = 256
PAGE_END = "\f"  # in a text: a page ends here, as in pdftotext's output and in plain text made for printers
_MARKDOWN = (".md", ".markdown")
_LINES = (  # code, logs, settings: a line is a row
    *(".py", ".pyi", ".js", ".mjs", ".cjs", ".jsx", ".ts", ".tsx", ".c", ".h", ".cc", ".cpp", ".hpp", ".cs", ".java"),
    *(".kt", ".scala", ".go", ".rs", ".rb", ".php", ".pl", ".lua", ".r", ".jl", ".swift", ".m", ".sql", ".sh", ".bash"),
    *(".ps1", ".bat", ".css", ".scss", ".tf", ".proto", ".graphql", ".json", ".xml", ".yaml", ".yml", ".toml", ".ini"),
    *(".cfg", ".conf", ".env", ".properties", ".log", ".diff", ".patch"),
)
_COLUMNS = ("row_id", "text", "title", "place", "format", "parser", "labels", UNREAD)


@dataclass(frozen=True)
class Document:
    """parser: what made the text, with the version of its rules; labels: None where its source has none."""

    id: str
    text: str
    title: str
    place: str
    format: str = ""
    parser: str = ""
    labels: tuple[str, ...] | None = None

    @property
    def markdown(self) -> bool:
        if self.format:
            return self.format == "markdown"
        return self.id.lower().endswith(_MARKDOWN) or self.place.lower().endswith(_MARKDOWN)

    @property
    def lines(self) -> bool:
        """Whether it is a file of code, a log or settings, by its name."""
        return not self.markdown and self.id.lower().endswith(_LINES)

    @cached_property
    def identity(self) -> str:
        """sha256 of all that decides its passages, beside the settings."""
        said = [self.id, self.text, self.title, self.place, self.markdown, self.lines, self.parser, self.labels]
        return hashlib.sha256(json.dumps(said).encode()).hexdigest()

    def page(self, at: int) -> int | None:
        """The page of a place in the text, from 1; None of a text without pages."""
        return self.text.count(PAGE_END, 0, at) + 1 if self._paged else None

    @cached_property
    def _paged(self) -> bool:
        return PAGE_END in self.text


@dataclass
class Counts:
    """What was seen; grows as documents go by."""

    documents: int = 0
    duplicates: list[dict[str, str]] = field(default_factory=list)
    unlabelled: list[dict[str, str]] = field(default_factory=list)  # set aside: nothing says who may read them
    in_part: list[dict[str, str]] = field(default_factory=list)  # something of the file is not in the text


def read_documents(path: Path, rules: Rules, counts: Counts) -> Iterator[Document]:
    """The documents of a table of examples, a batch at a time; those that nobody may read are set aside.

    Raises BadData when those are more than the others, BadRequest for a rule that no document fits.
    """
    source = pq.ParquetFile(path)
    has = set(source.schema_arrow.names)
    name = next(column for column in NAMES if column in has)
    wanted = list(dict.fromkeys(column for column in (name, *_COLUMNS) if column in has))
    for batch in batches(source, AT_ONCE, wanted):
        for row in batch.to_pylist():
            identity, own = str(row["row_id"] if row[name] is None else row[name]), row.get("labels")
            said = {name: str(row.get(name) or "") for name in ("text", "title", "place", "format", "parser")}
            said["title"] = " ".join(without_invisible(said["title"]).split())
            said["text"] = without_invisible(said["text"])
            try:
                labels = rules.of(identity, None if own is None else listed(own))
            except BadRequest as reason:
                counts.unlabelled.append({"document": identity, "place": said["place"], "reason": str(reason)})
            else:
                if said["parser"] and row.get(UNREAD):  # a column of that name in a table of rows says nothing
                    counts.in_part.append({"document": identity, "unread": str(row[UNREAD])})
                yield Document(identity, labels=labels, **said)
    rules.refuse_unused(_quarantined(path.with_name("quarantine.parquet")))
    nobodys, rows = counts.unlabelled, source.metadata.num_rows
    if nobodys and len(nobodys) * 2 >= rows:  # a mistake of the settings or of the whole source, not of a document
        raise BadData(
            f"{path}: {len(nobodys):,} of {rows:,} documents have no access labels, the others have. "
            f"The first: {nobodys[0]['reason']}"
        )


def _quarantined(path: Path) -> Iterator[str]:
    """The ids of documents that were set aside."""
    if path.is_file():
        table = pq.read_table(path)
        for name in (name for name in NAMES if name in table.schema.names):
            yield from filter(None, table[name].to_pylist())


def distinct(documents: Iterable[Document], counts: Counts, known: Mapping[str, str]) -> Iterator[tuple[Document, str]]:
    """Each content once among documents of equal labels, with its key; the others are counted and listed.

    known: keys of contents that are known, by a document's identity.
    Raises BadData when one id stands for two contents: a passage could not say where it is from.
    """
    first: dict[tuple[str, tuple[str, ...] | None], str] = {}
    named: dict[str, tuple[str, tuple[str, ...] | None]] = {}
    for document in documents:
        counts.documents += 1
        content = known.get(document.identity) or text_key(document.text)
        key = (content, document.labels)
        if named.setdefault(document.id, key) != key:
            different = "texts" if named[document.id][0] != content else "sets of access labels"
            raise BadData(
                f"document id {document.id!r} stands for two different {different} (one is at {document.place!r}). "
                "Give each document an id of its own, or map another column to `id`."
            )
        if key in first:
            counts.duplicates.append({"document": document.id, "source": document.place, "same_as": first[key]})
        else:
            first[key] = document.id
            yield document, content
