"""The pictures of pages in docs/images: `python -m tests.shots INDEX QUESTION` in a workspace, with Debian's Chromium.

The workspace has a model with versions, a run that a gate refused, and the index; its servers are up, and
`headrace serve` answers on port 8000. Each page is taken on a screen (NAME.png) and on a phone (NAME-phone.png).
"""

from __future__ import annotations

import io
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Page, sync_playwright

from core.workspace import Workspace, find_workspace
from flows.servers import servers
from registry.store.connection import connect
from registry.store.versions import champion

FOLDER = Path(__file__).parents[1] / "docs" / "images"
SERVED = "http://127.0.0.1:8000/"
SIZES = {"": (1400, 900), "-phone": (390, 844)}
WAIT_MS = 60_000
SETTLED_MS = 3_000  # charts and graphs move until then


@dataclass(frozen=True)
class Shot:
    """name: of the file. shows: a text that is on the page when it is there. act: what a person does before."""

    name: str
    address: str
    shows: str
    act: Callable[[Page], Any] = lambda page: None
    dark: bool = False


def of_servers(workspace: Workspace) -> list[Shot]:
    """Prefect's page of a refused run; MLflow's of a model, of its champion, and of the run that trained that."""
    pages = servers.pages(workspace)
    client = connect(workspace.var)
    version = champion(client.search_registered_models()[0].name, workspace.var)
    assert version is not None, "the model has a champion"
    model = f"{pages['mlflow']}/#/models/{version.name}"
    experiment = client.get_run(version.run_id).info.experiment_id
    return [
        Shot("prefect", f"{pages['prefect']}/runs/flow-run/{_refused_run(workspace)}", "Refused"),
        Shot("mlflow-model", model, "champion"),
        Shot("mlflow-version", f"{model}/versions/{version.version}", "Gates: passed"),
        Shot("mlflow-run", f"{pages['mlflow']}/#/experiments/{experiment}/runs/{version.run_id}", "About this run"),
    ]


def of_serving(index: str, question: str) -> list[Shot]:
    """The pages of `headrace serve`."""

    def ask(button: str, *, compare: bool = False) -> Callable[[Page], None]:
        def asked(page: Page) -> None:
            page.get_by_label("Index", exact=True).select_option(index)
            page.get_by_label("Question").fill(question)
            if compare:
                page.get_by_label("compare all three").check()
            page.get_by_role("button", name=button, exact=True).click()

        return asked

    return [
        Shot("serving-search", SERVED, "passages from", ask("Search")),
        Shot("serving-compare", SERVED, "Three searches of", ask("Search", compare=True)),
        Shot("serving-answer", SERVED, "Answered from", ask("Answer"), dark=True),
        Shot("serving-docs", f"{SERVED}docs", "/indexes/{index}/search"),
    ]


def _refused_run(workspace: Workspace) -> str:
    """The longest flow run whose gates refused: one in which stages ran."""
    with servers.prefect_settings(workspace, servers.prefect_api(workspace)):
        from prefect.client.orchestration import get_client
        from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateName

        refused = FlowRunFilter(state=FlowRunFilterState(name=FlowRunFilterStateName(any_=["Refused"])))
        with get_client(sync_client=True) as client:
            return str(max(client.read_flow_runs(flow_run_filter=refused), key=lambda run: run.total_run_time).id)


def take(workspace: Workspace, shot: Shot, page: Page, file: Path) -> None:
    page.goto(servers.link(workspace, shot.address), timeout=WAIT_MS)
    shot.act(page)
    page.get_by_text(shot.shows).first.wait_for(state="attached", timeout=WAIT_MS)
    page.wait_for_timeout(SETTLED_MS)
    with Image.open(io.BytesIO(page.screenshot())) as picture:
        picture.convert("RGB").quantize(method=Image.Quantize.MAXCOVERAGE).save(file, optimize=True)


def take_all(workspace: Workspace, shots: Sequence[Shot]) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for shot in shots:
            for ending, (width, height) in SIZES.items():
                page = browser.new_page(
                    viewport={"width": width, "height": height}, color_scheme="dark" if shot.dark else "light"
                )
                file = FOLDER / f"{shot.name}{ending}.png"
                take(workspace, shot, page, file)
                page.close()
                print(f"{file}  {file.stat().st_size:,} bytes")
        browser.close()


if __name__ == "__main__":
    here = find_workspace()
    take_all(here, [*of_servers(here), *of_serving(*sys.argv[1:])])
