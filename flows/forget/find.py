"""Which recipes, indexes and versions have a row, by its id: in the workspace's tables, and in those that DVC keeps."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from core.atomic_files import read_json
from core.schema.columns import CONTENT_HASH, PLACE, ROW_ID
from core.tables.tombstones import DOCUMENT_NAMES
from core.workspace import Job, Kind, Workspace, is_name
from flows.forget import row_copies
from flows.forget.row_copies import Traces
from flows.graph.objects import Objects
from pipelines.search.engine.copies import FILE as COPIES
from registry.cleanup.forgotten_rows import KEPT_ROWS
from registry.version.version_lineage import rows_hash

_OUTPUT = re.compile(r"data/(models|indexes)/([^/]+)/([^/]+)")
_KINDS: Mapping[str, Kind] = {"models": "recipe", "indexes": "index"}
_TABLES = {
    "raw": ("examples.parquet",), "validated": ("examples.parquet", "quarantine.parquet"),
    "prepared": ("rows.parquet",), "chunks": ("chunks.parquet",),
}  # fmt: skip


@dataclass(frozen=True)
class Table:
    """A table of a recipe or an index: here, or as DVC keeps it. files: of the same output, name -> path or object."""

    job: Job
    output: str
    path: Path
    files: Mapping[str, Path | str]


@dataclass
class Found:
    """jobs: who has the row -> the names to forget it by. places: of the row in their sources. twins: rows that
    stay and have the same text. others: the vectors that documents that stay have too.
    """

    jobs: dict[Job, set[str]] = field(default_factory=dict)
    traces: Traces = field(default_factory=Traces)
    places: dict[Job, set[str]] = field(default_factory=dict)
    twins: set[str] = field(default_factory=set)
    others: set[str] = field(default_factory=set)

    def spare_others(self) -> None:
        """Leave out of what is looked for the vectors that another document has too: a copy, under its own name."""
        self.traces = replace(self.traces, keys=self.traces.keys - self.others)


def find(workspace: Workspace, objects: Objects, locks: Iterable[tuple[str, bytes]], name: str) -> Found:
    """All that is known of the row or document called `name`. locks: (where, text) of every dvc.lock that counts."""
    found, analysed = Found(), set[str]()
    tables = [*_here(workspace), *_kept(workspace, objects, outputs(locks))]
    for table in sorted(tables, key=lambda table: table.output == "chunks"):  # those know documents, not rows
        if table.output != "chunks":
            _add_rows(found, table, name, objects, analysed)
        elif table.job in found.jobs:
            keys, others = _keys(table, objects, found.traces.documents)
            found.traces |= Traces(keys=keys)
            found.others |= others
    return found


def rows_of(objects: Objects, lock: Mapping[str, Any]) -> Path | None:
    """The rows that a version was made of, as DVC keeps them. lock: its entries of dvc.lock."""
    rows = rows_hash(lock)
    oid = objects.listing(rows).get("rows.parquet") if rows else None
    return objects.get(oid) if oid else None


def splits(rows: Path, ids: Iterable[str]) -> set[str]:
    """In which splits of a version's rows these are."""
    table, mine = _ids(rows, ids)
    return set(table.filter(mine)["split"].to_pylist())


def ids_only(rows: Path, ids: Iterable[str], folder: Path) -> Path:
    """Of a version's rows the ids and splits, those that are forgotten aside: what says later what it was made of."""
    table, mine = _ids(rows, ids)
    rest = table.filter(pc.invert(mine)).replace_schema_metadata({row_copies.NO_TEXT: b"{}"})
    pq.write_table(rest, file := folder / KEPT_ROWS)
    return file


def _ids(rows: Path, ids: Iterable[str]) -> tuple[pa.Table, pa.Array]:
    """The ids and splits of a version's rows, and which of them are these."""
    table = pq.read_table(rows, columns=[ROW_ID, "split"])
    return table, pc.is_in(table[ROW_ID], value_set=pa.array(sorted(ids), pa.string()))


def outputs(locks: Iterable[tuple[str, bytes]]) -> dict[str, tuple[str, str]]:
    """DVC's hash of every output that these name -> its path, and where that stands."""
    found: dict[str, tuple[str, str]] = {}
    for where, text in locks:
        for out in _outs(text):
            found.setdefault(str(out["md5"]), (str(out["path"]), where))
    return found


def _outs(text: bytes) -> list[Mapping[str, Any]]:
    """Of a dvc.lock, as YAML or as it is kept with a version, or of a .dvc file; none of a torn one."""
    try:
        document = json.loads(text) if text.lstrip().startswith(b"{") else YAML(typ="safe").load(text)
        stages = document.get("stages", document)
        entries = [document] if "outs" in document else [each for each in stages.values() if isinstance(each, Mapping)]
        return [out for entry in entries for out in entry.get("outs", ()) if "md5" in out and "path" in out]
    except (YAMLError, ValueError, AttributeError, TypeError):
        return []


def _here(workspace: Workspace) -> Iterator[Table]:
    for folder, kind in _KINDS.items():
        for place in sorted((workspace.root / "data" / folder).glob("*")):
            if not is_name(place.name):
                continue
            for output, names in _TABLES.items():
                files = {path.relative_to(place / output).as_posix(): path for path in (place / output).rglob("*.*")}
                for name in names:
                    if name in files:
                        yield Table(workspace.job(kind, place.name), output, files[name], files)


def _kept(workspace: Workspace, objects: Objects, named: Mapping[str, tuple[str, str]]) -> Iterator[Table]:
    """The tables of the outputs that lock files name, from the cache or the remote."""
    for oid, (path, _) in named.items():
        match = _OUTPUT.fullmatch(path)
        if match is None or match[3] not in _TABLES or not is_name(match[2]):
            continue
        job, listing = workspace.job(_KINDS[match[1]], match[2]), objects.listing(oid)
        for name in _TABLES[match[3]]:
            if (file := objects.get(listing[name]) if name in listing else None) is not None:
                yield Table(job, match[3], file, listing)


def _add_rows(found: Found, table: Table, name: str, objects: Objects, analysed: set[str]) -> None:
    parquet = row_copies.read_table(table.path)
    if parquet is None or ROW_ID not in parquet.schema_arrow.names:
        return
    known = {*DOCUMENT_NAMES, ROW_ID, CONTENT_HASH, PLACE} & set(parquet.schema_arrow.names)
    mine = _matching(parquet.read(columns=sorted(known)), name, table.job.kind)
    if not pc.any(mine).as_py():
        return
    whole = parquet.read()
    rows, rest = whole.filter(mine).to_pylist(), whole.filter(pc.invert(mine))
    for row in rows:
        found.jobs.setdefault(table.job, set()).add(row[CONTENT_HASH] if _is_content(row) else name)
        found.places.setdefault(table.job, set()).add(str(row.get(PLACE)))
        found.traces |= Traces(ids=frozenset({row[ROW_ID]}), documents=_document(row, table.job.kind))
        if (key := json.dumps(row, sort_keys=True, default=str)) not in analysed:
            analysed.add(key)
            found.traces |= row_copies.of_row(row, rest, media=_place(table, str(row.get("path")), objects))
    contents = {row[CONTENT_HASH] for row in rows}
    others = rest.select([ROW_ID, CONTENT_HASH]).to_pylist()
    found.twins |= {
        f"{table.job.kind} {table.job.name}, row {r[ROW_ID]}" for r in others if r[CONTENT_HASH] in contents
    }


def _matching(ids: pa.Table, name: str, kind: Kind) -> pa.Array:
    """Which rows are called so; of those that are named by their content, all copies."""
    columns = [ROW_ID, *(DOCUMENT_NAMES if kind == "index" else ())]
    mine = pa.array([False] * len(ids), pa.bool_())
    for column in columns:
        if column in ids.schema.names and pa.types.is_string(ids.schema.field(column).type):
            mine = pc.or_(mine, pc.fill_null(pc.equal(ids[column].combine_chunks(), name), False))
    contents = {row[CONTENT_HASH] for row in ids.filter(mine).to_pylist() if _is_content(row)}
    if contents:
        same = pc.is_in(ids[CONTENT_HASH].combine_chunks(), value_set=pa.array(sorted(contents)))
        copies = [_is_content(row) for row in ids.select([ROW_ID, CONTENT_HASH]).to_pylist()]
        mine = pc.or_(mine, pc.and_(same, pa.array(copies, pa.bool_())))
    return mine


def _is_content(row: Mapping[str, Any]) -> bool:
    """Whether a row's id is its content's hash, or that of a copy (HASH-2)."""
    row_id, content = str(row[ROW_ID]), str(row[CONTENT_HASH])
    first, _, copy = row_id.rpartition("-")
    return row_id == content or (first == content and copy.isdecimal())


def _document(row: Mapping[str, Any], kind: Kind) -> frozenset[str]:
    """What passages call the document, as pipelines/chunk/chunk.py does."""
    if kind != "index":
        return frozenset()
    column = next(name for name in (*DOCUMENT_NAMES, ROW_ID) if name in row)
    return frozenset({str(row[ROW_ID] if row[column] is None else row[column])})


def _place(table: Table, name: str, objects: Objects) -> Path | None:
    """A file of a table's output, here or as DVC keeps it."""
    place = table.files.get(name)
    return objects.get(place) if isinstance(place, str) else place


def _keys(table: Table, objects: Objects, documents: frozenset[str]) -> tuple[frozenset[str], set[str]]:
    """The vectors that these documents' passages have, and those of the documents that stay: of their copies too."""
    copies = _place(table, COPIES, objects)
    listed = read_json(copies) if copies is not None else []
    copied = {row["same_as"] for row in listed if row["document"] not in documents}
    rows = pq.read_table(table.path, columns=["document", "key"]).to_pylist()
    mine = frozenset(row["key"] for row in rows if row["document"] in documents)
    others = {row["key"] for row in rows if row["document"] not in documents or row["document"] in copied}
    return mine - others, others
