"""The page in Debian's Chromium, as a person uses it, by keyboard too; and axe, which finds no fault with it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, expect, sync_playwright

from core.workspace import Job
from serving.http.api_keys import Keys, hash_of, made_up
from tests import served_index
from tests.served_index import app_of, key_of, keys_of, running

pytestmark = pytest.mark.slow

CHROMIUM = shutil.which("chromium")
if CHROMIUM is None and not os.environ.get("HEADRACE_CI"):
    pytest.skip("Debian's chromium is not installed", allow_module_level=True)

WAIT_MS = 60_000
QUESTION = "Who rescued the horses?"


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    return served_index.make(tmp_path_factory.mktemp("page"))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    opened = browser.new_page(viewport={"width": 1100, "height": 800})
    opened.set_default_timeout(WAIT_MS)
    expect.set_options(timeout=WAIT_MS)
    wrong: list[str] = []
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    opened.on("request", lambda request: wrong.extend([request.url] * ("//127.0.0.1:" not in request.url[:20])))
    yield opened
    opened.close()
    ours = ("data:", "blob:http://127.0.0.1:")
    assert not [each for each in wrong if not each.startswith(ours)]  # no script fails, nothing comes from elsewhere


def faultless(page: Page, **media: Any) -> None:
    """axe finds nothing, in light and in dark, wide and narrow."""
    for scheme, width in (("light", 1100), ("dark", 360)):
        page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        page.set_viewport_size({"width": width, "height": 800})
        found = Axe().run(page)
        assert found.violations_count == 0, found.generate_report()
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), f"scrolls sideways at {width}"
    page.set_viewport_size({"width": 1100, "height": 800})
    page.emulate_media(color_scheme="light")


def test_the_printed_address_has_the_key_which_stays_in_the_tab(job: Job, page: Page) -> None:
    key = made_up()
    with running(app_of(job, Keys(job.workspace.var / "none.yaml", None, session=hash_of(key)))) as url:
        page.goto(f"{url}/#key={key}")
        expect(page.get_by_label("Index", exact=True)).to_have_value("small")
        assert page.url == f"{url}/"
        page.reload()
        expect(page.get_by_label("Index", exact=True)).to_have_value("small")
        page.evaluate("sessionStorage.clear()")
        page.reload()
        expect(page.get_by_role("status")).to_contain_text("This server wants a key.")
        page.goto(f"{url}/#key={key}")  # in a page that stands there already
        expect(page.get_by_label("Index", exact=True)).to_have_value("small")
        assert page.url == f"{url}/"


def test_ask_filter_compare_and_answer(job: Job, page: Page) -> None:
    with running(app_of(job)) as url:
        page.goto(url)
        status = page.get_by_role("status")
        expect(page.get_by_label("Index", exact=True)).to_have_value("small")
        faultless(page)

        page.get_by_role("button", name="Search", exact=True).click()
        expect(status).to_have_text("Type a question first.")
        expect(page.get_by_label("Question")).to_be_focused()

        page.keyboard.type(QUESTION)  # by keyboard alone
        page.keyboard.press("Enter")
        expect(status).to_contain_text("4 passages from small, release ")
        passages = page.get_by_role("listitem")
        expect(passages.first).to_contain_text("Three firefighters rescued the horses.")
        expect(passages.first).to_contain_text("1. The fire")
        expect(passages.first).to_contain_text("news/fire.md · part 1 · score")
        assert passages.first.locator("mark").all_text_contents() == ["rescued", "horses"]
        faultless(page)

        page.get_by_label("Only section").fill("notes")
        page.keyboard.press("Enter")
        expect(status).to_contain_text("1 passage from small")
        expect(passages).to_have_count(1)
        page.get_by_label("Only section").fill("note")
        page.keyboard.press("Enter")
        expect(status).to_contain_text("Nothing was found where section is “note”.")
        page.get_by_label("Only section").fill("")

        page.get_by_label("compare all three").check()
        page.keyboard.press("Enter")
        expect(status).to_contain_text("Three searches of small, release ")
        for heading in ("Meaning (dense)", "Words (sparse)", "Both (hybrid)"):
            expect(page.get_by_role("heading", name=heading)).to_be_visible()
        faultless(page)

        page.get_by_role("button", name="Answer").click()
        expect(status).to_contain_text("Answered from small, release ")
        said = page.locator("#text")
        expect(said).to_contain_text("Three firefighters rescued the horses. [1]")
        faultless(page)
        said.get_by_role("link", name="passage 1").focus()
        page.keyboard.press("Enter")
        expect(passages.first).to_be_focused()
        assert passages.first.locator("mark.cited").all_text_contents() != []

        page.get_by_label("Question").fill("Which moon of Jupiter has volcanoes?")
        page.get_by_role("button", name="Answer").click()
        expect(said).to_have_text("Not in these documents.")
        expect(page.locator("#reason")).to_contain_text("Why: the passages found are about something else")


def test_what_goes_wrong_is_said_in_words(job: Job, page: Page) -> None:
    now = [0.0]
    with running(app_of(job, keys_of(job, clock=lambda: now[0]))) as url:
        key = key_of(job, "reader", requests_per_minute=12)
        page.goto(url)
        status = page.get_by_role("status")
        expect(status).to_have_text("This server wants a key. Enter it under “API key”.")
        faultless(page)
        field = page.get_by_label("Key, where this server wants one")
        field.fill("hr_wrong")
        page.keyboard.press("Enter")
        expect(status).to_have_text("This key is not known here. Enter another under “API key”.")
        field.fill(key)
        page.keyboard.press("Enter")
        expect(status).to_have_text("The key is in use.")
        expect(field).to_have_value("")
        expect(page.get_by_label("Question")).to_be_focused()
        page.keyboard.type("What do the millers earn?")
        page.keyboard.press("Enter")
        expect(status).to_contain_text("3 passages from small")  # and not the fourth, which holders of `hr` see
        page.keyboard.press("Enter")
        expect(status).to_have_text("Too many requests. Ask again in 5 s.")
        now[0] = 60.0
        page.route("**/search", lambda route: route.fulfill(status=503, json={"detail": "no worker became free."}))
        page.keyboard.press("Enter")
        expect(status).to_have_text("Not now: no worker became free.")
        page.unroute("**/search")
        faultless(page)
    page.keyboard.press("Enter")
    expect(status).to_have_text("The server does not answer. Is it still running? Ask again when it is.")


def test_what_a_document_says_is_text(tmp_path: Path, page: Page) -> None:
    """Nothing in it runs or draws; offsets hold for letters beyond the first plane."""
    text = "# <b>Bold</b>\n\n𝒳𝒴 <img src=x onerror=alert(1)> <script>alert(1)</script> horses 🐎 are rescued here."
    job = served_index.make(tmp_path, {"a.md": text}, {})
    with running(app_of(job)) as url:
        page.goto(url)
        page.get_by_label("Question").fill(QUESTION)
        page.keyboard.press("Enter")
        first = page.get_by_role("listitem").first
        expect(first).to_contain_text("<img src=x onerror=alert(1)> <script>alert(1)</script>")
        assert first.locator("mark").all_text_contents() == ["horses", "rescued"]
        assert not page.locator("#results img, #results script, #results b").count()


def test_a_table_is_a_table_code_keeps_its_lines_and_a_page_ends_in_a_rule(tmp_path: Path, page: Page) -> None:
    code = "```sh\norder --part horse \\\n    --count 3\n```"
    guide = f"# Prices\n\nOf horses.\n\n| Part | Price |\n|---|---|\n| bolt | 2.50 |\n| nut \\| pin | 3 |\n\n{code}\n"
    slides = "Town transport\n\fHorses\nThe horses are rescued on 2 April.\n\f"
    job = served_index.make(tmp_path, {"guide.md": guide, "talk.txt": slides}, {})
    with running(app_of(job)) as url:
        page.goto(url)
        page.get_by_label("Question").fill("When are the horses rescued?")
        page.get_by_role("button", name="Answer").click()
        talk, parts = (page.get_by_role("listitem").filter(has_text=name) for name in ("talk.txt", "guide.md"))
        expect(talk).to_contain_text("cited from page 2")
        assert talk.locator("hr").count() == 1
        expect(talk.locator(".page")).to_have_text("page 2")
        cells = parts.first.locator("th, td").all_text_contents()
        assert cells == ["Part", "Price", "bolt", "2.50", "nut \\| pin", "3"]
        assert parts.first.locator("pre").text_content() == "order --part horse \\\n    --count 3"
        faultless(page)
        with page.expect_download() as saved:
            talk.get_by_role("link", name="talk.txt").click()
        assert saved.value.suggested_filename == "talk.txt"
        expect(page.get_by_role("status")).to_have_text("talk.txt was saved as a file.")


def test_docs_show_every_call_and_ask_with_a_key(job: Job, page: Page) -> None:
    """Offline, with no word of complaint in the console; a key goes in by Authorize, or is the one of the page /."""
    faults: list[str] = []
    page.on("console", lambda said: faults.append(said.text) if said.type in ("error", "warning") else None)
    key = made_up()
    app = app_of(job, Keys(job.workspace.var / "none.yaml", None, session=hash_of(key)))
    with running(app) as url:
        page.goto(f"{url}/docs")
        for path in app.openapi()["paths"]:
            expect(page.locator(f'[data-path="{path}"]').first).to_be_visible()
        assert len(app.openapi()["paths"]) == 11
        call = page.locator(".opblock", has=page.locator('[data-path="/indexes/{index}/documents"]'))

        def asked(status: int) -> None:
            call.get_by_role("button", name="Execute").click()
            expect(call.locator(".live-responses-table td.response-col_status >> nth=1")).to_have_text(str(status))

        call.locator(".opblock-summary").click()
        call.get_by_role("button", name="Try it out").click()
        call.get_by_placeholder("index").fill("small")
        asked(401)
        assert faults.pop().startswith("Failed to load resource: the server responded with a status of 401")
        page.get_by_role("button", name="Authorize").click()
        page.get_by_label("auth-bearer-value").fill(key)
        page.get_by_role("button", name="Apply credentials").click()
        page.get_by_role("button", name="Close").click()
        asked(200)
        expect(call.locator(".live-responses-table")).to_contain_text("news/fire.md")

        page.goto(f"{url}/#key={key}")
        page.get_by_role("link", name="The API").click()
        call.locator(".opblock-summary").click()
        call.get_by_role("button", name="Try it out").click()
        call.get_by_placeholder("index").fill("small")
        asked(200)
    assert not faults
