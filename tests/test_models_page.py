"""The page that asks models, in Debian's Chromium: a form by what each model takes, a sound heard beside its answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import soundfile
from fastapi import FastAPI
from playwright.sync_api import Page, expect

from core.atomic_files import write_json
from core.cells.spans import Span, written
from core.schema.model import Architecture, Model
from core.tables.prepared import ROWS
from core.tables.task import Base
from core.workspace import Workspace
from pipelines.tasks import find_task
from registry.store.versions import Version
from registry.version.answerer import load_answerer
from registry.version.predict import Loaded
from serving.app import make_app
from serving.http.api_keys import OPERATOR, Keys
from serving.http.threads import Workers
from serving.indexes.indexes import Indexes
from serving.models.champions import Champion, Champions
from tests.places import a_place
from tests.served_index import running, updates_by
from tests.small_model import trusting
from tests.test_serving_page import browser, faultless, page
from tests.test_sounds import tone, wav

__all__ = ["browser", "page"]
pytestmark = pytest.mark.slow


def champion(
    task_name: str, rows: pd.DataFrame, folder: Path, inputs: tuple[str, ...], media: str | None, **options: Any
) -> Champion:
    """The simple model of a task, fitted to the rows, as a champion that answers."""
    task = find_task(task_name)
    (encoder := folder / "encoder").mkdir(parents=True)
    at = a_place(encoder, base=Base(Architecture(architecture=task.simple[0]), None, None), media=folder.parent)
    rows.to_parquet(folder / ROWS)
    task.prepare([rows], task.Preprocess.model_validate(options), at)
    learner = task.learner(Model(base=at.base.reference, method="pretrain"), at)
    table = task.encode(rows, at)
    learner.fit(table, table[:0])  # type: ignore[union-attr]
    (model := folder / "model").mkdir()
    task.save(learner, at, into=model)
    write_json(about := folder / "about.json", {"task": task_name, "inputs": inputs, "media": media})
    loaded = Loaded(Version(task_name, "1", "run", "model", 0, {}, ()), load_answerer(model, about))
    return Champion(loaded, "2026-11-30T00:00:00.000+00:00")


@pytest.fixture
def app(tmp_path: Path) -> FastAPI:
    """A model that hears high and low tones, one that reads texts, and one that finds names in them."""
    sounds = []
    for number in range(20):
        samples = tone(hertz=(300, 1500)[number % 2] + number)
        soundfile.write(tmp_path / f"{number}.wav", samples, 8000)
        row = {"path": f"{number}.wav", "label": ("low", "high")[number % 2], "seconds": 0.5, "rate": 8000}
        sounds.append(row)
    texts = [{"text": f"{('good', 'bad')[at % 2]} film {at}", "label": ("yes", "no")[at % 2]} for at in range(20)]
    named = [{"text": "Ann is in Rome", "spans": written([Span(0, 3, "person"), Span(10, 14, "town")])}]
    fields = [{"node": f"p{at}", "links": f'["p{at ^ 2}"]', "words": "ab"[at % 2] * 3, "label": "xy"[at % 2]}
              for at in range(8)]  # fmt: skip
    papers = ("node", "links", "words")
    pairs = [{"graph": f'{{"nodes": ["C", "{"ON"[at % 2]}"], "edges": [[0, 1]]}}', "label": "xy"[at % 2]}
             for at in range(8)]  # fmt: skip
    served = Champions(tmp_path, trusting, [], print)
    served.serving = {
        "tones": champion("audio_classification", pd.DataFrame(sounds), tmp_path / "tones", ("path",), "audio"),
        "towns": champion("token_classification", pd.DataFrame(named), tmp_path / "towns", ("text",), None),
        "words": champion("text_classification", pd.DataFrame(texts), tmp_path / "words", ("text",), None),
        "worked out": champion(
            "graph_classification", pd.DataFrame(pairs), tmp_path / "graphs", ("graph",), None, categories=["kind"]
        ),
        "works": champion(
            "node_classification", pd.DataFrame(fields), tmp_path / "works", papers, None, words=["words"]
        ),
    }
    updates = updates_by(tmp_path, "true")
    keys = Keys(tmp_path / "keys.yaml", OPERATOR)
    return make_app(served, Indexes(Workspace(tmp_path)), updates, Workers(), keys)


def test_a_sound_is_chosen_heard_and_answered(app: FastAPI, page: Page) -> None:
    with running(app) as url:
        page.goto(f"{url}/models.html")
        status, file = page.get_by_role("status"), page.get_by_label("path", exact=True)
        expect(page.get_by_label("Model")).to_have_value("tones")
        assert file.get_attribute("accept") == "audio/*"
        faultless(page)
        page.get_by_role("button", name="Ask").click()
        expect(status).to_have_text("Choose a file for path first.")

        for hertz, label in ((310, "low"), (1505, "high")):
            sent = {"name": "tone.wav", "mimeType": "audio/wav", "buffer": wav(tone(hertz=hertz))}
            file.set_input_files(sent)  # type: ignore[arg-type]
            player = page.locator("audio")
            expect(player).to_have_count(1)
            page.wait_for_function("document.querySelector('audio').duration === 0.5")  # the page's policy lets it load
            page.get_by_role("button", name="Ask").click()
            expect(status).to_have_text("Answered by tones, version 1.")
            expect(page.locator("#results tr", has_text="label").locator("td")).to_have_text(label)
        faultless(page)

        file.set_input_files({"name": "no.wav", "mimeType": "audio/wav", "buffer": b"no sound"})
        page.get_by_role("button", name="Ask").click()
        expect(status).to_contain_text("input 1: cannot be heard: not a sound that can be decoded")
        expect(page.locator("#said")).to_be_hidden()


def test_a_recorded_sound_is_sent_as_wav(app: FastAPI, page: Page) -> None:
    """The browser's own microphone is silent here: a tone of the page's own stands in, everything behind it is real."""
    page.add_init_script(
        "navigator.mediaDevices.getUserMedia = async () => {"
        " const context = new AudioContext(), source = context.createOscillator(),"
        " end = context.createMediaStreamDestination();"
        " source.frequency.value = 1510; source.connect(end); source.start(); await context.resume();"
        " return end.stream; };"
    )
    with running(app) as url:
        page.goto(f"{url}/models.html")
        page.get_by_role("button", name="Record").click()
        expect(page.get_by_role("status")).to_have_text("Recording …")
        page.wait_for_timeout(700)
        page.get_by_role("button", name="Stop recording").click()
        expect(page.get_by_role("status")).to_have_text("Recorded.")
        expect(page.locator("audio")).to_have_count(1)
        page.get_by_role("button", name="Ask").click()
        expect(page.get_by_role("status")).to_have_text("Answered by tones, version 1.")
        expect(page.locator("#results")).to_contain_text("label")


def test_a_node_is_asked_with_its_links_and_drawn_among_them(app: FastAPI, page: Page) -> None:
    with running(app) as url:
        page.goto(f"{url}/models.html")
        page.get_by_label("Model").select_option("works")
        page.get_by_label("links (may be left out)").fill("p1, p3")
        page.get_by_label("words (may be left out)").fill("bbb")
        page.get_by_role("button", name="Ask").click()
        expect(page.get_by_role("img")).to_have_attribute("aria-label", "y, linked to p1, p3")
        expect(page.locator("#results circle")).to_have_count(3)
        expect(page.locator("#results tr", has_text="label").locator("td")).to_have_text("y")
        faultless(page)
        page.get_by_label("links (may be left out)").fill("p9")
        page.get_by_role("button", name="Ask").click()
        expect(page.get_by_role("status")).to_contain_text("column 'links': the graph has no node 'p9'")


def test_a_graph_is_told_as_json_and_drawn(app: FastAPI, page: Page) -> None:
    with running(app) as url:
        page.goto(f"{url}/models.html")
        page.get_by_label("Model").select_option("worked out")
        page.get_by_label("graph", exact=True).fill('{"nodes": ["C", "N", "C"], "edges": [[0, 1], [1, 2]]}')
        page.get_by_role("button", name="Ask").click()
        expect(page.get_by_role("img")).to_have_attribute("aria-label", "the graph that was asked about")
        expect(page.locator("#results circle")).to_have_count(3)
        expect(page.locator("#results line")).to_have_count(2)
        expect(page.locator("#results tr", has_text="label").locator("td")).to_have_text("y")
        faultless(page)
        page.get_by_label("graph", exact=True).fill('{"nodes": ["C"], "edges": [[0, 1]]}')
        page.get_by_role("button", name="Ask").click()
        expect(page.get_by_role("status")).to_contain_text("leads to node 1, and the graph has 1")


def test_a_text_is_typed_and_answered(app: FastAPI, page: Page) -> None:
    with running(app) as url:
        page.goto(url)
        page.get_by_role("link", name="Models").click()
        page.get_by_label("Model").select_option("words")
        page.get_by_label("text", exact=True).fill("good film")
        page.get_by_role("button", name="Ask").click()
        expect(page.get_by_role("status")).to_have_text("Answered by words, version 1.")
        expect(page.locator("#results tr", has_text="label").locator("td")).to_have_text("yes")
        faultless(page)


def test_what_an_answer_names_is_marked_in_the_text(app: FastAPI, page: Page) -> None:
    """Labelled spans, and one part of one of several texts; characters beyond 16 bits count once, as in Python."""
    with running(app) as url:
        page.goto(f"{url}/models.html")
        page.get_by_label("Model").select_option("towns")
        page.get_by_label("text", exact=True).fill("\N{GRINNING FACE} Ann <b>met</b> Ann in Rome")
        page.get_by_role("button", name="Ask").click()
        expect(page.locator("#results mark")).to_have_text(["Ann", "Ann", "Rome"])
        expect(page.locator("#results mark").last).to_have_attribute("title", "town")
        expect(page.locator("#results p.text")).to_have_text("\N{GRINNING FACE} Ann <b>met</b> Ann in Rome")
        faultless(page)

        answered = "({answer: 'Rome', start: 10, end: 14, confidence: 1}, {question: 'Where is Ann?', context: %r})"
        told = page.evaluate("in_place" + answered % "Ann is in Rome." + ".map((each) => each.innerHTML)")
        assert told == ['Ann is in <mark title="">Rome</mark>.']
        nothing = "in_place({answer: '', start: 0, end: 0}, {question: 'Who?', context: 'Ann is in Rome.'})"
        assert page.evaluate(nothing) == []
