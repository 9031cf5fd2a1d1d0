"""Who may read a document: its access labels. A caller needs one of them; a document without any is everybody's.

In a table of examples they stand as one text, sorted, with commas. What is unclear is nobody's, never everybody's.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from core.errors import BadRequest
from core.schema.columns import LABEL, LABEL_LENGTH
from core.tables.row_groups import batches

EVERYBODY = "*"  # as text; in a list, nothing says it
_ALLOWED = "letters, digits and . : @ / + - _, up to 100"


def told(value: Any, *, needed: bool) -> tuple[str | None, str | None]:
    """A cell as a table of examples has it, and what is wrong with it, or None. needed: a column was named for them."""
    if value is None:
        return None, f"says nothing. Write [] (as text: {EVERYBODY}) where everybody may read" if needed else None
    labels = _split(value) if isinstance(value, str) else value
    if not isinstance(labels, list):
        return None, f"neither a list nor text with commas but {type(value).__name__}"
    for label in labels:
        if not isinstance(label, str) or len(label) > LABEL_LENGTH or not re.fullmatch(LABEL, label):
            return None, f"{str(label)[:100]!r} is no label (allowed: {_ALLOWED}; as text, {EVERYBODY} for everybody)"
    return ",".join(sorted(set(labels))), None


def listed(told: str) -> tuple[str, ...]:
    """The labels of a cell that `told` wrote."""
    return tuple(told.split(",")) if told else ()


def may_see(access: frozenset[str] | None, labels: Collection[str]) -> bool:
    """Whether a caller with these labels may see a document. access: None of one that may see everything."""
    return access is None or not labels or not access.isdisjoint(labels)


def _split(text: str) -> list[str]:
    return [] if text.strip() == EVERYBODY else [part.strip() for part in text.split(",")]


def in_rows(examples: Path) -> bool:
    """Whether some rows of a table of examples have labels of their own."""
    import pyarrow.parquet as pq

    file = pq.ParquetFile(examples)
    if "labels" not in file.schema_arrow.names:
        return False
    return any(batch.column(0).null_count < len(batch) for batch in batches(file, columns=["labels"]))


class Rules:
    """Labels by globs over a document's id, as `access:` has them; `*` stands for any characters, `/` too.

    in_rows: whether documents have labels of their own, so that one without any was forgotten.
    """

    def __init__(
        self, labels: Mapping[str, Sequence[str]], others: Sequence[str] | None, settings_file: str, *,
        in_rows: bool = False,
    ) -> None:  # fmt: skip
        self._rules = {_same(glob): tuple(sorted(set(names))) for glob, names in labels.items()}
        self._others = None if others is None else tuple(sorted(set(others)))
        self._file = settings_file
        self._in_rows = in_rows
        self._matched: Counter[str] = Counter()

    def of(self, document: str, own: tuple[str, ...] | None) -> tuple[str, ...]:
        """A document's labels; own: those of its row, None where its source has none.

        Raises BadRequest when the row and the rules, or two rules, or nothing speaks for it.
        """
        if not self._rules and self._others is None:
            if own is None and self._in_rows:
                raise BadRequest(
                    f"document {document!r} has no access labels, others have. Nobody is to read what somebody forgot "
                    "to label: give it labels ([] for everybody)."
                )
            return own or ()
        globs = self.matching(document)
        if own is not None:
            raise BadRequest(
                f"{self._file}: access: document {document!r} has labels of its own ({', '.join(own) or 'everybody'}), "
                "from its row. Let one of the two say who may read: take `access:` out, or the column."
            )
        found: set[tuple[str, ...] | None] = {self._rules[glob] for glob in globs} or {self._others}
        labels = found.pop()
        if found:
            raise BadRequest(
                f"{self._file}: access.labels: {' and '.join(map(repr, globs))} both match document {document!r} and "
                "do not agree on its labels. Write globs that do not overlap; `others` is for the rest."
            )
        if labels is None:
            raise BadRequest(
                f"{self._file}: access.labels: no glob matches document {document!r}. Add one, or say with "
                "`access.others: [...]` who may read the rest ([] for everybody)."
            )
        return labels

    def matching(self, document: str) -> list[str]:
        """The globs that match; they count as used."""
        globs = [glob for glob in self._rules if fnmatchcase(_same(document), glob)]
        self._matched.update(globs)
        return globs

    def refuse_unused(self, quarantined: Iterable[str]) -> None:
        """Raise BadRequest for a glob that matched nothing: misspelt, it would leave its documents to everybody."""
        for document in quarantined:
            self.matching(document)
        if unused := sorted(glob for glob in self._rules if not self._matched[glob]):
            raise BadRequest(
                f"{self._file}: access.labels: {unused[0]!r} matches no document. Correct it, or take it out. A "
                "document's id is its path below the source."
            )


def _same(text: str) -> str:
    """Unicode composed: file systems differ in how they spell an accent."""
    return unicodedata.normalize("NFC", text)
