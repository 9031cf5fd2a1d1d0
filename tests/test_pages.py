"""The pages that people open, in a real browser: MLflow shows run and version, Prefect shows the flow."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator

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


def test_pages(tiny: Workspace, browser) -> None:
    done = tiny.headrace("run", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    pages = json.loads(done.stdout)["links"]
    page = browser.new_page(viewport={"width": 1400, "height": 900})
    page.goto(f"{pages['mlflow']}/#/models/tiny", timeout=WAIT_MS)
    page.get_by_text("champion").first.wait_for(timeout=WAIT_MS)
    page.goto(f"{pages['prefect']}/runs", timeout=WAIT_MS)
    page.get_by_text("tiny").first.wait_for(timeout=WAIT_MS)
