"""The reader squad: every question of SQuAD's layout as a row with its place, and what is wrong with one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from core.errors import BadRequest
from core.schema.data import Data
from pipelines.sources._files import Files, Record
from pipelines.sources.readers.published import squad
from pipelines.tasks.text.question_answering import QuestionAnswering
from tests.test_collect import collected

CONTEXT = "Normandy is in France."
FRANCE = {"text": "France", "answer_start": 15}


def document(*asked: dict[str, Any], context: Any = CONTEXT) -> dict[str, Any]:
    return {"version": "v2.0", "data": [{"title": "Normans", "paragraphs": [{"context": context, "qas": list(asked)}]}]}


def records(tmp_path: Path, content: Any) -> list[Record]:
    path = tmp_path / "dev.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    files, data = Files(tmp_path, (path,)), Data(source="dev.json")
    return [
        each for table in squad.read(files, data=data, contract=QuestionAnswering.contract) for each in table.records
    ]


def test_a_question_is_a_row(tmp_path: Path) -> None:
    asked = [
        {"question": "Where is it?", "id": "a", "answers": [FRANCE, FRANCE], "is_impossible": False},
        {"question": "When?", "id": "b", "answers": [], "is_impossible": True, "plausible_answers": [FRANCE]},
    ]
    first, second = records(tmp_path, document(*asked))
    whole = {"context": CONTEXT, "title": "Normans"}
    assert first.values == {**whole, **asked[0]} and first.fault is None
    assert second.values == {**whole, **{name: asked[1][name] for name in asked[0]}} and second.fault is None
    assert (first.place, second.place) == (
        "dev.json#/data/0/paragraphs/0/qas/0", "dev.json#/data/0/paragraphs/0/qas/1",
    )  # fmt: skip


def test_squad_1_does_not_say_is_impossible(tmp_path: Path) -> None:
    (row,) = records(tmp_path, document({"question": "Where?", "id": "a", "answers": [FRANCE]}))
    assert row.values["is_impossible"] is False and row.fault is None


@pytest.mark.parametrize(
    ("asked", "fault"),
    [
        ("a text", "not a question but str"),
        ({"question": "Where?", "answers": [FRANCE], "is_impossible": True}, "is_impossible, and it has answers"),
        ({"question": "Where?", "answers": [], "is_impossible": False}, "not is_impossible, and it has no answers"),
    ],
)
def test_a_bad_question_is_a_bad_row(tmp_path: Path, asked: Any, fault: str) -> None:
    bad, good = records(tmp_path, document(asked, {"question": "Where?", "answers": [FRANCE]}))
    assert bad.fault == fault and good.fault is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"dev\.json: not JSON"),
        ([1], r'dev\.json: no list under "data"'),
        ({"data": [{"title": "x"}]}, r'dev\.json#/data/0: no list under "paragraphs"'),
        ({"data": [{"paragraphs": ["x"]}]}, r'dev\.json#/data/0/paragraphs/0: no list under "qas"'),
    ],
)
def test_another_layout_is_refused(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(BadRequest, match=message):
        records(tmp_path, content)


def test_a_recipe_keeps_the_answerable_ones(tmp_path: Path) -> None:
    """Through collect, with `where`, as the example does."""
    asked = [
        {"question": "Where is it?", "id": "a", "answers": [FRANCE], "is_impossible": False},
        {"question": "When?", "id": "b", "answers": [], "is_impossible": True},
    ]
    (tmp_path / "dev.json").write_text(json.dumps(document(*asked)))
    kept = {"where": {"is_impossible": False}, "reader": "squad", "source": "dev.json", "id": "id"}
    (row,) = collected(tmp_path, QuestionAnswering.contract, **kept)
    assert (row["row_id"], row["answers"]) == ("a", '[{"start":15,"end":21,"text":"France"}]')
