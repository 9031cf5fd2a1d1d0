"""The verbs about recipes and indexes: brought up to date, looked at, made live, checked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from core.errors import BadRequest, HeadraceError
from flows.cli.completion import offer_names
from flows.cli.options import (
    AsJson,
    Base,
    Commit,
    Force,
    Indexes,
    Kind,
    Label,
    Names,
    Push,
    Recipes,
    Task,
    Text,
    below,
    here,
)
from flows.terminal.output import say, show

if TYPE_CHECKING:
    from core.workspace import Job


def run(
    names: Recipes = None, force: Force = None, commit: Commit = False, push: Push = False, as_json: AsJson = False
) -> None:
    """Bring recipes up to date: every live one, or those named.

    Ends with metrics and their intervals, the baselines', the model's version and what the gates say. Exit code 4: a
    gate refused.

    Example: headrace run film-reviews --force train
    """
    _bring("recipe", names or [], force=force, commit=commit or push, push=push, as_json=as_json)


def index(
    names: Indexes = None, force: Force = None, commit: Commit = False, push: Push = False, as_json: AsJson = False
) -> None:
    """Bring indexes up to date: every live one, or those named.

    Names the documents that could not be read. Exit code 4: a gate refused, or over a fifth of the documents is left
    out, or is gone; `--force publish` publishes such a release all the same.

    Example: headrace index bbc-news
    """
    _bring("index", names or [], force=force, commit=commit or push, push=push, as_json=as_json)


def status(names: Names = None, as_json: AsJson = False) -> None:
    """Say what is stale and why, what runs now, what is champion and what is live.

    Example: headrace status film-reviews
    """
    from flows.catalog.status import lines
    from flows.catalog.status import status as look

    found = look(here(), names or [])
    show(found, lines(found), as_json=as_json)


def new(
    name: Annotated[str, typer.Argument(help="What to call it.", show_default=False)],
    file: Annotated[
        Path | None, typer.Option("--from", help="A recipe or an index; examples/ has some.", show_default=False)
    ] = None,
    source: Annotated[
        str | None, typer.Option(help="Your data: a file, a folder, a URL, package://, s3:// ...", show_default=False)
    ] = None,
    task: Task = None,
    text: Text = None,
    label: Label = None,
    base: Base = None,
    as_json: AsJson = False,
) -> None:
    """Make a recipe or an index live: one that fits your data, or FILE as it is; with both, FILE's choices for them.

    --source looks at the data, says what it saw, and writes a commented settings file. Then, in any case, the .lock and
    the line in params.yaml. Says which addresses outside this machine are read from and sent to.

    Example: headrace new tickets --source tickets.csv
    """
    from flows.catalog.live import new as add
    from flows.catalog.named import outward

    workspace, said, saw = here(), list[str](), dict[str, Any]()
    if source is not None:
        from flows.starting.choose import Wishes
        from flows.starting.seen_lines import facts, seen_lines
        from flows.starting.start import start

        started = start(workspace, name, source, Wishes.of(task, text, label, base), example=file)
        said = [*seen_lines(started.seen, started.choice), *started.changed]
        saw = {"seen": facts(started.seen, started.choice), "changed": started.changed}
        job = started.job
    elif file is None or (task, text, label, base) != (None,) * 4:
        raise BadRequest(
            "say what it is made of: --source DATA (with --task, --text, --label and --base where that cannot tell), "
            f"or --from FILE. `headrace new {name} --source tickets.csv`"
        )
    else:
        job = add(workspace, name, file)
    addresses = outward(job.settings_file, job.kind, job.workspace.root)
    made = [below(job.workspace, path) for path in (job.settings_file, job.lock_file)]
    verb = "run" if job.kind == "recipe" else "index"
    said.append(
        f"{job.kind} {name} is live: {', '.join(made)}, params.yaml. `headrace {verb} {name}` brings it up to date."
    )
    document = {"name": name, "kind": job.kind, "files": [*made, "params.yaml"], "outward": addresses, **saw}
    show(document, [*said, *(f"  it {line}" for line in addresses)], as_json=as_json)


def retire(
    names: Annotated[
        list[str],
        typer.Argument(help="Live recipes or indexes.", show_default=False, autocompletion=offer_names),
    ],
    kind: Annotated[Kind | None, typer.Option(help="Where both have that name.", show_default=False)] = None,
    as_json: AsJson = False,
) -> None:
    """Take recipes or indexes out of the live ones. Their files and their versions stay.

    Example: headrace retire film-reviews bbc-news
    """
    from flows.catalog.live import retire as remove

    workspace = here()
    jobs = remove(workspace, names, kind)
    files = {job.name: below(workspace, job.settings_file) for job in jobs}
    said = [
        f"{job.kind} {job.name} is not live any more; its files stay. "
        f"`headrace new {job.name} --from {files[job.name]}` brings it back."
        for job in jobs
    ]
    retired = [{"name": job.name, "kind": job.kind, "settings": files[job.name]} for job in jobs]
    show({"retired": retired}, said, as_json=as_json)


def lock(names: Names = None, as_json: AsJson = False) -> None:
    """Look whether sources, bases and aliases moved, and refresh the .lock files. Starts nothing.

    Example: headrace lock && dvc repro
    """
    from flows.catalog.live import chosen
    from flows.catalog.refresh import refresh

    workspace = here()
    moved = {below(workspace, job.lock_file): refresh(job) for job in chosen(workspace, names or [])}
    lines = [f"{file}: {each}" for file, changes in moved.items() for each in changes]
    show({"moved": moved}, lines or ["nothing moved"], as_json=as_json)


def check(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME|FILE]...", show_default=False, autocompletion=offer_names)
    ] = None,
    schema: Annotated[Kind | None, typer.Option(help="Print its JSON Schema instead.", show_default=False)] = None,
    as_json: AsJson = False,
) -> None:
    """Report all that can be known before work starts: settings, sources, bases, extras, disk, servers, params.yaml.

    Without NAME every live recipe and index; FILE is one that is not live. Corrects params.yaml where it is behind.

    Example: headrace check examples/fashion-mnist.yaml
    """
    if schema is not None:
        from pipelines.recipes.recipe import json_schema

        show(json_schema(schema), [], as_json=True)
        return
    from flows.catalog.check import check as look
    from flows.catalog.check import exit_code, lines

    found = look(here(), names or [])
    show({"findings": [asdict(each) for each in found]}, lines(found), as_json=as_json)
    raise typer.Exit(exit_code(found))


def _bring(kind: Kind, names: Sequence[str], *, force: str | None, commit: bool, push: bool, as_json: bool) -> None:
    """Every live one of the kind without names. Raises BadRequest for settings with mistakes before anything starts."""
    from core.errors import GATE_REFUSED
    from flows.catalog.live import chosen
    from flows.catalog.refresh import refresh
    from flows.run.commit import commit_and_push
    from flows.run.run import run as bring
    from flows.servers.servers import link
    from flows.terminal.results import lines, result

    workspace = here()
    jobs = chosen(workspace, names, kind)
    with _telling_what_stays(jobs):
        for job in jobs:
            for moved in refresh(job):
                say(f"{below(workspace, job.lock_file)}: {moved}")
        outcome = bring(workspace, kind, [job.name for job in jobs], force=force)
    for job in jobs:
        if any(each.state == "failed" and each.address.endswith(f"@{job.name}") for each in outcome.stages):
            _tell_what_stays(job)
    results = [result(job) for job in jobs]
    links = {name: link(workspace, address) for name, address in sorted(outcome.links.items())}
    document: dict[str, Any] = {**asdict(outcome), "links": links, "results": results}
    said: list[str] = []
    if outcome.exit_code in (0, GATE_REFUSED):
        said += [line for each in results for line in lines(each)]
        if commit:
            kept = commit_and_push(workspace, kind, [job.name for job in jobs], push=push)
            document["kept"] = asdict(kept)
            said.append(f"commit {kept.commit[:10]}: {', '.join(kept.files)}" if kept.commit else "nothing to commit")
            said += [f"  not in it, though the run used it: {', '.join(kept.left)}"] if kept.left else []
    show(document, [*said, *(f"{name} page: {url}" for name, url in links.items())], as_json=as_json)
    raise typer.Exit(outcome.exit_code)


@contextmanager
def _telling_what_stays(jobs: Iterable[Job]) -> Iterator[None]:
    try:
        yield
    except HeadraceError:
        for job in jobs:
            _tell_what_stays(job)
        raise


def _tell_what_stays(job: Job) -> None:
    """An index that stopped goes on answering as it did."""
    from flows.promotion.move_release import stays_live

    if job.kind == "index" and (line := stays_live(job)):
        say(line)
