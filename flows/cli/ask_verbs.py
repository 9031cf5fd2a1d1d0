"""The verbs that ask: an index, a registered model, or both over HTTP, with keys."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Annotated

import typer

from flows.cli.completion import offer_models
from flows.cli.options import AsJson, Filters, Index, Question, here
from flows.terminal.output import say, show


def query(
    index: Index,
    question: Question,
    limit: Annotated[
        int | None, typer.Option("-k", "--limit", metavar="N", help="How many passages.", show_default="search.limit")
    ] = None,
    filters: Filters = None,
    mode: Annotated[
        str | None, typer.Option(metavar="MODE", help="dense, sparse or hybrid.", show_default="search.mode")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Print the passages nearest to a question, best first, with their scores and sources.

    Example: headrace query bbc-news "Who won the Best Film award?" -k 3 --filter section=entertainment
    """
    from flows.terminal.inputs import parse_filters
    from flows.terminal.passage_text import passage_lines
    from pipelines.search.ask.query import query as ask

    asked = parse_filters(filters or [])
    found = ask(here(), index, question, limit, asked, access=None, mode=mode)
    lines = [line for rank, each in enumerate(found, start=1) for line in passage_lines(rank, each)]
    show({"passages": [asdict(each) for each in found]}, lines or ["no passage matches"], as_json=as_json)


def answer(
    index: Index,
    question: Question,
    limit: Annotated[
        int | None, typer.Option("-k", "--limit", metavar="N", help="From how many.", show_default="search.limit")
    ] = None,
    filters: Filters = None,
    as_json: AsJson = False,
) -> None:
    """Answer a question in sentences that cite passages, or say that it is not in these documents.

    The sentences are the passages' own, or those of the index's answer.model; every citation is checked.

    Example: headrace answer bbc-news "Who won the Best Film award?"
    """
    from flows.terminal.inputs import parse_filters
    from flows.terminal.passage_text import answer_lines
    from pipelines.search.ask.answer import stream

    told = stream(here(), index, question, access=None, limit=limit, filters=parse_filters(filters or []))
    if not as_json:
        show({}, answer_lines(told), as_json=False)
        return
    *_, whole = told
    assert not isinstance(whole, str)
    show(asdict(whole), [], as_json=True)


def predict(
    model: Annotated[
        str,
        typer.Argument(help="MODEL, MODEL/VERSION or MODEL@ALIAS.", show_default=False, autocompletion=offer_models),
    ],
    inputs: Annotated[list[str] | None, typer.Argument(metavar="[INPUT]...", show_default=False)] = None,
    as_json: AsJson = False,
) -> None:
    """Ask a registered model: its champion, or the version or alias named.

    INPUT is a text, or a picture's path. A .txt file gives an input a line, a table (csv, jsonl, parquet, xlsx) one a
    row, read as the recipe reads its source; so does @FILE, whatever its name. Without INPUT, or for -, the lines of
    stdin.

    Example: headrace predict film-reviews "A quiet, moving film." reviews.csv
    """
    from flows.promotion.move_champion import judge_of
    from flows.terminal.inputs import parse_model, read_as, read_inputs
    from flows.terminal.results import prediction_line
    from registry.version.predict import load, settings_of

    name, version = parse_model(model)
    workspace = here()
    loaded = load(name, version, workspace.var, judge_of(workspace))
    if loaded.remark:
        say(loaded.remark)
    about, plain = loaded.answerer.about, loaded.answerer.plain is not None
    given = read_inputs(
        inputs or [], columns=about.inputs, media=about.media is not None, plain=plain, stdin=sys.stdin,
        trained_on=lambda: read_as(settings_of(loaded.version, workspace.var)),
    )  # fmt: skip
    answers = loaded.answer(given, local_files=True)
    rows = [{"input": one, **row} for one, row in zip(given, answers.rows, strict=True)]
    document = {"model": name, "version": answers.version.version, "predictions": rows}
    show(document, [prediction_line(row) for row in rows], as_json=as_json)


def serve(
    models: Annotated[
        list[str] | None, typer.Argument(metavar="[MODEL]...", show_default=False, autocompletion=offer_models)
    ] = None,
    host: Annotated[str, typer.Option(help="Where to listen; by default this machine only.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0: the one it had before, or any free one.")] = 0,
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
    as_json: AsJson = False,
) -> None:
    """Answer over HTTP with all published indexes and the champions of these models, or of all, until Ctrl-C.

    A page to ask at /; POST /indexes/INDEX/search and /answer, /models/MODEL/predict; all calls at /docs, in a browser.
    A new champion or release takes over within seconds, without a restart. Keys stand in var/keys.yaml (or
    HEADRACE_KEYS), as hashes; while there are none, only this machine may ask: every user of it, as the operator. On a
    machine with other users take --session-key.

    Example: headrace serve film-reviews --port 8000
    """
    from functools import partial

    from flows.promotion.move_champion import judge_of
    from flows.run.index_process import index_process
    from flows.terminal.results import served_lines
    from serving.http.api_keys import made_up
    from serving.http.threads import WORKERS
    from serving.server import Callers
    from serving.server import serve as answer

    workspace = here()
    answer(
        workspace, judge_of(workspace), models or [], partial(index_process, workspace),
        host=host, port=port, workers=workers or WORKERS,
        callers=Callers(without_keys, made_up() if session_key else None, allowed_host or ()),
        tell=lambda url, served, indexes, key: show(
            {"url": url, "models": served, "indexes": indexes, **({"key": key} if key else {})},
            served_lines(url, served, indexes, key), as_json=as_json,
        ),
    )  # fmt: skip


def key(
    name: Annotated[str, typer.Argument(help="Whose key it is.", show_default=False)],
    labels: Annotated[str, typer.Option(metavar="A,B", help="Labels of the documents that it may see.")] = "",
    rights: Annotated[
        str, typer.Option(metavar="A,B", help="Any of search, answer, predict, write, metrics.")
    ] = "search,answer,predict",
    per_minute: Annotated[int, typer.Option(metavar="N", help="Requests a minute.")] = 600,
    sees_everything: Annotated[
        bool, typer.Option("--sees-everything", help="It sees all documents, whatever their labels are.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make a key for the HTTP API; it is printed this once.

    var/keys.yaml (or HEADRACE_KEYS) keeps its hash. A server that runs knows it at once, and who is taken out is out.

    Example: headrace key intranet --labels staff --rights search,answer
    """
    from flows.terminal.results import new_key_lines
    from serving.http.api_keys import key_file, new_key

    file = key_file(here())
    made = new_key(
        file, name, _listed(labels), _listed(rights), sees_everything=sees_everything, requests_per_minute=per_minute
    )
    show({"name": name, "key": made, "file": str(file)}, new_key_lines(name, made, file), as_json=as_json)


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]
