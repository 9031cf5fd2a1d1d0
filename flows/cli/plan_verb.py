"""The verb that says what a training needs, before it."""

from __future__ import annotations

from typing import Annotated

import typer

from core.errors import BadRequest
from flows.cli.completion import offer_recipes
from flows.cli.options import AsJson, Base, Label, Task, Text, here
from flows.terminal import output


def plan(
    name: Annotated[
        str | None, typer.Argument(help="A live recipe.", show_default=False, autocompletion=offer_recipes)
    ] = None,
    source: Annotated[
        str | None, typer.Option(help="Your data, before there is a recipe, as for `new`.", show_default=False)
    ] = None,
    task: Task = None,
    text: Text = None,
    label: Label = None,
    base: Base = None,
    as_json: AsJson = False,
) -> None:
    """Say what a training will need, before it: parameters, memory and time of each method, what fits, what suits.

    Tries some steps of each method on rows of the data, in processes of their own; nothing of the workspace changes.

    Example: headrace plan film-reviews

    Example: headrace plan --source tickets.csv
    """
    from flows.catalog.live import chosen
    from flows.planning.plan_training import plan as of_recipe
    from flows.planning.plan_training import plan_source
    from flows.planning.planned_lines import planned_document, planned_lines
    from flows.starting.choose import Wishes

    if (name is None) == (source is None):
        raise BadRequest("say what to plan: NAME, a live recipe, or --source DATA, before there is one.")
    if source is not None:
        planned = plan_source(here(), source, Wishes.of(task, text, label, base))
    elif (task, text, label, base) != (None,) * 4:
        raise BadRequest("--task, --text, --label and --base belong to --source: a recipe says them itself.")
    else:
        [job] = chosen(here(), [str(name)], "recipe")
        planned = of_recipe(job)
    output.show(planned_document(planned), planned_lines(planned), as_json=as_json)
