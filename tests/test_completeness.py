"""One bad file costs itself, many cost the release: an index must not be gutted by a mount that is gone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.atomic_files import write_json
from core.errors import BadRequest
from core.manifest import write_manifest
from core.tables import tombstones
from core.workspace import Job
from flows.catalog.status import _server_lines
from flows.promotion.move_release import stays_live
from flows.terminal.results import lines, result
from pipelines.driver import FORCED
from pipelines.search.ask.query import query
from pipelines.search.engine import embedded
from pipelines.search.engine.choice import choose
from pipelines.search.engine.releases import unread_of
from tests import small_index
from tests.served_index import app_of, client_of, key_of, keys_of

DOCUMENTS = {f"part/{n}.txt": f"Year {n}\n\nThe river rose in the night of {n}." for n in range(10)}


def make(root: Path, unread: int = 0, documents: dict[str, str] = DOCUMENTS) -> Job:
    job = small_index.make(root, documents)
    screened(job, documents, unread)
    small_index.build(job)
    return job


def screened(job: Job, documents: dict[str, str], unread: int) -> None:
    """validated/ with so many documents in quarantine."""
    small_index.screened(job, documents)
    names = [f"scans/{at}.pdf" for at in range(unread)]
    columns = {"row_id": [f"hash-{name}" for name in names], "id": names, "place": names}
    table = pa.table({**columns, "reason": [f"{name} has no text: a scan" for name in names]})
    pq.write_table(table, job.folder / "validated" / "quarantine.parquet")
    write_manifest(job.folder / "validated", {"rows": len(documents) + unread, "quarantined": unread})


def receipt(job: Job) -> dict[str, Any]:
    said: dict[str, Any] = json.loads((job.folder / "published.json").read_text())
    return said


def why(job: Job) -> str:
    assert not receipt(job)["published"]
    return str(receipt(job)["verdict"]["reasons"][-1]["why"])


@pytest.mark.slow
def test_a_document_that_cannot_be_read_is_left_out_and_named(tmp_path: Path) -> None:
    job = make(tmp_path, unread=2)
    assert receipt(job)["published"] and receipt(job)["verdict"] == {"passed": True, "reasons": []}
    told = "\n".join(lines(result(job)))
    assert "2 of 12 documents could not be read and are left out (data/indexes/small/validated)" in told
    assert "scans/1.pdf: scans/1.pdf has no text: a scan" in told
    state = {"name": "small", "kind": "index", "receipt": receipt(job), "outage": None, "lost": None}
    assert "  unread    2 of 12 documents" in "\n".join(_server_lines(state))


@pytest.mark.slow
@pytest.mark.parametrize("documents", [1, 2, 3])
def test_one_bad_file_never_costs_more_than_itself(tmp_path: Path, documents: int) -> None:
    job = make(tmp_path, unread=1, documents=dict(list(DOCUMENTS.items())[:documents]))
    assert receipt(job)["published"]


@pytest.mark.slow
def test_over_a_fifth_is_not_published_until_a_person_says_so(tmp_path: Path, monkeypatch: Any) -> None:
    job = make(tmp_path, unread=3)
    assert why(job) == (
        "3 of 13 documents could not be read (23%). "
        "If that is meant, `headrace index small --force publish` publishes it"
    )
    assert choose(job.workspace).pointers("small").live is None
    with pytest.raises(BadRequest, match=r"small has no live release: the one that was made was refused \(3 of 13"):
        query(job.workspace, "small", "Who?", access=None)
    verdict = json.loads((job.folder / "evaluation" / "verdict.json").read_text())
    assert verdict == receipt(job)["verdict"]
    with monkeypatch.context() as forced:
        forced.setenv(FORCED, "publish")
        small_index.build(job)
    assert receipt(job)["published"]
    screened(job, {**DOCUMENTS, "part/more.txt": "A text more."}, 4)  # what was meant stays meant
    small_index.build(job)
    assert receipt(job)["published"]
    screened(job, DOCUMENTS, 10)
    small_index.build(job)
    assert "10 of 20 documents could not be read (50%, of the live release 27%)" in why(job)


@pytest.mark.slow
def test_a_fifth_more_than_the_live_release_is_not_published(tmp_path: Path) -> None:
    job = make(tmp_path)
    live = receipt(job)["version"]
    screened(job, {name: text + " It fell." for name, text in DOCUMENTS.items()}, 3)
    small_index.build(job)
    assert "3 of 13 documents could not be read (23%, of the live release 0%)" in why(job)
    assert choose(job.workspace).pointers("small").live == live


@pytest.mark.slow
@pytest.mark.parametrize(("left", "published"), [(9, True), (8, True), (7, False), (1, False)])
def test_documents_that_are_gone(tmp_path: Path, left: int, published: bool) -> None:
    job = make(tmp_path)
    screened(job, dict(list(DOCUMENTS.items())[:left]), 0)
    small_index.build(job)
    assert receipt(job)["published"] == published
    if not published:
        assert f"{10 - left} of the 10 documents of the live release are gone" in why(job)


@pytest.mark.slow
def test_documents_under_other_names_are_not_gone(tmp_path: Path) -> None:
    job = make(tmp_path)
    screened(job, {name.replace("part", "moved"): text for name, text in DOCUMENTS.items()}, 0)
    small_index.build(job)
    assert receipt(job)["published"]


@pytest.mark.slow
def test_what_was_forgotten_is_not_missed_and_its_text_leaves_the_engine(tmp_path: Path) -> None:
    job = make(tmp_path)
    gone = [f"part/{n}.txt" for n in range(3)]
    tombstones.add(job, gone)
    screened(job, {name: text for name, text in DOCUMENTS.items() if name not in gone}, 0)
    small_index.build(job)
    assert receipt(job)["published"]
    live = job.workspace.var / "qdrant" / "small" / receipt(job)["version"]
    held = b"".join(file.read_bytes() for file in live.rglob("*") if file.is_file())
    assert b"night of 5" in held and b"night of 1" not in held


@pytest.mark.slow
def test_a_release_made_before_counts_were_kept_is_no_obstacle(tmp_path: Path, monkeypatch: Any) -> None:
    """What it left out is not known and was in order; how many documents it has is looked up."""
    write, counts = write_json, ("documents", "unread", "forgotten")
    with monkeypatch.context() as earlier:
        earlier.setattr(
            embedded, "write_json", lambda file, said: write(file, {k: v for k, v in said.items() if k not in counts})
        )
        job = make(tmp_path, unread=2)
    screened(job, dict(list(DOCUMENTS.items())[:7]), 9)
    small_index.build(job)
    assert "3 of the 10 documents of the live release are gone" in why(job)
    screened(job, {**DOCUMENTS, "part/more.txt": "A text more."}, 9)
    small_index.build(job)
    assert receipt(job)["published"]


@pytest.mark.slow
def test_who_may_know_of_a_document_that_could_not_be_read(tmp_path: Path) -> None:
    job = small_index.make(tmp_path, DOCUMENTS)
    small_index.settings(job, access={"labels": {"scans/0*": ["hr"]}, "others": []}, search=small_index.HYBRID)
    screened(job, DOCUMENTS, 2)
    small_index.build(job)
    assert [each["labels"] for each in unread_of(job)] == [["hr"], []]
    app = app_of(job, keys_of(job))
    seen = {}
    for name, labels in (("public", []), ("personnel", ["hr"])):
        (served,) = client_of(app, key_of(job, name, *labels)).get("/indexes").json()["indexes"]
        seen[name] = [each["document"] for each in served["unread"]]
    assert seen == {"public": ["scans/1.pdf"], "personnel": ["scans/0.pdf", "scans/1.pdf"]}


@pytest.mark.slow
def test_an_index_that_stopped_says_what_stays_live(tmp_path: Path) -> None:
    job = make(tmp_path)
    said = stays_live(job) or ""
    assert f"release {receipt(job)['version']} stays live and goes on answering" in said
    assert "headrace retire small --kind index" in said and "delete indexes/small.yaml" in said
    assert stays_live(small_index.make(tmp_path / "other", DOCUMENTS)) is None
