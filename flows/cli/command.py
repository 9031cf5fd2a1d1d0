"""`headrace`: its verbs as --help lists them. Each imports what it needs when it is called: --help costs nothing."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from flows.cli.ask_verbs import answer, key, predict, query, serve
from flows.cli.plan_verb import plan
from flows.cli.recipe_verbs import check, index, lock, new, retire, run, status
from flows.cli.row_verbs import show
from flows.cli.upkeep_verbs import forget, gc, schedule, stop
from flows.cli.version_verbs import compare, history, lineage, promote, reproduce, rollback

VERBS = (
    run, index, status, show, new, plan, retire, lock, check, query, answer, predict, serve, key, promote, rollback,
    history, compare, lineage, reproduce, gc, forget, schedule, stop,
)  # fmt: skip
app = typer.Typer(
    name="headrace",
    help="From data to a registered model, and from documents to a searchable index.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _tell_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        print(f"headrace {version('headrace')}")
        raise typer.Exit


@app.callback()
def _whole(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and end.", callback=_tell_version, is_eager=True)
    ] = False,
) -> None:
    """What stands before a verb."""


for verb in VERBS:
    app.command()(verb)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a verb and end the process with its exit code; a person's mistake gets one message and no traceback."""
    from core.addresses import spare_loopback
    from core.errors import HeadraceError, unwritable
    from core.process.garbage import collect_seldom
    from core.terminal import guard
    from flows.terminal.output import show_fault

    given = list(sys.argv[1:] if arguments is None else arguments)
    collect_seldom()
    guard()
    spare_loopback()
    try:
        app(args=given, prog_name="headrace")
    except (HeadraceError, OSError) as error:
        fault = error if isinstance(error, HeadraceError) else unwritable(error, Path.cwd())
        if fault is None:
            raise
        show_fault(str(fault), fault.exit_code, as_json="--json" in given)
        sys.exit(fault.exit_code)
