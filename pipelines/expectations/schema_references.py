"""`$ref` of a JSON schema in an expectation: only what stands in the schema itself. jsonschema fetches any other."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
_OLD = re.compile(r"json-schema\.org/draft-0[34]/")  # drafts that call a base `id`, as rows of data call theirs


def fault_of(arguments: Mapping[str, Any]) -> str | None:
    """What is wrong with the schemas among an expectation's arguments, or None."""
    for name, value in arguments.items():
        schema = _read(value)
        bases = ("$id", "id") if _OLD.search(str(schema)) else ("$id",)
        for key, found in _leading_out(schema, bases, top=True):
            rule = "A schema refers to itself alone (#/$defs/...): nothing is fetched for it."
            return f"{name}: {key} {found[:100]!r} leads elsewhere. {rule} Copy what it names under `$defs`."
    return None


def _read(value: Any) -> Any:
    """A schema that is written as a text, as what it says."""
    if isinstance(value, str):
        with suppress(ValueError, RecursionError):
            return json.loads(value)
    return value


def _leading_out(node: Any, bases: Sequence[str], *, top: bool = False) -> Iterator[tuple[str, str]]:
    """The references below that do not begin with #, and the bases, below the top, of those that do."""
    if isinstance(node, Mapping):
        for key, value in node.items():
            wrong = (key in _REFERENCES and not str(value).startswith("#")) or (key in bases and not top)
            if isinstance(value, str) and wrong:
                yield key, value
            yield from _leading_out(value, bases)
    elif isinstance(node, list):
        for each in node:
            yield from _leading_out(each, bases)
