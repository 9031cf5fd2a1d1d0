"""Texts and their spans from every kind of file, as one table of examples; what is wrong is told with its row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.schema.columns import Column, Contract
from tests.test_collect import collected, write_rows

SPANS = Contract({"text": Column("text"), "spans": Column("spans")}, inputs=("text",), targets=("spans",))
TOKENS, TAGS = ["Ann", "likes", "New", "York"], ["B-per", "O", "B-loc", "I-loc"]
TEXT = "Ann likes New York"
CELL = '[{"start":0,"end":3,"label":"per"},{"start":10,"end":18,"label":"loc"}]'
LISTED = json.loads(CELL)
MAPPED = {"text": "tokens", "spans": "tags"}


def one(root: Path, **data: Any) -> tuple[Any, Any, Any]:
    (row,) = collected(root, SPANS, **data)
    return row["text"], row["spans"], row["fault"]


def test_a_csv_has_spans_as_json(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.csv", [(TEXT, json.dumps(LISTED[::-1], indent=1))], ("text", "spans"))
    assert one(tmp_path) == (TEXT, CELL, None)


def test_jsonl_and_parquet_have_them_as_lists(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(json.dumps({"text": TEXT, "spans": LISTED}) + "\n")
    pq.write_table(pa.table({"text": [TEXT], "spans": [LISTED]}), tmp_path / "rows.parquet")
    assert one(tmp_path, source="rows.jsonl") == one(tmp_path, source="rows.parquet") == (TEXT, CELL, None)


def test_lists_of_tokens_and_of_tags_become_the_same(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(json.dumps({"tokens": TOKENS, "tags": TAGS}) + "\n")
    pq.write_table(pa.table({"tokens": [TOKENS], "tags": [TAGS]}), tmp_path / "rows.parquet")
    (tmp_path / "rows.conll").write_text("\n".join(f"{token}\t{tag}" for token, tag in zip(TOKENS, TAGS, strict=True)))
    for source in ("rows.jsonl", "rows.parquet"):
        assert one(tmp_path, source=source, columns=MAPPED) == (TEXT, CELL, None)
    assert one(tmp_path, source="rows.conll") == (TEXT, CELL, None)


def test_the_same_sentence_has_the_same_hash_however_it_was_written(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(json.dumps({"tokens": TOKENS, "tags": TAGS}) + "\n")
    write_rows(tmp_path / "rows.csv", [(TEXT, "[]")], ("text", "spans"))
    hashes = {
        collected(tmp_path, SPANS, source=source, columns=columns)[0]["content_hash"]
        for source, columns in (("rows.jsonl", MAPPED), ("rows.csv", {}))
    }
    assert len(hashes) == 1


@pytest.mark.parametrize(
    ("row", "fault"),
    [
        ({"tokens": ["a", "b"], "tags": ["O"]}, "tokens and tags: 2 tokens and 1 tags"),
        ({"tokens": ["a"], "tags": [3]}, "tokens and tags: token 1: 3 is no tag"),
        ({"tokens": ["a", None], "tags": ["O", "O"]}, "tokens and tags: token 2: None is no word"),
        ({"tokens": "a b", "tags": ["O", "O"]}, "spans: 'O' is no span"),
        (
            {"tokens": "a b", "tags": [{"start": 0, "end": 9, "label": "x"}]},
            "spans: .* ends behind the text's 3 characters",
        ),
        ({"tokens": 5, "tags": []}, "text: not text but int"),
    ],
)
def test_what_is_wrong_with_a_row_is_told_and_it_stays(tmp_path: Path, row: dict[str, Any], fault: str) -> None:
    lines = [row, {"tokens": ["fine"], "tags": ["O"]}]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    bad, good = collected(tmp_path, SPANS, source="rows.jsonl", columns=MAPPED)
    with pytest.raises(AssertionError, match=fault):
        raise AssertionError(bad["fault"])
    assert (good["text"], good["spans"], good["fault"]) == ("fine", "[]", None)
    assert bad["place"] == "rows.jsonl:1"


def test_tokens_without_tags_are_a_text_without_spans(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(json.dumps({"tokens": TOKENS, "tags": None}) + "\n")
    assert one(tmp_path, source="rows.jsonl", columns=MAPPED) == (TEXT, None, None)
