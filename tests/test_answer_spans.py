"""Answers of a context as a cell of a table: from every form of source, and each way in which one can be wrong."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.cells.answer_spans import Answer, listed, told, written
from pipelines.tasks.text.question_answering import QuestionAnswering
from tests.test_collect import collected, write_rows

CONTRACT = QuestionAnswering.contract
CONTEXT = "Normandy, a region in France. The Normans came to France in the 10th century."
FRANCE, CENTURY = Answer(22, 28, "France"), Answer(64, 76, "10th century")
QUESTION = "Where is Normandy?"


@pytest.mark.parametrize(
    ("value", "answers"),
    [
        (["France"], [FRANCE]),
        ([{"text": "France", "start": 50}], [Answer(50, 56, "France")]),
        ([{"text": " France", "answer_start": 21}], [FRANCE]),
        ([{"text": "10th century", "answer_start": 64}, "France", {"text": "France", "start": 22}], [FRANCE, CENTURY]),
        ({"text": ["France", "10th century"], "answer_start": [22, 64]}, [FRANCE, CENTURY]),
        ({"text": [], "answer_start": []}, []),
        ([], []),
        ('["France"]', [FRANCE]),
        ("France", [FRANCE]),
        (["an"], [Answer(4, 6, "an")]),
    ],
)
def test_an_answer_is_a_place_of_the_context_however_it_is_written(value: Any, answers: list[Answer]) -> None:
    """The one given most often first; white space at its ends belongs to none."""
    assert told(value, CONTEXT) == (written(answers), None)
    assert listed(written(answers)) == answers


def test_an_answer_without_a_place_is_whole_words_first() -> None:
    assert told(["art"], "Martha saw art.") == ('[{"start":11,"end":14,"text":"art"}]', None)


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        (["Berlin"], "'Berlin' is not in the context"),
        (["france"], "'france' is not in the context"),
        ([{"text": "France", "start": 23}], "'France' does not stand at character 23 of the context: 'rance.' does"),
        ([{"text": "France", "start": 900}], "'France' does not stand at character 900 of the context: '' does"),
        ([{"text": "France", "start": -1}], "no whole number from 0 on"),
        ([{"text": "France", "start": "22"}], "no whole number from 0 on"),
        (["  "], "the answer '  ' is empty"),
        ([{"start": 3}], "is no answer: a text, or {text, start}, is meant"),
        ([3], "3 is no answer"),
        ({"text": "France"}, "not a list of answers but {'text': 'France'}"),
        ({"text": ["France"], "answer_start": []}, "as many texts as starts are meant"),
        ('["France', "not JSON"),
    ],
)
def test_what_is_wrong_is_told(value: Any, fault: str) -> None:
    cell, said = told(value, CONTEXT)
    assert said is not None and fault in said
    assert cell is None or cell == value


def test_every_kind_of_file_gives_the_same_row(tmp_path: Path) -> None:
    answers = [{"text": "France", "answer_start": 22}]
    row = {"question": QUESTION, "context": CONTEXT, "answers": answers}
    (tmp_path / "rows.jsonl").write_text(json.dumps(row))
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "rows.parquet")
    write_rows(tmp_path / "rows.csv", [(QUESTION, CONTEXT, json.dumps(answers))], ("question", "context", "answers"))
    for source in ("rows.jsonl", "rows.parquet", "rows.csv"):
        (found,) = collected(tmp_path, CONTRACT, source=source)
        assert (found["question"], found["context"], found["fault"]) == (QUESTION, CONTEXT, None), source
        assert listed(found["answers"]) == [FRANCE], source
