"""publish: what the engine holds is what Parquet says, after every kind of change."""

from __future__ import annotations

import json
import shutil
from typing import Any

import pytest

from core.errors import HeadraceError
from pipelines.chunk import chunk
from pipelines.driver import FORCED
from pipelines.embed import embed
from pipelines.publish import publish
from pipelines.search.engine import releases
from pipelines.search.engine.choice import choose
from pipelines.search.engine.embedded import Edge
from pipelines.search.engine.index_receipt import receipt_holds
from tests import small_index
from tests.small_index import STORY

DOCUMENTS = {f"part/{n}.txt": f"Year {n}\n\n" + STORY.replace("night", f"night of {n}") * 3 for n in range(6)}


@pytest.fixture
def job(tmp_path: Any, monkeypatch: Any) -> Any:
    monkeypatch.delenv("QDRANT_URL", raising=False)
    made = small_index.make(tmp_path, DOCUMENTS)
    small_index.build(made)
    return made


def why(job: Any, said: Any) -> str:
    """Why the receipt does not hold."""
    return receipt_holds(said, job.workspace) or ""


def receipt(job: Any) -> Any:
    return json.loads((job.folder / "published.json").read_text())


def held(job: Any) -> Any:
    """Every passage that the live version holds, by document."""
    with choose(job.workspace).reading("small") as release:
        said = [point.payload for point in release.points()]
    return sorted((each["document"], each["position"], each["text"]) for each in said)


def expected(job: Any) -> Any:
    return sorted((row["document"], row["position"], row["text"]) for row in small_index.rows(job))


def test_the_engine_holds_every_passage_once(job: Any) -> None:
    assert held(job) == expected(job)
    assert receipt(job)["points"] == len(expected(job))
    assert receipt_holds(receipt(job), job.workspace) is None


def test_no_ghosts(job: Any) -> None:
    changed = {**DOCUMENTS, "part/1.txt": DOCUMENTS["part/1.txt"].replace("The river rose", "The stream sank")}
    del changed["part/4.txt"]
    changed["part/copy.txt"] = DOCUMENTS["part/2.txt"]
    small_index.screened(job, changed)
    before = receipt(job)["version"]
    small_index.build(job)
    assert held(job) == expected(job)
    assert {document for document, _, _ in held(job)} == set(changed) - {"part/copy.txt"}
    assert not any(document == "part/1.txt" and "river" in text for document, _, text in held(job))
    folders = {path.name for path in (job.workspace.var / "qdrant" / "small").iterdir() if path.is_dir()}
    assert folders == {receipt(job)["version"], before}  # the one before is kept to go back to


def test_publishing_again_is_the_same(job: Any) -> None:
    before = (job.folder / "published.json").read_bytes()
    folder = job.workspace.var / "qdrant" / "small" / receipt(job)["version"]
    built = folder.stat().st_ino
    publish.run(job)
    assert (job.folder / "published.json").read_bytes() == before
    assert folder.stat().st_ino == built


@pytest.mark.slow
def test_going_back_to_earlier_documents_is_the_earlier_version(job: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv(FORCED, "publish")
    first = receipt(job)["version"]
    small_index.screened(job, {"part/0.txt": DOCUMENTS["part/0.txt"]})
    small_index.build(job)
    assert receipt(job)["version"] != first
    small_index.screened(job, DOCUMENTS)
    small_index.build(job)
    assert receipt(job)["version"] == first
    assert held(job) == expected(job)


def test_a_receipt_says_why_it_no_longer_holds(job: Any, monkeypatch: Any) -> None:
    said, qdrant = receipt(job), job.workspace.var / "qdrant" / "small"
    monkeypatch.setenv("QDRANT_URL", "http://127.0.0.1:9")
    assert "published to embedded, and now http://127.0.0.1:9 is asked" in why(job, said)
    monkeypatch.delenv("QDRANT_URL")
    assert "holds" in why(job, {**said, "points": 1})
    (qdrant / "CURRENT").write_text(json.dumps({"live": "f" * 16}))
    assert f"serves version {'f' * 16}" in why(job, said)
    (qdrant / "CURRENT").write_text(json.dumps({"live": said["version"]}))
    next((qdrant / said["version"]).rglob("segment.json")).unlink()
    assert "has lost version" in why(job, said)
    shutil.rmtree(job.workspace.var)
    assert "no live version" in why(job, said)
    publish.run(job)
    assert receipt_holds(said, job.workspace) is None


def test_a_version_that_is_short_of_points_does_not_go_live(job: Any, monkeypatch: Any) -> None:
    before = receipt(job)
    small_index.screened(job, {**DOCUMENTS, "part/new.txt": "Snow fell on the hills."})
    chunk.run(job)
    embed.run(job)
    whole = Edge.build
    monkeypatch.setattr(Edge, "build", lambda self, *arguments: whole(self, *arguments) - 1)
    with pytest.raises(HeadraceError, match=r"holds \d+ points of small .* instead of \d+"):
        publish.run(job)
    assert receipt(job) == before
    assert receipt_holds(before, job.workspace) is None


def test_an_experiment_publishes_nothing(tmp_path: Any, monkeypatch: Any) -> None:
    job = small_index.make(tmp_path, DOCUMENTS)
    monkeypatch.setenv("DVC_EXP_NAME", "try")
    small_index.build(job)
    assert not (job.workspace.var / "qdrant").exists()
    assert receipt_holds(receipt(job), job.workspace) == "it was written by an experiment, which publishes nothing"


def test_the_receipt_has_no_secret(monkeypatch: Any, job: Any) -> None:
    monkeypatch.setenv("QDRANT_URL", "http://user:secret@127.0.0.1:9")
    monkeypatch.setenv("QDRANT_API_KEY", "hidden")
    said = releases.receipt(releases.read_truth(job), choose(job.workspace))
    assert said["place"] == "http://127.0.0.1:9"
    assert not any(secret in json.dumps(said) for secret in ("secret", "hidden"))
