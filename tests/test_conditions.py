"""What an expectation may say: conditions that compare, schemas that refer to themselves. Nothing else."""

from __future__ import annotations

import urllib.request
from typing import Any

import pandas as pd
import pytest

from pipelines.expectations.unsafe_arguments import fault_of

BREAKS = "\n\r\v\f\x1c\x1d\x1e\x85\u2028\u2029"
AWAY = "http://127.0.0.1:9/schema"


@pytest.mark.parametrize(
    "condition",
    [
        "x == 1", "x > -1.5 and not (label in ['a', 'b'])", "`a column` != 'it\\'s'", 'col("x").notnull()',
        "a + b / 2 - 1 >= c",        "x == 1 | y == 2 & ~(z < 3)",
        "label in [" + ", ".join(f"'label {i}'" for i in range(250)) + "]", " x == 1\n",
    ],
)  # fmt: skip
def test_a_condition_that_compares(condition: str) -> None:
    assert fault_of({"row_condition": condition}) is None


@pytest.mark.parametrize(
    "condition",
    [
        *(f"x == 1 #{mark}y = @os.system('id')" for mark in BREAKS), *(f"x == 1{mark}x == 2" for mark in BREAKS),
        "t == 'a' * 1000000000", "t * 1000000000 == 'a'", "'%1000000000d' % x == t", "t % 5 == ''",
        "x == 2 ** 10 ** 10", "x == 1 << 10 ** 10",
        f"x == {10**30}", f"x == 0x{'f' * 300}", "x == b'a'", "x == 1j", "x == ...", "x == 1 and " * 400 + "x == 1",
        "@os.system('id')", "t.__class__ == 1", "f(x) == 1", "[a for a in x] == 1", "(lambda: 1) == 1",
        "f'{x}' == 1", "x[0] == 1", 7,
    ],
)  # fmt: skip
def test_a_condition_that_could_do_more(condition: object) -> None:
    assert "row_condition" in str(fault_of({"row_condition": condition}))


def test_what_is_a_line_for_pandas_is_one_here() -> None:
    """The marks above are all that str.splitlines() knows, by which pandas cuts."""
    assert {chr(code) for code in range(0x110000) if len(f"a{chr(code)}b".splitlines()) > 1} == set(BREAKS)


def nested(schema: Any) -> dict[str, Any]:
    return {"column": "text", "json_schema": {"properties": {"a": {"items": [{"anyOf": [schema]}]}}}}


@pytest.mark.parametrize(
    "arguments",
    [
        {"json_schema": {"$ref": AWAY}}, nested({"$ref": AWAY}), nested({"$dynamicRef": f"{AWAY}#a"}),
        nested({"$recursiveRef": "x"}),
        nested({"$ref": "other.json"}), nested({"$id": AWAY, "$ref": "#/a"}), {"json_schema": '{"$ref": "file:///etc/passwd"}'},
        {"json_schema": {"$schema": "http://json-schema.org/draft-04/schema#", "items": {"id": AWAY, "$ref": "#/a"}}},
        {"anything": [{"$ref": AWAY}]}, {"json_schema": {"default": {"$ref": AWAY}, "$ref": "#/default"}},
    ],
)  # fmt: skip
def test_a_reference_that_leads_out_of_its_schema(arguments: dict[str, Any]) -> None:
    assert "leads elsewhere" in str(fault_of(arguments))


def test_a_schema_that_refers_to_itself_fetches_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one whose own address, dialect and anchors lie elsewhere."""
    import jsonschema  # type: ignore[import-untyped]

    asked: list[Any] = []
    monkeypatch.setattr(urllib.request, "urlopen", lambda *given, **_: asked.append(given))
    text = {"type": "string", "examples": [{"id": AWAY}]}
    for schema in (
        {"$id": AWAY, "$defs": {"a": text}, "properties": {"a": {"$ref": "#/$defs/a"}, "id": text}},
        {"$schema": AWAY, "$defs": {"a": {**text, "$anchor": "here"}}, "properties": {"a": {"$ref": "#here"}}},
        {"$defs": {"a": {**text, "$dynamicAnchor": "here"}}, "properties": {"a": {"$dynamicRef": "#here"}}},
        {"$schema": "http://json-schema.org/draft-04/schema#", "id": AWAY, "definitions": {"a": {"type": "string"}},
         "properties": {"a": {"$ref": "#/definitions/a"}}},
    ):  # fmt: skip
        assert fault_of({"json_schema": schema}) is None
        jsonschema.validate({"a": "x"}, schema)
        with pytest.raises(jsonschema.ValidationError, match="is not of type"):
            jsonschema.validate({"a": 1}, schema)
    assert asked == []


def test_pandas_takes_what_is_allowed() -> None:
    frame = pd.DataFrame({"x": [1, 2], "a column": ["it's", "b"]})
    assert len(frame.query("x > -1.5 and not (x in [2, 3])")) == 1
    assert len(frame.query("`a column` != 'b'")) == 1
