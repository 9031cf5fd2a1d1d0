"""Rows of a recipe or an index as lines for a person, as a document for scripts, and as a sheet of pictures."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from core.errors import BadRequest
from core.schema.columns import Contract
from core.tables.spelling import spelled
from core.workspace import OUTPUT_FOLDERS, Job
from flows.terminal.cells import cell_text, cells_line, id_text, json_value
from pipelines.evidence.row_counts import row_counts
from pipelines.shown.contact_sheet import Captioned, contact_sheet
from pipelines.shown.shown_rows import Shown, ShownRow
from pipelines.shown.wrong_answers import Wrong, WrongAnswer

What = Literal["rows", "quarantine", "wrong"]
_REASONS = 12  # that lines name; --json has all
_PICTURE = "picture"  # in an answer: a drawn one, as a data URI


def shown_document(job: Job, what: What, found: Shown | Wrong) -> dict[str, Any]:
    counts = row_counts(job.folder)
    head = {"name": job.name, "kind": job.kind, "what": what, "source": counts and counts.document()}
    if isinstance(found, Wrong):
        return {
            **head,
            "wrong": found.count,
            "test_rows": found.total,
            "error": found.error_name,
            "rows": [json_value(asdict(row)) for row in found.rows],
        }
    files = [file.relative_to(job.workspace.root).as_posix() for file in found.files]
    rows = [json_value(asdict(row)) for row in found.rows]
    return {**head, "total": found.total, "counts": dict(found.counts), "files": files, "rows": rows}


def shown_lines(job: Job, what: What, found: Shown | Wrong) -> Iterator[str]:
    counts = row_counts(job.folder)
    if isinstance(found, Wrong):
        yield from _wrong_lines(job, found)
        return
    things = "rows" if job.kind == "recipe" else "documents"
    if counts is not None:
        yield f"{job.name}: {counts.line(f'{OUTPUT_FOLDERS[job.kind]}/{job.name}/')}"
    if what == "rows":
        told = ", ".join(f"{side} {count:,}" for side, count in found.counts.items())
        yield f"{len(found.rows):,} of {found.total:,} {things} as they were read{f' ({told})' if told else ''}:"
        yield from map(_read_line, found.rows)
        return
    files = ", ".join(file.relative_to(job.workspace.root).as_posix() for file in found.files)
    yield f"{found.total:,} {things} set aside ({files})" + (":" if found.total else "")
    for reason, times in list(found.counts.items())[:_REASONS]:
        yield f"  {times:>6,}  {cell_text(reason)}"
    if len(found.counts) > _REASONS:
        yield f"  and {len(found.counts) - _REASONS:,} more reasons (--json)"
    for row in found.rows:
        yield f"{spelled(row.place)}: {cell_text(row.reason or '')}"
        if cells := cells_line(row.cells):
            yield f"    {cells}"


def sheet(job: Job, found: Shown | Wrong, file: Path) -> None:
    """Write the pictures of these rows, with what was true and what was said beneath.

    Raises BadRequest for a recipe whose rows are no pictures.
    """
    contract = job.section("examples", Contract)
    if contract.media != "image" or contract.file is None:
        raise BadRequest(f"--picture: the rows of {job.name} are no pictures.")
    raw, title = job.folder / "raw", f"{job.name}: {_title(found)}"
    contact_sheet([_captioned(row, contract.file, raw) for row in found.rows], title, file)


def _captioned(row: ShownRow | WrongAnswer, column: str, raw: Path) -> Captioned:
    if isinstance(row, ShownRow):
        labels = [str(cell) for name, cell in row.cells.items() if name != column and cell]
        return Captioned(_media(row.cells, column, raw), [row.reason] if row.reason else labels)
    sure = "" if row.sure is None else f" ({row.sure:.2f})"
    words = [f"true {row.true}", f"said {row.said}{sure}"]
    drawn = row.answer.get(_PICTURE)
    if isinstance(drawn, str):
        return Captioned(base64.b64decode(drawn.partition(",")[2]), words)
    return Captioned(_media(row.cells, column, raw), words)


def _media(cells: Mapping[str, Any], column: str, raw: Path) -> Path | None:
    return raw / cells[column] if cells.get(column) else None


def _title(found: Shown | Wrong) -> str:
    if isinstance(found, Wrong):
        return f"{len(found.rows):,} of {found.count:,} wrong answers, the surest first"
    return f"{len(found.rows):,} of {found.total:,} rows"


def _read_line(row: ShownRow) -> str:
    split = f"  {row.split:<10}" if row.split else ""
    return f"{spelled(row.place)}{split}  {cells_line(row.cells)}"


def _wrong_lines(job: Job, found: Wrong) -> Iterator[str]:
    if found.rows and found.rows[0].said is None:
        yield f"{job.name}: the {len(found.rows):,} of {found.total:,} test rows with the largest {found.error_name}"
    else:
        order = "the surest first" if found.rows and found.rows[0].sure is not None else "the worst first"
        yield f"{job.name}: {found.count:,} of {found.total:,} test rows are answered wrong" + (
            f", {order}:" if found.rows else ""
        )
    for row in found.rows:
        yield from _wrong_answer_lines(row, found)
    if (more := found.count - len(found.rows)) > 0:
        yield f"and {more:,} more (-n {found.count})"


def _wrong_answer_lines(row: WrongAnswer, found: Wrong) -> Iterator[str]:
    cells = {name: cell for name, cell in row.cells.items() if name not in found.targets}
    place = spelled(row.place) if row.place is not None else id_text(row.row_id)
    if row.said is None:
        yield f"{place}: {found.error_name} {row.error:.4f}"
        yield from _long(cells | {f"said {name}": value for name, value in row.answer.items()})
        return
    yield f"{place}: {cells_line(cells)}"
    true = f"true {cell_text(row.true)}; " if row.true is not None else ""
    sure = f" ({row.sure:.2f})" if row.sure is not None else ""
    yield f"    {true}said {cell_text(row.said)}{sure}"


def _long(cells: Mapping[str, Any]) -> Iterator[str]:
    """A line a column, of cells that are lists of numbers."""
    width = max(map(len, cells), default=0)
    yield from (f"    {name:<{width}}  {cell_text(value)}" for name, value in cells.items() if _says(value))


def _says(value: Any) -> bool:
    return value is not None and value != "" and not (isinstance(value, Sequence) and not value)
