"""Pages that people open, in a real browser: MLflow shows run and version, Prefect the flow, a refused one in red."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from mlflow import MlflowClient

from core.workspace import Workspace as Place
from flows.promotion.watcher import watching
from flows.servers import servers
from registry.promotion import journal
from registry.store import versions
from registry.store.connection import connect
from tests.conftest import TINY_RECIPE, Workspace
from tests.prefect_server import prefect_place, prefect_server
from tests.tiny_graph import until

pytestmark = pytest.mark.slow

CHROMIUM = shutil.which("chromium")
if CHROMIUM is None and not os.environ.get("HEADRACE_CI"):
    pytest.skip("Debian's chromium is not installed", allow_module_level=True)

WAIT_MS = 60_000
WIDTHS = (1400, 390)  # of a screen, and of a phone
_COLOUR = r"""element => {
  const painted = each => getComputedStyle(each).backgroundColor;
  while (painted(element) === "rgba(0, 0, 0, 0)") element = element.parentElement;
  return painted(element).match(/\d+/g).slice(0, 3).map(Number);
}"""  # behind a text: red, green, blue


@pytest.fixture
def browser() -> Iterator[object]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


def ran(tiny: Workspace) -> dict[str, Any]:
    done = tiny.headrace("run", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def served(tiny: Workspace) -> str:
    done = tiny.headrace("predict", "tiny", "a moving film", "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["version"]  # type: ignore[no-any-return]


def test_pages(tiny: Workspace, browser) -> None:
    links = ran(tiny)["links"]
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    refused = [401, 403, 421]
    wrong: list[str] = []
    page.on("response", lambda answer: wrong.extend([answer.url] * (answer.status in refused)))
    page.on("request", lambda request: wrong.extend([request.url] * (".localhost:" not in request.url[:50])))
    page.goto(f"{links['mlflow']}#/models/tiny", timeout=WAIT_MS)  # the printed link, and nothing is typed
    shows(page, "champion")
    page.goto(links["run"], timeout=WAIT_MS)
    shows(page, "evaluate@tiny")
    page.goto(links["prefect"], timeout=WAIT_MS)
    shows(page, "Flow Runs")
    tokens = [link.partition("token=")[2] for link in links.values()]
    assert not [token for token in tokens if token in page.url or token in page.content()]
    assert holding(tokens, tiny) == {"var/servers/mlflow.json", "var/servers/prefect.json"}
    pages = servers.pages(Place(tiny.root))

    two_epochs = TINY_RECIPE.replace("epochs: 1", "epochs: 2") + "registry: {promote: manual}\n"
    tiny.write("recipes/tiny.yaml", two_epochs)
    ran(tiny)
    assert served(tiny) == "1"
    move_champion_by_hand(page, f"{pages['mlflow']}/#/models/tiny/versions/2")
    assert served(tiny) == "2"
    with watched(tiny) as client:
        client.set_model_version_tag("tiny", "1", versions.EVIDENCE_HASH, "f" * 64)  # evidence that is none
        move_champion_by_hand(page, f"{pages['mlflow']}/#/models/tiny/versions/1")
        until(lambda: versions.raw_champion(client, "tiny") == "2", timeout_s=10)
        assert "the ledger knows other evidence" in client.get_model_version("tiny", "1").tags["promotion_refused"]
        [*_, last] = journal.read(client, "tiny").entries
        assert (last.action, last.before, last.to) == ("refused", "2", "1")
    assert not [each for each in wrong if not each.startswith(("data:", "blob:"))]


def test_a_refused_run_is_red_on_prefects_page(browser) -> None:
    """A flow run that ends as a scheduled one does whose gates refused: on a screen and on a phone."""
    why = "accuracy: 0.7000, bound at least 0.8"
    with servers.prefect_settings(prefect_place(), prefect_server()):
        from prefect import flow

        from flows.reporting.refused_state import refusal

        ended = flow(name="headrace-scheduled", flow_run_name="films")(lambda: refusal(why))(return_state=True)
    address = f"{servers.pages(prefect_place())['prefect']}/runs/flow-run/{ended.state_details.flow_run_id}"
    for width in WIDTHS:
        page = browser.new_page(viewport={"width": width, "height": 900})
        page.goto(servers.link(prefect_place(), address), timeout=WAIT_MS)
        badge = page.get_by_text("Refused", exact=True).first
        badge.wait_for(timeout=WAIT_MS)
        red, green, blue = badge.evaluate(_COLOUR)
        assert red > 2 * max(green, blue), (red, green, blue)
        assert page.get_by_text("Completed", exact=True).count() == 0
        box = badge.bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= width, "in sight without scrolling sideways"
        page.close()


def shows(page, text: str) -> None:
    """The page shows this text in time; where it does not, the failure says what it shows instead."""
    from playwright.sync_api import TimeoutError as TooLate

    try:
        page.get_by_text(text).first.wait_for(timeout=WAIT_MS)
    except TooLate:
        raise AssertionError(f"{text!r} is not on {page.url}, which shows:\n{page.inner_text('body')}") from None


def holding(secrets: list[str], tiny: Workspace) -> set[str]:
    """Files of the workspace that hold one: records, logs, databases, evidence."""
    files = [path for path in tiny.root.rglob("*") if path.is_file() and ".git" not in path.parts]
    return {
        path.relative_to(tiny.root).as_posix()
        for path in files
        if any(secret.encode() in path.read_bytes() for secret in secrets)
    }


@contextmanager
def watched(tiny: Workspace) -> Iterator[MlflowClient]:
    """Promotions are watched, as `headrace schedule` does; a client of the registry."""
    with watching(Place(tiny.root)):
        yield connect(tiny.path("var"))


def move_champion_by_hand(page, version_page: str) -> None:
    """Add the alias to the version of this page, as a person does: the pencil, the name, Save."""
    page.goto(version_page, timeout=WAIT_MS)
    pencil = page.locator("button[data-component-id*=alias]").first
    pencil.wait_for(timeout=WAIT_MS)
    pencil.click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("combobox").fill("champion")
    page.keyboard.press("Enter")
    dialog.get_by_role("button", name="Save aliases").click()
    dialog.wait_for(state="hidden", timeout=WAIT_MS)
    shows(page, "@ champion")
