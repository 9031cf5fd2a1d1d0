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
    ast.BinOp, ast.BitAnd, ast.BitOr, ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Mod, ast.Name, ast.Load, ast.Constant,
    ast.List, ast.Tuple,
)  # fmt: skip


def fault_of(condition: object) -> str | None:
    """What is wrong with a row_condition, or None."""
    rule = "Allowed: columns, values, comparisons, in, and, or, not"
    if not isinstance(condition, str):
        return f"row_condition must be text, got {type(condition).__name__}. {rule}"
    try:
        tree = ast.parse(_QUOTED.sub("column", condition).strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return f"row_condition {condition!r} cannot be read. {rule}"
    foreign = next((node for node in ast.walk(tree) if not isinstance(node, _ALLOWED)), None)
    return f"row_condition {condition!r}: {type(foreign).__name__} is not allowed. {rule}" if foreign else None
