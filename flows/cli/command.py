"""`headrace`: the verbs. Each imports what it needs when it is called, so that --help costs nothing."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from core.workspace import Kind, Workspace

app = typer.Typer(
    name="headrace",
    help="From data to a registered model, and from documents to a searchable index.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


class KindOption(Enum):
    RECIPE = "recipe"
    INDEX = "index"


Names = Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on stdout; logs and progress go to stderr.")]
Force = Annotated[
    str | None, typer.Option(metavar="STAGE", help="Run this stage though nothing that it reads changed.")
]
Commit = Annotated[bool, typer.Option("--commit", help="Commit dvc.lock and the .lock files when it ends well.")]
Push = Annotated[bool, typer.Option("--push", help="Commit, then dvc push and git push where remotes are set.")]


@app.command()
def run(
    names: Names = None, force: Force = None, commit: Commit = False, push: Push = False, as_json: AsJson = False
) -> None:
    """Bring recipes up to date: every live one, or those named.

    Ends with metrics and their intervals, the baselines', the model's version and what the gates say. Exit code 4: a
    gate refused.

    Example: headrace run film-reviews --force train
    """
    _run("recipe", names or [], force=force, commit=commit or push, push=push, as_json=as_json)


@app.command()
def index(
    names: Names = None, force: Force = None, commit: Commit = False, push: Push = False, as_json: AsJson = False
) -> None:
    """Bring indexes up to date: every live one, or those named.

    Example: headrace index bbc-news
    """
    _run("index", names or [], force=force, commit=commit or push, push=push, as_json=as_json)


@app.command()
def status(names: Names = None, as_json: AsJson = False) -> None:
    """Say what is stale and why, what runs now, what is champion and what is live.

    Example: headrace status film-reviews
    """
    from flows.catalog.status import lines
    from flows.catalog.status import status as look
    from flows.terminal.output import show

    found = look(_workspace(), names or [])
    show(found, lines(found), as_json=as_json)


@app.command()
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

    job = add(_workspace(), name, file)
    addresses = outward(job.settings_file, job.kind, job.workspace.root)
    made = [_below(job.workspace, path) for path in (job.settings_file, job.lock_file)]
    verb = "run" if job.kind == "recipe" else "index"
    said = f"{job.kind} {name} is live: {', '.join(made)}, params.yaml. `headrace {verb} {name}` brings it up to date."
    document = {"name": name, "kind": job.kind, "files": [*made, "params.yaml"], "outward": addresses}
    show(document, [said, *(f"  it {line}" for line in addresses)], as_json=as_json)


@app.command()
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

    job = remove(_workspace(), name, kind.value if kind else None)
    file = _below(job.workspace, job.settings_file)
    said = (
        f"{job.kind} {name} is not live any more; its files stay. `headrace new {name} --from {file}` brings it back."
    )
    show({"name": name, "kind": job.kind, "settings": file}, [said], as_json=as_json)


@app.command()
def lock(names: Names = None, as_json: AsJson = False) -> None:
    """Look whether sources, bases and aliases moved, and refresh the .lock files. Starts nothing.

    Example: headrace lock && dvc repro
    """
    from flows.catalog.live import chosen
    from flows.catalog.refresh import refresh
    from flows.terminal.output import show

    workspace = _workspace()
    moved = {_below(workspace, job.lock_file): refresh(job) for job in chosen(workspace, names or [])}
    lines = [f"{file}: {each}" for file, changes in moved.items() for each in changes]
    show({"moved": moved}, lines or ["nothing moved"], as_json=as_json)


@app.command()
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
        from pipelines.recipes.json_schema import json_schema

        show(json_schema(schema.value), [], as_json=True)
        return
    from flows.catalog.check import as_document, exit_code, lines
    from flows.catalog.check import check as look

    found = look(_workspace(), names or [])
    show(as_document(found), lines(found), as_json=as_json)
    raise typer.Exit(exit_code(found))


@app.command()
def query(
    index: Annotated[str, typer.Argument(help="An index.", show_default=False)],
    question: Annotated[str, typer.Argument(show_default=False)],
    limit: Annotated[
        int | None, typer.Option("-k", "--limit", metavar="N", help="How many passages.", show_default="search.limit")
    ] = None,
    filters: Annotated[
        list[str] | None, typer.Option("--filter", metavar="K=V", help="Only passages with this; may be repeated.")
    ] = None,
    mode: Annotated[
        str | None, typer.Option(metavar="MODE", help="dense, sparse or hybrid.", show_default="search.mode")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print the passages nearest to a question, best first, with their scores and sources.

    Example: headrace query bbc-news "Who won the Best Film award?" -k 3 --filter section=entertainment
    """
    from dataclasses import asdict

    from flows.terminal.inputs import parse_filters
    from flows.terminal.output import show
    from flows.terminal.results import passage_lines
    from pipelines.search.ask.query import query as ask

    asked = parse_filters(filters or [])
    found = ask(_workspace(), index, question, limit, asked, access=None, mode=mode)
    lines = [line for rank, each in enumerate(found, start=1) for line in passage_lines(rank, each)]
    show({"passages": [asdict(each) for each in found]}, lines or ["no passage matches"], as_json=as_json)


@app.command()
def answer(
    index: Annotated[str, typer.Argument(help="An index.", show_default=False)],
    question: Annotated[str, typer.Argument(show_default=False)],
    limit: Annotated[
        int | None, typer.Option("-k", "--limit", metavar="N", help="From how many.", show_default="search.limit")
    ] = None,
    filters: Annotated[
        list[str] | None, typer.Option("--filter", metavar="K=V", help="Only passages with this; may be repeated.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Answer a question in sentences that cite passages, or say that it is not in these documents.

    The sentences are the passages' own, or those of the index's answer.model; every citation is checked.

    Example: headrace answer bbc-news "Who won the Best Film award?"
    """
    from dataclasses import asdict

    from flows.terminal.inputs import parse_filters
    from flows.terminal.output import show
    from flows.terminal.results import answer_lines
    from pipelines.search.ask.answer import stream

    told = stream(_workspace(), index, question, access=None, limit=limit, filters=parse_filters(filters or []))
    if not as_json:
        show({}, answer_lines(told), as_json=False)
        return
    *_, whole = told
    assert not isinstance(whole, str)
    show(asdict(whole), [], as_json=True)


@app.command()
def predict(
    model: Annotated[str, typer.Argument(help="MODEL, MODEL/VERSION or MODEL@ALIAS.", show_default=False)],
    inputs: Annotated[list[str] | None, typer.Argument(metavar="[INPUT]...", show_default=False)] = None,
    as_json: AsJson = False,
) -> None:
    """Ask a registered model: its champion, or the version or alias named.

    INPUT is a text, or a picture's path. A .txt file gives an input a line, a .csv, .tsv or .jsonl one a row (of the
    column that the task reads); so does @FILE, whatever its name. Without INPUT, or for -, the lines of stdin.

    Example: headrace predict film-reviews "A quiet, moving film." reviews.csv
    """
    from flows.promotion.move_champion import judge_of
    from flows.terminal.inputs import parse_model, read_inputs
    from flows.terminal.output import say, show
    from flows.terminal.results import prediction_line
    from registry.version.predict import load

    name, version = parse_model(model)
    workspace = _workspace()
    loaded = load(name, version, workspace.var, judge_of(workspace))
    if loaded.remark:
        say(loaded.remark)
    about = loaded.answerer.about
    given = read_inputs(inputs or [], content=about.content, media=about.media is not None, stdin=sys.stdin)
    answers = loaded.answer(given, local_files=True)
    rows = [{"input": one, **row} for one, row in zip(given, answers.rows, strict=True)]
    document = {"model": name, "version": answers.version.version, "predictions": rows}
    show(document, [prediction_line(row) for row in rows], as_json=as_json)


@app.command()
def serve(
    models: Annotated[list[str] | None, typer.Argument(metavar="[MODEL]...", show_default=False)] = None,
    host: Annotated[str, typer.Option(help="Where to listen; by default this machine only.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0: any free one.")] = 0,
    workers: Annotated[
        int | None, typer.Option(min=1, max=256, help="Requests answered at once.", show_default="cores, up to 8")
    ] = None,
    without_keys: Annotated[
        bool,
        typer.Option("--without-keys", help="Let other machines ask without a key, by this one's address or name."),
    ] = False,
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Another name of this machine, to ask without a key by.", show_default=False),
    ] = None,
    session_key: Annotated[
        bool, typer.Option("--session-key", help="Want a key, made for this run and printed in the page's address.")
    ] = False,
    new_key: Annotated[
        str | None, typer.Option("--new-key", metavar="NAME", help="Make a key, print it once, and serve nothing.")
    ] = None,
    labels: Annotated[
        str, typer.Option(metavar="A,B", help="Of a new key: labels of the documents that it may see.")
    ] = "",
    rights: Annotated[
        str, typer.Option(metavar="A,B", help="Of a new key: search, answer, predict, write, metrics.")
    ] = "search,answer,predict",
    per_minute: Annotated[int, typer.Option(metavar="N", help="Of a new key: requests a minute.")] = 600,
    sees_everything: Annotated[
        bool, typer.Option("--sees-everything", help="Of a new key: whatever a document's labels are.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Answer over HTTP with all published indexes and the champions of these models, or of all, until Ctrl-C.

    A page to ask at /, and POST /indexes/INDEX/search and /answer, /models/MODEL/predict; /openapi.json has the rest.
    A new champion or release takes over within seconds, without a restart. Keys stand in var/keys.yaml (or
    HEADRACE_KEYS), as hashes; while there are none, only this machine may ask: every user of it, as the operator. On a
    machine with other users take --session-key.

    Example: headrace serve film-reviews --port 8000
    """
    from flows.promotion.move_champion import judge_of
    from flows.terminal.output import show
    from flows.terminal.results import new_key_lines, served_lines

    workspace = _workspace()
    if new_key is not None:
        from serving.http.api_keys import key_file
        from serving.http.api_keys import new_key as make

        file = key_file(workspace)
        key = make(
            file, new_key, _listed(labels), _listed(rights),
            sees_everything=sees_everything, requests_per_minute=per_minute,
        )  # fmt: skip
        show({"name": new_key, "key": key, "file": str(file)}, new_key_lines(new_key, key, file), as_json=as_json)
        return
    from serving.http.api_keys import made_up
    from serving.http.threads import WORKERS
    from serving.server import Callers
    from serving.server import serve as answer

    answer(
        workspace, judge_of(workspace), models or [], host=host, port=port, workers=workers or WORKERS,
        callers=Callers(without_keys, made_up() if session_key else None, allowed_host or ()),
        tell=lambda url, served, indexes, key: show(
            {"url": url, "models": served, "indexes": indexes, **({"key": key} if key else {})},
            served_lines(url, served, indexes, key), as_json=as_json,
        ),
    )  # fmt: skip


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


@app.command()
def promote(
    model: Annotated[str, typer.Argument(help="A registered model.", show_default=False)],
    version: Annotated[str, typer.Argument(help="A version's number, or its alias.", show_default=False)],
    force: Annotated[
        str | None,
        typer.Option("--force", metavar="REASON", help="Without evidence; the reason stays in the history."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Move champion to a version, if its evidence allows it (exit code 4 when not), and record it.

    Example: headrace promote film-reviews 3
    """
    from flows.promotion.move_champion import promote as move
    from flows.terminal.output import show

    moved = move(_workspace(), model, version, forced=force)
    said = f"{model}: champion moved from {moved.before or 'none'} to {moved.version.version}"
    if moved.before == moved.version.version:
        said = f"{model}: champion is version {moved.before} already"
    show({"model": model, "from": moved.before, "to": moved.version.version}, [said], as_json=as_json)


@app.command()
def rollback(
    model: Annotated[
        str, typer.Argument(metavar="MODEL|INDEX", help="A registered model, or an index.", show_default=False)
    ],
    as_json: AsJson = False,
) -> None:
    """Return to the champion, or an index's release, before the present one, in one step, and record it.

    An index comes back to the later release by a second rollback. Of a model and an index of one name, the index.

    Example: headrace rollback film-reviews
    """
    from flows.promotion import move_release
    from flows.terminal.output import show

    if move_release.is_index(_workspace(), model):
        turned = move_release.rollback(_workspace(), model)
        said = f"{model}: release {turned.live} is live again, {turned.before} before"
        show({"index": model, "from": turned.before, "to": turned.live}, [said], as_json=as_json)
        return
    from flows.promotion.move_champion import rollback as back

    moved = back(_workspace(), model)
    said = f"{model}: champion is version {moved.version.version} again, {moved.before} before"
    show({"model": model, "from": moved.before, "to": moved.version.version}, [said], as_json=as_json)


@app.command()
def history(
    model: Annotated[str, typer.Argument(help="A registered model.", show_default=False)],
    at: Annotated[str | None, typer.Option(metavar="TIME", help="Who was champion then.", show_default=False)] = None,
    verify: Annotated[bool, typer.Option("--verify", help="Exit 3 when an entry was altered or removed.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say what was champion, when, by whom, on which evidence, forced or not; of an index, its releases.

    Example: headrace history film-reviews --at 2026-11-24T15:00
    """
    from core.errors import BadData
    from flows.promotion import move_champion, move_release
    from flows.terminal.output import show

    if move_release.is_index(_workspace(), model) and at is None and not verify:
        found = move_release.history(_workspace(), model)
        show({"index": model, "releases": found}, move_release.history_lines(found), as_json=as_json)
        return
    chain = move_champion.history(_workspace(), model)
    when = move_champion.parse_time(at) if at is not None else None
    show(move_champion.history_document(chain, when), move_champion.history_lines(chain, when), as_json=as_json)
    if verify and chain.faults:
        raise typer.Exit(BadData.exit_code)


@app.command()
def lineage(
    model: Annotated[
        str | None, typer.Argument(help="MODEL, MODEL/VERSION or MODEL@ALIAS.", show_default=False)
    ] = None,
    source: Annotated[str | None, typer.Option(help="What came from this source?", show_default=False)] = None,
    row: Annotated[str | None, typer.Option(help="What came from the row with this id?", show_default=False)] = None,
    base: Annotated[str | None, typer.Option(help="What came from this base?", show_default=False)] = None,
    svg: Annotated[Path | None, typer.Option(help="Draw it into this file.", show_default=False)] = None,
    as_json: AsJson = False,
) -> None:
    """Walk from a version to its run, stages, data, source, base and code, hashing each again; exit 1 on a mismatch.

    With --source, --row or --base the other way: which versions and indexes came from it.

    Example: headrace lineage film-reviews@champion
    """
    from flows.lineage.trace import show_backward, show_forward

    if model is None:
        raise typer.Exit(show_forward(_workspace(), source=source, row=row, base=base, as_json=as_json))
    raise typer.Exit(show_backward(_workspace(), model, svg=svg, as_json=as_json))


@app.command()
def reproduce(
    model: Annotated[str, typer.Argument(help="MODEL/VERSION, or MODEL@ALIAS.", show_default=False)],
    keep: Annotated[Path | None, typer.Option(help="Do it in this folder, and leave it there.")] = None,
    apply_patch: Annotated[
        bool, typer.Option("--apply-patch", help="Run what its commit lacked, though no trusted key signed it.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make a version again from its commit and its data, and compare weights and metrics; exit 1 when they differ.

    Its code runs as you. What its commit lacked (code.patch) is shown first, unless HEADRACE_TRUSTED_KEY's key signed
    it.

    Example: headrace reproduce film-reviews/1
    """
    from dataclasses import asdict

    from flows.lineage.reproduce import lines
    from flows.lineage.reproduce import reproduce as again
    from flows.terminal.inputs import parse_model
    from flows.terminal.output import show

    done = again(_workspace(), *parse_model(model), keep=keep, apply_patch=apply_patch)
    show({**asdict(done), "equal": done.equal}, lines(done), as_json=as_json)
    raise typer.Exit(0 if done.equal else 1)


@app.command()
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
    from flows.terminal.output import show

    found = free(_workspace(), dry_run=dry_run)
    show(document(found, dry_run=dry_run), lines(found, dry_run=dry_run), as_json=as_json)


@app.command()
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
    from flows.terminal.output import show

    report = take_out(_workspace(), row, dry_run=dry_run)
    show(document(report, dry_run=dry_run), lines(report, dry_run=dry_run), as_json=as_json)


@app.command()
def schedule() -> None:
    """Serve the schedules of all live recipes and indexes and watch promotions, until Ctrl-C.

    Example: headrace schedule
    """
    from flows.schedule.scheduler import serve

    serve(_workspace())


@app.command()
def stop(as_json: AsJson = False) -> None:
    """End this workspace's servers.

    Example: headrace stop
    """
    from flows.servers.servers import stop as end
    from flows.terminal.output import show

    ended = end(_workspace())
    show({"ended": ended}, [f"ended: {', '.join(ended)}" if ended else "no server was running"], as_json=as_json)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a verb and end the process with its exit code; a person's mistake gets one message and no traceback."""
    from core.errors import HeadraceError
    from core.terminal import guard
    from flows.terminal.output import show_fault

    given = list(sys.argv[1:] if arguments is None else arguments)
    guard()
    try:
        _obey(given)
    except HeadraceError as fault:
        show_fault(str(fault), fault.exit_code, as_json="--json" in given)
        sys.exit(fault.exit_code)


def _obey(given: list[str]) -> None:
    try:
        app(args=given, prog_name="headrace")
    except OSError:
        from core.errors import readable_faults

        with readable_faults(Path.cwd()):  # a full disk or a read-only folder is said in words
            raise


def _run(kind: Kind, names: Sequence[str], *, force: str | None, commit: bool, push: bool, as_json: bool) -> None:
    from flows.run.verbs import bring_up_to_date
    from flows.terminal.output import show

    done = bring_up_to_date(_workspace(), kind, names, force=force, commit=commit, push=push)
    show(done.document, done.lines, as_json=as_json)
    raise typer.Exit(done.exit_code)


def _workspace() -> Workspace:
    from core.workspace import find_workspace

    return find_workspace()


def _below(workspace: Workspace, path: Path) -> str:
    return path.relative_to(workspace.root).as_posix()
