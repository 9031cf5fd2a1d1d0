"""The verbs about versions: which one is champion or live, where it came from, made again."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from flows.cli.completion import offer_models
from flows.cli.options import AsJson, Forced, Model, ModelOrIndex, here
from flows.terminal.output import show

_SIDE = "MODEL/VERSION, MODEL@ALIAS, INDEX/RELEASE, INDEX@live or INDEX@previous."


def promote(
    model: Model,
    version: Annotated[str, typer.Argument(help="A version's number, or its alias.", show_default=False)],
    force: Forced = None,
    as_json: AsJson = False,
) -> None:
    """Move champion to a version, if its evidence allows it (exit code 4 when not), and record it.

    Example: headrace promote film-reviews 3
    """
    from flows.promotion.move_champion import promote as move

    moved = move(here(), model, version, forced=force)
    said = f"{model}: champion moved from {moved.before or 'none'} to {moved.version.version}"
    if moved.before == moved.version.version:
        said = f"{model}: champion is version {moved.before} already"
    show({"model": model, "from": moved.before, "to": moved.version.version}, [said], as_json=as_json)


def rollback(
    model: ModelOrIndex,
    force: Forced = None,
    as_json: AsJson = False,
) -> None:
    """Return to the champion, or an index's release, before the present one, in one step, and record it.

    A champion whose evidence fails the gates that its recipe has now is returned to with --force only (exit code 4).
    An index comes back to the later release by a second rollback. Of a model and an index of one name, the index.

    Example: headrace rollback film-reviews
    """
    from core.errors import BadRequest
    from flows.promotion import move_release

    if move_release.is_index(here(), model):
        if force is not None:
            raise BadRequest(f"{model} is an index, whose releases need no --force. Leave it out.")
        turned = move_release.rollback(here(), model)
        said = f"{model}: release {turned.live} is live again, {turned.previous} before"
        show({"index": model, "from": turned.previous, "to": turned.live}, [said], as_json=as_json)
        return
    from flows.promotion.move_champion import rollback as back

    moved = back(here(), model, forced=force)
    said = f"{model}: champion is version {moved.version.version} again, {moved.before} before"
    show({"model": model, "from": moved.before, "to": moved.version.version}, [said], as_json=as_json)


def history(
    model: ModelOrIndex,
    at: Annotated[str | None, typer.Option(metavar="TIME", help="Who was champion then.", show_default=False)] = None,
    verify: Annotated[bool, typer.Option("--verify", help="Exit 3 when an entry was altered or removed.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say what was champion, when, by whom, on which evidence, forced or not; of an index, its releases.

    Example: headrace history film-reviews --at 2026-11-24T15:00
    """
    from core.errors import BadData
    from flows.promotion import move_champion, move_release

    if move_release.is_index(here(), model) and at is None and not verify:
        found = move_release.history(here(), model)
        show({"index": model, "releases": found}, move_release.history_lines(found), as_json=as_json)
        return
    chain = move_champion.history(here(), model)
    when = move_champion.parse_time(at) if at is not None else None
    show(move_champion.history_document(chain, when), move_champion.history_lines(chain, when), as_json=as_json)
    if verify and chain.faults:
        raise typer.Exit(BadData.exit_code)


def lineage(
    model: Annotated[
        str | None,
        typer.Argument(help="MODEL, MODEL/VERSION or MODEL@ALIAS.", show_default=False, autocompletion=offer_models),
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
        raise typer.Exit(show_forward(here(), source=source, row=row, base=base, as_json=as_json))
    raise typer.Exit(show_backward(here(), model, svg=svg, as_json=as_json))


def compare(
    first: Annotated[str, typer.Argument(help=_SIDE, show_default=False)],
    second: Annotated[str, typer.Argument(help="The one to compare with it.", show_default=False)],
    rows: Annotated[int, typer.Option(metavar="N", min=0, help="How many rows or questions where they differ.")] = 10,
    picture: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Draw the differences into this file.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare what two versions answered to the same test rows, or two releases of an index to the same questions.

    The second minus the first, with intervals, by metric and by label; the rows or questions where they differ;
    settings, data, documents and code that differ. Of a model and an index of one name, the index.

    Example: headrace compare film-reviews/1 film-reviews@champion --picture compared.png

    Example: headrace compare bbc-news@previous bbc-news@live
    """
    from core.errors import BadRequest
    from flows.promotion import move_release
    from flows.terminal.inputs import parse_model
    from flows.terminal.picture_file import picture_file
    from pipelines.evidence.forest import forest

    workspace, file = here(), picture_file(picture)
    sides = [parse_model(each) for each in (first, second)]
    indexes = [move_release.is_index(workspace, name) for name, _ in sides]
    if indexes[0] != indexes[1]:
        raise BadRequest(f"{first} and {second}: one is an index, the other a model. Name two of a kind.")
    if all(indexes):
        from flows.terminal.compared_release_lines import release_document, release_lines
        from pipelines.evidence.compare_releases import compare_releases
        from pipelines.evidence.judged_releases import read

        named = [(name, move_release.resolve_release(workspace, name, which)) for name, which in sides]
        releases = compare_releases(*(read(workspace, *each) for each in named))
        if file is not None:
            forest(releases.apart, releases.first.short, releases.second.short, file, of=releases.kind)
        show(release_document(releases), release_lines(releases, most=rows), as_json=as_json)
        return
    from flows.terminal.compared_lines import compared_document, compared_lines
    from pipelines.evidence.compare import compare as side_by_side
    from registry.store.versions import resolve

    found = side_by_side(workspace, *(resolve(*each, workspace.var) for each in sides), most=rows)
    if file is not None:
        forest(found.apart, found.first.called, found.second.called, file)
    show(compared_document(found), compared_lines(found), as_json=as_json)


def reproduce(
    model: Annotated[
        str, typer.Argument(help="MODEL/VERSION, or MODEL@ALIAS.", show_default=False, autocompletion=offer_models)
    ],
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
    from flows.lineage.reproduce import lines
    from flows.lineage.reproduce import reproduce as again
    from flows.terminal.inputs import parse_model

    done = again(here(), *parse_model(model), keep=keep, apply_patch=apply_patch)
    show({**asdict(done), "equal": done.equal}, lines(done), as_json=as_json)
    raise typer.Exit(0 if done.equal else 1)
