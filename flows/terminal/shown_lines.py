"""Rows of a recipe or an index as lines for a person, as a document for scripts, and as a sheet of pictures."""

from __future__ import annotations

import base64
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from core.errors import BadRequest
from core.schema.columns import Contract
from core.tables.spelling import spelled
from core.workspace import OUTPUT_FOLDERS, Job, inside
from flows.terminal.cells import cell_text, cells_line, id_text, json_value
from pipelines.evidence.row_counts import row_counts
from pipelines.shown.contact_sheet import Captioned, contact_sheet
from pipelines.shown.series_plots import is_series, plot_steps, plot_windows
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
    counts, file = row_counts(job.folder), job.section("examples", Contract).file
    hidden = {file} if file is not None else set()  # a picture's place names it: the path of our copy is left out
    if isinstance(found, Wrong):
        yield from _wrong_lines(job, found, {*hidden, *found.targets})
        return
    things = "rows" if job.kind == "recipe" else "documents"
    if counts is not None:
        yield f"{job.name}: {counts.line(f'{OUTPUT_FOLDERS[job.kind]}/{job.name}/')}"
    if what == "rows":
        told = ", ".join(f"{side} {count:,}" for side, count in found.counts.items())
        yield f"{len(found.rows):,} of {found.total:,} {things} as they were read{f' ({told})' if told else ''}:"
        for row in found.rows:
            split = f"  {row.split:<10}" if row.split else ""
            yield f"{spelled(row.place)}{split}  {cells_line(_without(row.cells, hidden))}".rstrip()
        return
    files = ", ".join(file.relative_to(job.workspace.root).as_posix() for file in found.files)
    yield f"set aside: {found.total:,} {things} ({files})"
    named = list(found.counts.items())[:_REASONS] if found.total > len(found.counts) else []
    for reason, times in named:
        yield f"  {times:>6,}  {cell_text(reason)}"
    if len(found.counts) > len(named) > 0:
        yield f"  and {len(found.counts) - _REASONS:,} more reasons (--json)"
    for row in found.rows:
        yield f"{spelled(row.place)}: {cell_text(row.reason or '')}"
        if cells := cells_line(_without(row.cells, hidden)):
            yield f"    {cells}"


def sheet(job: Job, what: What, found: Shown | Wrong, file: Path) -> None:
    """Write the pictures of these rows, with what was true and what was said beneath.

    Of a series all its steps, or the windows that were forecast worst. Raises BadRequest for rows that are neither
    pictures nor steps, and for steps that were refused.
    """
    contract = job.section("examples", Contract)
    raw, title = job.folder / "raw", f"{job.name}: {_title(found)}"
    if is_series(contract):
        if isinstance(found, Wrong):
            plot_windows(job, found.rows, title, file)
        elif what == "rows":
            plot_steps(job, contract, f"{job.name}: {found.total:,} steps as they were read", file)
        else:
            raise BadRequest(f"--picture: the refused steps of {job.name} make no picture. Leave it out.")
        return
    if contract.media != "image" or contract.file is None:
        raise BadRequest(f"--picture: the rows of {job.name} are neither pictures nor steps of time.")
    contact_sheet([_captioned(row, contract.file, raw) for row in found.rows], title, file)


def _captioned(row: ShownRow | WrongAnswer, column: str, raw: Path) -> Captioned:
    if isinstance(row, ShownRow):
        labels = [str(cell) for name, cell in row.cells.items() if name != column and cell]
        return Captioned(_media(row.cells, column, raw), [row.place, *([row.reason] if row.reason else labels)])
    sure = "" if row.sure is None else f" ({row.sure:.2f})"
    words = [f"true {row.true}", f"said {row.said}{sure}"]
    drawn = row.answer.get(_PICTURE)
    if isinstance(drawn, str):
        return Captioned(base64.b64decode(drawn.partition(",")[2]), words)
    return Captioned(_media(row.cells, column, raw), words)


def _media(cells: Mapping[str, Any], column: str, raw: Path) -> Path | None:
    return inside(raw, cells[column]) if cells.get(column) else None


def _title(found: Shown | Wrong) -> str:
    if isinstance(found, Wrong):
        if found.rows and found.rows[0].said is None:
            return f"the {len(found.rows):,} of {found.total:,} test windows with the largest error"
        return f"{len(found.rows):,} of {found.count:,} wrong answers, the surest first"
    return f"{len(found.rows):,} of {found.total:,} rows"


def _wrong_lines(job: Job, found: Wrong, hidden: Collection[str]) -> Iterator[str]:
    if found.rows and found.rows[0].said is None:
        yield f"{job.name}: the {len(found.rows):,} of {found.total:,} test rows with the largest {found.error_name}"
    else:
        order = "the surest first" if found.rows and found.rows[0].sure is not None else "the worst first"
        yield f"{job.name}: {found.count:,} of {found.total:,} test rows are answered wrong" + (
            f", {order}:" if found.rows else ""
        )
    for row in found.rows:
        yield from _wrong_answer_lines(row, found.error_name, _without(row.cells, hidden))
    if (more := found.count - len(found.rows)) > 0:
        yield f"and {more:,} more (-n {found.count})"


def _wrong_answer_lines(row: WrongAnswer, error_name: str, cells: Mapping[str, Any]) -> Iterator[str]:
    place = spelled(row.place) if row.place is not None else id_text(row.row_id)
    if row.said is None:
        yield f"{place}: {error_name} {row.error:.4f}"
        yield from _long({**cells, **{f"said {name}": value for name, value in row.answer.items()}})
        return
    yield f"{place}: {cells_line(cells)}".rstrip()
    true = f"true {cell_text(row.true)}; " if row.true is not None else ""
    sure = f" ({row.sure:.2f})" if row.sure is not None else ""
    yield f"    {true}said {cell_text(row.said)}{sure}"


def _without(cells: Mapping[str, Any], hidden: Collection[str]) -> dict[str, Any]:
    return {name: cell for name, cell in cells.items() if name not in hidden}


def _long(cells: Mapping[str, Any]) -> Iterator[str]:
    """A line a column, of cells that are lists of numbers."""
    width = max(map(len, cells), default=0)
    yield from (f"    {name:<{width}}  {cell_text(value)}" for name, value in cells.items() if _says(value))


def _says(value: Any) -> bool:
    return value is not None and value != "" and not (isinstance(value, Sequence) and not value)
