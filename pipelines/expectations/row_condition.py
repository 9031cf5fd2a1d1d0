"""`row_condition` of an expectation: which rows it is about, as pandas' query() reads it, without what query() can run.

query() calls functions and follows attributes, up to those of any module: a condition is a program. What is left here
compares columns with values.
"""

from __future__ import annotations

import ast
import re

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


def fault_of(condition: object) -> str | None:
    """What is wrong with a row_condition, or None."""
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
