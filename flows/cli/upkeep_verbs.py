"""The verbs that keep a workspace: space freed, rows forgotten, schedules served, servers ended."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.cli.options import AsJson, here
from flows.terminal.output import show


def gc(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be freed, and change nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Free what no alias, ledger, index, git ref or running work needs: versions' files, DVC's cache, leftovers.

    Waits for what runs. Nothing is removed from an MLflow server, a Qdrant server or a DVC remote.

    Example: headrace gc --dry-run
    """
    from flows.cleanup.gc import document, lines
    from flows.cleanup.gc import gc as free

    found = free(here(), dry_run=dry_run)
    show(document(found, dry_run=dry_run), lines(found, dry_run=dry_run), as_json=as_json)


def forget(
    row: Annotated[str, typer.Argument(metavar="ID", help="A value of row_id; or a document's.", show_default=False)],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would go, and change nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Take a row or a document out of tables, vectors, indexes, DVC's cache and remote, and the registry.

    Its source cannot bring it back. Versions trained on it are tagged. Ends with what has it still, and why.

    Example: headrace forget 3f2a9c5d --dry-run
    """
    from flows.forget.forget import forget as take_out
    from flows.forget.forget_report import document, lines

    report = take_out(here(), row, dry_run=dry_run)
    show(document(report, dry_run=dry_run), lines(report, dry_run=dry_run), as_json=as_json)


def schedule() -> None:
    """Serve the schedules of all live recipes and indexes and watch promotions, until Ctrl-C.

    Example: headrace schedule
    """
    from flows.schedule.scheduler import serve

    serve(here())


def stop(as_json: AsJson = False) -> None:
    """End this workspace's servers.

    Example: headrace stop
    """
    from flows.servers.servers import stop as end

    ended = end(here())
    show({"ended": ended}, [f"ended: {', '.join(ended)}" if ended else "no server was running"], as_json=as_json)
