"""Documents of one text: searched once, found and named by each of their names."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from core.manifest import read_manifest, write_manifest
from core.workspace import Job
from flows.forget.find import Table, _keys
from flows.forget.row_copies import Traces
from flows.graph.objects import Objects
from flows.terminal.passage_text import passage_lines
from pipelines.publish import publish
from pipelines.publish.judging import _judged_as
from pipelines.search.ask.answer import stream
from pipelines.search.ask.query import Passage, query
from pipelines.search.engine.choice import choose
from tests import small_index
from tests.served_index import app_of, client_of, key_of, keys_of

SLATE = "# Slate roofs\n\nSlate roofs last a hundred years, as they do in the village of Mill End."
DOCUMENTS: dict[str, small_index.Text] = {
    "a/roofs.md": SLATE,
    "b/copy.md": SLATE,
    "b/deep/again.md": {"text": SLATE, "place": "b/deep/again.md"},
    "a/fields.md": "# Fields\n\nThe river rose in the night.",
    "alone.md": "# Walls\n\nA wall of stone stands by itself.",
}


def made(root: Path) -> Job:
    job = small_index.make(root, DOCUMENTS)
    small_index.settings(job, search=small_index.HYBRID)
    small_index.build(job)
    return job


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Job:
    return made(tmp_path_factory.mktemp("copies"))


def found(job: Job, **filters: str) -> list[Passage]:
    return query(job.workspace, "small", "slate roofs of the village", 9, filters, access=None)


@pytest.mark.parametrize(
    ("filters", "document", "source"),
    [
        ({"section": "a"}, "a/roofs.md", "a/roofs.md"), ({"section": "b"}, "b/copy.md", "b/copy.md"),
        ({"document": "b/deep/again.md"}, "b/deep/again.md", "b/deep/again.md"),
        ({"source": "b/deep/again.md", "section": "b"}, "b/deep/again.md", "b/deep/again.md"),
        ({"heading": "Slate roofs", "document": "b/copy.md"}, "b/copy.md", "b/copy.md"),
    ],
)  # fmt: skip
def test_each_name_finds_the_passage_under_that_name(
    job: Job, filters: dict[str, str], document: str, source: str
) -> None:
    first = found(job, **filters)[0]
    assert (first.document, first.source) == (document, source)
    assert {first.document, *first.copies} == {"a/roofs.md", "b/copy.md", "b/deep/again.md"}
    assert all(each.document.startswith(filters.get("section", "")) for each in found(job, **filters))


def test_filters_that_each_fit_another_copy_find_nothing(job: Job) -> None:
    assert found(job, section="a", document="b/copy.md") == []


def test_a_passage_stands_once_and_without_copies_says_so(job: Job) -> None:
    documents = [each.document for each in found(job)]
    assert sorted(documents) == ["a/fields.md", "a/roofs.md", "alone.md"]
    assert next(each for each in found(job) if each.document == "alone.md").copies == ()
    assert "a/roofs.md (also b/copy.md and 1 more)" in passage_lines(1, found(job)[0])[0]


def test_an_answer_cites_the_document_that_the_filters_fit(job: Job) -> None:
    *_, answer = stream(job.workspace, "small", "How long do slate roofs last?", access=None, filters={"section": "b"})
    assert not isinstance(answer, str)
    assert answer.answered and {each.document for said in answer.sentences for each in said.citations} == {"b/copy.md"}


def test_the_api_names_the_copies(job: Job) -> None:
    asked = {"question": "slate roofs", "filters": {"document": "b/copy.md"}}
    (passage,) = client_of(app_of(job)).post("/indexes/small/search", json=asked).json()["passages"]
    assert (passage["document"], passage["copies"]) == ("b/copy.md", ["a/roofs.md", "b/deep/again.md"])


@pytest.mark.slow
def test_a_copy_with_other_labels_is_not_told_to_those_without_them(tmp_path: Path) -> None:
    job = small_index.make(tmp_path, DOCUMENTS)
    small_index.settings(job, access={"labels": {"b/copy.md": ["hr"]}, "others": []}, search=small_index.HYBRID)
    small_index.build(job)
    client = client_of(app_of(job, keys_of(job)), key_of(job, "public"))
    answer = client.post("/indexes/small/search", json={"question": "slate roofs"})
    assert "again.md" in answer.text and "copy.md" not in answer.text
    asked = {"question": "slate roofs", "filters": {"document": "b/copy.md"}}
    assert client.post("/indexes/small/search", json=asked).json()["passages"] == []


@pytest.mark.slow
def test_copies_come_and_go_with_the_points_that_name_them(tmp_path: Path) -> None:
    """A copy is part of what a point says, so a point that names a document that is gone is gone too."""
    job = made(tmp_path)
    left = {name: text for name, text in DOCUMENTS.items() if name != "b/copy.md"}
    small_index.screened(job, left)
    small_index.build(job)
    with choose(job.workspace).reading("small") as release:
        assert "b/copy.md" not in json.dumps([dict(each.payload) for each in release.points()])
    assert found(job, document="b/copy.md") == []
    del left["a/roofs.md"]  # the one that the others were copies of
    small_index.screened(job, left)
    small_index.build(job)
    (passage,) = found(job, section="b")
    assert (passage.document, passage.copies) == ("b/deep/again.md", ())


@pytest.mark.slow
def test_a_release_from_before_copies_were_known_goes_on(tmp_path: Path, capsys: Any) -> None:
    """Its chunks do not say their layout: the lost cache is built from them as it was."""
    job = made(tmp_path)
    chunks = job.folder / "chunks"
    said = {name: value for name, value in read_manifest(chunks).items() if name not in ("layout", "files", "unread")}
    (chunks / "unread.json").unlink()
    (chunks / "duplicates.json").write_text('[{"document": "b/copy.md", "same_as": "a/roofs.md"}]')
    write_manifest(chunks, said)
    publish.run(job)
    before = found(job)
    shutil.rmtree(job.workspace.var)
    assert found(job) == before and before[0].copies == ()
    assert "building the embedded engine's files again" in capsys.readouterr().err


def test_a_judged_copy_counts(job: Job) -> None:
    passage = found(job)[0]
    assert _judged_as(passage, {"b/deep/again.md": 2, "b/copy.md": 1}) == "b/deep/again.md"
    assert _judged_as(passage, {"alone.md": 1}) == "a/roofs.md"


@pytest.mark.parametrize("name", ["a/roofs.md", "b/copy.md"])
def test_the_vectors_of_a_forgotten_document_stay_with_its_copies(job: Job, name: str) -> None:
    """Whether the passages stood under its own name or it was the copy."""
    chunks = {path.name: path for path in (job.folder / "chunks").iterdir()}
    table = Table(job, "chunks", chunks["chunks.parquet"], chunks)
    mine, others = _keys(table, Objects(Path(), Path()), frozenset({name}))
    keys = {row["document"]: row["key"] for row in small_index.rows(job)}
    assert mine == frozenset() and keys["a/roofs.md"] in others
    mine, others = _keys(table, Objects(Path(), Path()), frozenset({"alone.md"}))
    assert mine == {keys["alone.md"]} and keys["alone.md"] not in others


def test_what_names_a_forgotten_copy_holds_it(job: Job, tmp_path: Path) -> None:
    """`headrace forget` of a copy takes what lists it, though its text stays with the others."""
    chunks = job.folder / "chunks"
    mine, others = Traces(documents=frozenset({"b/copy.md"})), Traces(documents=frozenset({"c/none.md"}))
    assert mine.in_file(chunks / "duplicates.json") == "row" and others.in_file(chunks / "duplicates.json") is None
    assert mine.in_file(chunks / "chunks.parquet") is None
    receipt = tmp_path / "published.json"
    said = {
        **json.loads((job.folder / receipt.name).read_text()),
        "unread_first": [{"document": "b/copy.md", "reason": "a scan"}],
    }
    receipt.write_text(json.dumps(said))
    assert mine.in_file(receipt) == "row" and others.in_file(receipt) is None
    assert pq.read_table(chunks / "documents.parquet")["document"].to_pylist() == [
        "a/roofs.md", "a/fields.md", "alone.md"
    ]  # fmt: skip


@pytest.mark.parametrize(
    "content",
    [
        '[{"document": ["b/copy.md"], "reason": "y"}]', '{"unread_first": null, "reason": 1}',
        '{"unread_first": 3, "reason": 1}', '[1, "same_as"]', '{"a": ' + "[" * 100_000 + ' "reason"',
    ],
)  # fmt: skip
def test_json_of_somebodys_own_is_no_list_of_ours(content: str, tmp_path: Path) -> None:
    file = tmp_path / "own.json"
    file.write_text(content)
    assert Traces(documents=frozenset({"b/copy.md"})).in_file(file) is None
