"""The pages that people open, in a real browser: MLflow shows run and version, Prefect shows the flow."""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator

import httpx
import pytest

from tests.conftest import Workspace

pytestmark = pytest.mark.slow

CHROMIUM = shutil.which("chromium")
if CHROMIUM is None and not os.environ.get("HEADRACE_CI"):
    pytest.skip("Debian's chromium is not installed", allow_module_level=True)

WAIT_MS = 60_000


@pytest.fixture
def browser() -> Iterator[object]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


def up(url: str) -> None:
    deadline = time.monotonic() + WAIT_MS / 1000
    while True:
        try:
            assert httpx.get(f"{url}/health").status_code == 200
        except httpx.TransportError:
            assert time.monotonic() < deadline, f"{url} did not start"
            time.sleep(0.5)
        else:
            return


def test_pages(tiny: Workspace, browser) -> None:
    done = tiny.headrace("run", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    pages = json.loads(done.stdout)["links"]
    up(pages["mlflow"])  # it starts in the background
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    page.goto(f"{pages['mlflow']}/#/models/tiny", timeout=WAIT_MS)
    page.get_by_text("champion").first.wait_for(timeout=WAIT_MS)
    page.goto(f"{pages['prefect']}/runs", timeout=WAIT_MS)
    page.get_by_text("tiny").first.wait_for(timeout=WAIT_MS)
