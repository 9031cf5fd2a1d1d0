"""The verb that shows rows: as they were read, refused, answered wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.options import AsJson, Kind, here
from flows.terminal import output


def show(
    name: Annotated[str, typer.Argument(help="A live recipe or index.", show_default=False)],
    rows: Annotated[bool, typer.Option("--rows", help="Rows as they were read; so without any of these.")] = False,
    quarantine: Annotated[bool, typer.Option("--quarantine", help="Rows that were refused, with reasons.")] = False,
    wrong: Annotated[bool, typer.Option("--wrong", help="Test rows that the last model answered wrong.")] = False,
    count: Annotated[int, typer.Option("-n", "--count", metavar="N", min=0, help="How many.")] = 10,
    kind: Annotated[Kind | None, typer.Option(help="Where both have that name.", show_default=False)] = None,
    picture: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE.png", help="Put the rows' pictures on a sheet, or draw a series.", show_default=False
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show rows of a recipe or documents of an index: as read, refused, or answered wrong by the last evaluated model.

    With --wrong the surest mistakes come first, of a series the windows with the largest error.

    Example: headrace show film-reviews --wrong -n 5

    Example: headrace show etth1 --wrong --picture worst.png
    """
    from core.errors import BadRequest
    from flows.catalog.live import chosen
    from flows.terminal.picture_file import picture_file
    from flows.terminal.shown_lines import What, sheet, shown_document, shown_lines
    from pipelines.shown.shown_rows import as_read, refused
    from pipelines.shown.wrong_answers import answered_wrong

    if rows + quarantine + wrong > 1:
        raise BadRequest("--rows, --quarantine, --wrong: one at a time.")
    jobs = chosen(here(), [name], kind)
    if len(jobs) > 1:
        raise BadRequest(f"{name!r} is a recipe and an index. Say which: --kind recipe, or --kind index.")
    [job], file = jobs, picture_file(picture)
    what: What = "wrong" if wrong else "quarantine" if quarantine else "rows"
    found = answered_wrong(job, count) if wrong else refused(job, count) if quarantine else as_read(job, count)
    if file is not None:
        sheet(job, what, found, file)
    output.show(shown_document(job, what, found), shown_lines(job, what, found), as_json=as_json)
