"""Access labels: what is unclear is a mistake, and never everybody."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from core.errors import BadRequest
from core.schema.columns import DOCUMENTS
from core.schema.data import Data
from core.schema.reading import BadSettings, parse, read_document
from core.tables.access import Rules, listed, told
from pipelines.recipes.recipe import Index
from pipelines.sources._examples import Shape
from pipelines.sources._files import Record


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (["hr", "finance", "hr"], ("finance", "hr")), ("hr", ("hr",)), (" hr , finance ", ("finance", "hr")),
        ([], ()), ("*", ()), (" * ", ()), (["team:öl/1"], ("team:öl/1",)),
    ],
)  # fmt: skip
def test_labels_as_a_list_or_as_text(value: Any, expected: tuple[str, ...]) -> None:
    text, fault = told(value, needed=True)
    assert fault is None and text is not None
    assert listed(text) == expected


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        (None, "says nothing"), ("", "'' is no label"), ("hr,", "'' is no label"), ("hr,,it", "'' is no label"),
        ("*,hr", r"'\*' is no label"), (["*"], r"'\*' is no label"), (["a,b"], "'a,b' is no label"),
        ([3], "'3' is no label"), ([None], "'None' is no label"), ("h r", "'h r' is no label"),
        ([""], "'' is no label"),
        ({"hr": 1}, "neither a list nor text with commas but dict"), (7, "but int"), (float("nan"), "but float"),
        (["x" * 101], "is no label"),
        (["hr\n"], "is no label"),
    ],
)  # fmt: skip
def test_what_is_unclear_is_a_fault(value: Any, fault: str) -> None:
    assert told(value, needed=True)[0] is None
    with pytest.raises(AssertionError, match=fault):
        raise AssertionError(told(value, needed=True)[1])


def test_a_row_whose_labels_are_unclear_is_quarantined() -> None:
    named = Shape(DOCUMENTS, Data(source="x", columns={"labels": "who"}))
    assert named.example(Record({"text": "t", "who": None}, "x:1")).fault == (
        "labels: says nothing. Write [] (as text: *) where everybody may read"
    )
    assert named.example(Record({"text": "t", "who": "hr"}, "x:1")).values["labels"] == "hr"
    unnamed = Shape(DOCUMENTS, Data(source="x"))
    assert unnamed.example(Record({"text": "t"}, "x:1")).fault is None
    assert unnamed.example(Record({"text": "t", "labels": ["hr"]}, "x:1")).values["labels"] == "hr"


def test_globs() -> None:
    rules = Rules({"hr/*": ["hr", "boss"], "caf\u00e9.txt": [], "*.pdf": ["it"]}, ["staff"], "a.yaml")
    assert rules.of("hr/deep/a.txt", None) == ("boss", "hr")
    assert rules.of("cafe\u0301.txt", None) == ()  # the same name, as another file system spells it
    assert rules.of("HR/a.txt", None) == ("staff",)
    with pytest.raises(BadRequest, match=r"access\.labels: 'hr/\*' and '\*\.pdf' both match document 'hr/a\.pdf'"):
        rules.of("hr/a.pdf", None)
    with pytest.raises(BadRequest, match=r"'\*\.pdf' matches no document"):
        Rules({"*.pdf": ["it"]}, [], "a.yaml").refuse_unused(["a.txt"])
    rules.refuse_unused(["quarantined.pdf"])


def test_no_rule_for_a_document() -> None:
    with pytest.raises(BadRequest, match=r"no glob matches document 'a\.txt'.*access\.others"):
        Rules({"hr/*": ["hr"]}, None, "a.yaml").of("a.txt", None)
    with pytest.raises(BadRequest, match="has labels of its own"):
        Rules({}, ["staff"], "a.yaml").of("a.txt", ())
    assert Rules({}, None, "a.yaml").of("a.txt", ("hr",)) == ("hr",)
    assert Rules({}, None, "a.yaml").of("a.txt", None) == ()


@pytest.mark.parametrize(
    "access",
    [
        "{labels: {'hr/*': hr}}",
        "{labels: {'hr/*': ['h r']}}",
        "{labels: {'hr/*': ['*']}}",
        "{label: {}}",
        "{others: x}",
    ],
)
def test_settings_that_are_wrong(tmp_path: Path, access: str) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(f"documents: {{source: x}}\nembed: {{model: m}}\naccess: {access}\n")
    document = read_document(path)
    with pytest.raises(BadSettings, match=r"a\.yaml:3: access\."):
        parse(document, Index, document.values)
