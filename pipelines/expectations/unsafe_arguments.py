"""What an expectation's arguments may not do: run code by a `row_condition`, or fetch by a JSON schema's `$ref`.

pandas' query(), which reads conditions, calls functions and follows attributes, up to those of any module: a condition
is a program. What is left here compares columns with values; what a `$ref` may name stands in the schema itself.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

# A column whose name is no identifier, and Great Expectations' own way to name one. No quotes inside: a text in quotes
# could hold the one mark, and what follows it would then go unread.
_QUOTED = re.compile(r"""`[\w .-]+`|col\("[\w .-]+"\)(?:\.notnull\(\))?""")
_ALLOWED = (
    ast.Expression, ast.BoolOp, ast.And, ast.Or, ast.UnaryOp, ast.Not, ast.Invert, ast.USub, ast.Compare, ast.cmpop,
    ast.BinOp, ast.BitAnd, ast.BitOr, ast.Add, ast.Sub, ast.Div, ast.Name, ast.Load, ast.Constant, ast.List, ast.Tuple,
)  # fmt: skip
# Not `*` and `%`: of a text they make one as long as a number says, be the text a column's or the condition's.
_RULE = "Allowed: columns, values, comparisons, in, and, or, not, + - /"
_LONGEST = 4000  # characters, of a condition: lists of allowed values are the longest
_LARGEST = 2**63  # of a whole number: what a column holds
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
_OLD = re.compile(r"json-schema\.org/draft-0[34]/")  # drafts that call a base `id`, as rows of data call theirs


def fault_of(arguments: Mapping[str, Any]) -> str | None:
    """What is wrong with an expectation's arguments, or None."""
    for name, value in arguments.items():
        schema = _read(value)
        bases = ("$id", "id") if _OLD.search(str(schema)) else ("$id",)
        for key, found in _leading_out(schema, bases, top=True):
            rule = "A schema refers to itself alone (#/$defs/...): nothing is fetched for it."
            return f"{name}: {key} {found[:100]!r} leads elsewhere. {rule} Copy what it names under `$defs`."
    condition = arguments.get("row_condition")
    return None if condition is None else _condition_fault(condition)


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


def _condition_fault(condition: object) -> str | None:
    if not isinstance(condition, str):
        return f"row_condition must be text, got {type(condition).__name__}. {_RULE}"
    condition = condition.strip()
    if len(condition) > _LONGEST:
        return f"row_condition has {len(condition):,} characters; at most {_LONGEST:,} are read."
    if len(condition.splitlines()) > 1:  # pandas cuts at each of them, and what is a comment here is a line there
        return f"row_condition {condition!r} must stand on one line. {_RULE}"
    try:
        tree = ast.parse(_QUOTED.sub("column", condition), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return f"row_condition {condition!r} cannot be read. {_RULE}"
    foreign = next((node for node in ast.walk(tree) if not _allowed(node)), None)
    return f"row_condition {condition!r}: {_named(foreign)} is not allowed. {_RULE}" if foreign else None


def _allowed(node: ast.AST) -> bool:
    if isinstance(node, ast.Constant):
        value = node.value
        return isinstance(value, str | bool | float | None) or (isinstance(value, int) and value < _LARGEST)
    return isinstance(node, _ALLOWED)


def _named(node: ast.AST) -> str:
    return f"the value {str(node.value)[:40]}" if isinstance(node, ast.Constant) else type(node).__name__
