"""What several verbs take, and the workspace that they work in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from flows.cli.completion import offer_indexes, offer_models, offer_models_and_indexes, offer_names, offer_recipes

if TYPE_CHECKING:
    from core.workspace import Workspace


Kind = Literal["recipe", "index"]  # core.workspace has the same, and loads more
Names = Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", show_default=False, autocompletion=offer_names)]
Recipes = Annotated[
    list[str] | None, typer.Argument(metavar="[NAME]...", show_default=False, autocompletion=offer_recipes)
]
Indexes = Annotated[
    list[str] | None, typer.Argument(metavar="[NAME]...", show_default=False, autocompletion=offer_indexes)
]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on stdout; logs and progress go to stderr.")]
Force = Annotated[
    str | None, typer.Option(metavar="STAGE", help="Run this stage though nothing that it reads changed.")
]
Forced = Annotated[
    str | None, typer.Option("--force", metavar="REASON", help="Without evidence; the reason stays in the history.")
]
Commit = Annotated[bool, typer.Option("--commit", help="Commit settings, locks and dvc.lock when it ends well.")]
Push = Annotated[bool, typer.Option("--push", help="Commit, then dvc push and git push where remotes are set.")]
Task = Annotated[str | None, typer.Option(help="What to learn; by default what suits.", show_default=False)]
Text = Annotated[str | None, typer.Option(help="The column of texts.", show_default=False)]
Label = Annotated[str | None, typer.Option(help="The column of labels.", show_default=False)]
Base = Annotated[str | None, typer.Option(help="What to start from: a model, or an architecture.", show_default=False)]
Index = Annotated[str, typer.Argument(help="An index.", show_default=False, autocompletion=offer_indexes)]
Question = Annotated[str, typer.Argument(show_default=False)]
Filters = Annotated[
    list[str] | None, typer.Option("--filter", metavar="K=V", help="Only passages with this; may be repeated.")
]
Model = Annotated[str, typer.Argument(help="A registered model.", show_default=False, autocompletion=offer_models)]
ModelOrIndex = Annotated[
    str,
    typer.Argument(
        metavar="MODEL|INDEX",
        help="A registered model, or an index.",
        show_default=False,
        autocompletion=offer_models_and_indexes,
    ),
]


def here() -> Workspace:
    """The workspace that holds the current directory. Raises BadRequest outside of one."""
    from core.workspace import find_workspace

    return find_workspace()


def below(workspace: Workspace, path: Path) -> str:
    """A path as it is called in the workspace."""
    return path.relative_to(workspace.root).as_posix()
