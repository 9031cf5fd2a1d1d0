"""The verbs about recipes and indexes: brought up to date, looked at, made live, checked."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.options import AsJson, Commit, Force, KindOption, Names, Push, below, here

if TYPE_CHECKING:
    from core.workspace import Kind


def run(
    names: Names = None, force: Force = None, commit: Commit = False, push: Push = False, as_json: AsJson = False
) -> None:
    """Bring recipes up to date: every live one, or those named.

    Ends with metrics and their intervals, the baselines', the model's version and what the gates say. Exit code 4: a
    gate refused.

    Example: headrace run film-reviews --force train
    """
    _bring("recipe", names or [], force=force, commit=commit or push, push=push, as_json=as_json)


def index(
    names: Names = None, force: Force = None, commit: Commit = False, push: Push = False, as_json: AsJson = False
) -> None:
    """Bring indexes up to date: every live one, or those named.

    Example: headrace index bbc-news
    """
    _bring("index", names or [], force=force, commit=commit or push, push=push, as_json=as_json)


def status(names: Names = None, as_json: AsJson = False) -> None:
    """Say what is stale and why, what runs now, what is champion and what is live.

    Example: headrace status film-reviews
    """
    from flows.catalog.status import lines
    from flows.catalog.status import status as look
    from flows.terminal.output import show

    found = look(here(), names or [])
    show(found, lines(found), as_json=as_json)


def new(
    name: Annotated[str, typer.Argument(help="What to call it.", show_default=False)],
    file: Annotated[Path, typer.Option("--from", help="A recipe or an index; examples/ has some.", show_default=False)],
    as_json: AsJson = False,
) -> None:
    """Make a recipe or an index live: copies FILE as it is, writes its .lock, adds it to params.yaml.

    Says which addresses outside this machine it reads from and sends texts to.

    Example: headrace new fashion-mnist --from examples/fashion-mnist.yaml
    """
    from flows.catalog.live import new as add
    from flows.catalog.outward import outward
    from flows.terminal.output import show

    job = add(here(), name, file)
    addresses = outward(job.settings_file, job.kind, job.workspace.root)
    made = [below(job.workspace, path) for path in (job.settings_file, job.lock_file)]
    verb = "run" if job.kind == "recipe" else "index"
    said = f"{job.kind} {name} is live: {', '.join(made)}, params.yaml. `headrace {verb} {name}` brings it up to date."
    document = {"name": name, "kind": job.kind, "files": [*made, "params.yaml"], "outward": addresses}
    show(document, [said, *(f"  it {line}" for line in addresses)], as_json=as_json)


def retire(
    name: Annotated[str, typer.Argument(help="A live recipe or index.", show_default=False)],
    kind: Annotated[KindOption | None, typer.Option(help="Where both have that name.", show_default=False)] = None,
    as_json: AsJson = False,
) -> None:
    """Take a recipe or an index out of the live ones. Its files and its versions stay.

    Example: headrace retire fashion-mnist
    """
    from flows.catalog.live import retire as remove
    from flows.terminal.output import show

    job = remove(here(), name, kind.value if kind else None)
    file = below(job.workspace, job.settings_file)
    said = (
        f"{job.kind} {name} is not live any more; its files stay. `headrace new {name} --from {file}` brings it back."
    )
    show({"name": name, "kind": job.kind, "settings": file}, [said], as_json=as_json)


def lock(names: Names = None, as_json: AsJson = False) -> None:
    """Look whether sources, bases and aliases moved, and refresh the .lock files. Starts nothing.

    Example: headrace lock && dvc repro
    """
    from flows.catalog.live import chosen
    from flows.catalog.refresh import refresh
    from flows.terminal.output import show

    workspace = here()
    moved = {below(workspace, job.lock_file): refresh(job) for job in chosen(workspace, names or [])}
    lines = [f"{file}: {each}" for file, changes in moved.items() for each in changes]
    show({"moved": moved}, lines or ["nothing moved"], as_json=as_json)


def check(
    names: Annotated[list[str] | None, typer.Argument(metavar="[NAME|FILE]...", show_default=False)] = None,
    schema: Annotated[
        KindOption | None, typer.Option(help="Print its JSON Schema instead.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Report all that can be known before work starts: settings, sources, bases, extras, disk, servers, params.yaml.

    Without NAME every live recipe and index; FILE is one that is not live. Corrects params.yaml where it is behind.

    Example: headrace check examples/fashion-mnist.yaml
    """
    from flows.terminal.output import show

    if schema is not None:
        from pipelines.recipes.recipe import json_schema

        show(json_schema(schema.value), [], as_json=True)
        return
    from flows.catalog.check import as_document, exit_code, lines
    from flows.catalog.check import check as look

    found = look(here(), names or [])
    show(as_document(found), lines(found), as_json=as_json)
    raise typer.Exit(exit_code(found))


def _bring(kind: Kind, names: Sequence[str], *, force: str | None, commit: bool, push: bool, as_json: bool) -> None:
    from flows.run.verbs import bring_up_to_date
    from flows.terminal.output import show

    done = bring_up_to_date(here(), kind, names, force=force, commit=commit, push=push)
    show(done.document, done.lines, as_json=as_json)
    raise typer.Exit(done.exit_code)
