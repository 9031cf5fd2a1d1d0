"""Great Expectations' class of each rule of a contract; every mistake in them at once, in words."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from core.errors import BadRequest, near
from core.schema.columns import Contract, meant
from core.schema.expectations import DataContract
from core.tables.keys import label_name
from pipelines.expectations.outcome import Outcome
from pipelines.expectations.rules import FAULT_RULE, Rule, built_in_rules
from pipelines.expectations.sound_rules import sound_rules
from pipelines.expectations.unsafe_arguments import fault_of

# Judged row by row, but against the other rows: they need their columns whole.
_AGAINST_OTHERS = {
    "expect_column_values_to_be_unique",
    "expect_compound_columns_to_be_unique",
    "expect_column_value_z_scores_to_be_less_than",
    "expect_column_values_to_not_be_outliers",
    "expect_column_values_to_be_increasing",
    "expect_column_values_to_be_decreasing",
}
_NOT_A_USERS = {"id", "rendered_content", "batch_id", "windows", "result_format", "catch_exceptions"}


def plan(
    examples: Contract,
    contract: DataContract,
    columns: Sequence[str],
    settings_file: str,
    *,
    given: str | None = None,
    usual_rate: int | None = None,
) -> list[Outcome]:
    """What will be asked: the built-in contract, then the settings' own expectations.

    given: the column that says each row's split, if there is one. usual_rate: of sounds, as sound_rules() takes it.

    Raises BadRequest with every expectation that is unknown, has wrong arguments or names no column of the data.
    """
    rules = [FAULT_RULE, *built_in_rules(examples, contract.labels), *sound_rules(examples, usual_rate)]
    if given is not None and examples.links is None:
        rules.append(Rule("expect_column_values_to_not_be_null", {"column": given}, f"{given}, its split, is missing"))
    mistakes = []
    for at, entry in enumerate(contract.expectations):
        ((name, arguments),) = entry.items()
        rule = Rule(name, arguments, "")
        if mistake := _mistake(rule, columns):
            mistakes.append(f"{settings_file}: contract.expectations[{at}]: {name}: {mistake}")
        else:
            rule = replace(rule, arguments=_as_meant(arguments, examples, columns))
        words = f"{rule.columns[0]} {{}} breaks {rule.title}" if rule.columns else rule.title
        rules.append(replace(rule, words=words))
    if mistakes:
        raise BadRequest("\n".join(mistakes))
    return [_outcome(rule) for rule in rules]


def _as_meant(arguments: Mapping[str, Any], examples: Contract, columns: Collection[str]) -> dict[str, Any]:
    """An expectation's arguments with the columns of the table that they mean, and values of labels as labels are
    named."""

    def column(name: Any) -> Any:
        return meant(name, columns, examples.added) if isinstance(name, str) else name

    found = {
        **arguments,
        **{key: column(arguments[key]) for key in ("column", "column_A", "column_B") if key in arguments},
    }
    if isinstance(listed := arguments.get("column_list"), list):
        found["column_list"] = [column(name) for name in listed]
    asked = examples.columns.get(found.get("column", ""))
    if asked is not None and asked.kind == "category" and isinstance(values := arguments.get("value_set"), list):
        found["value_set"] = [label_name(value) for value in values]
    return found


def _outcome(rule: Rule) -> Outcome:
    from great_expectations.expectations import expectation as kinds
    from great_expectations.expectations.registry import get_expectation_impl

    made = get_expectation_impl(rule.name)
    over_rows = kinds.ColumnMapExpectation | kinds.ColumnPairMapExpectation | kinds.MulticolumnMapExpectation
    row_by_row = issubclass(made, over_rows)
    return Outcome(rule, made(**rule.arguments), row_by_row, whole=not row_by_row or rule.name in _AGAINST_OTHERS)


def _mistake(rule: Rule, columns: Sequence[str]) -> str | None:
    """What is wrong with an expectation of the settings file, or None."""
    from great_expectations.compatibility.pydantic import ValidationError
    from great_expectations.expectations import registry

    known = sorted(registry.list_registered_expectation_implementations())
    if rule.name not in known:
        alike = difflib.get_close_matches(rule.name, known, n=3)
        return f"Great Expectations has no such expectation. Near: {', '.join(alike) or 'none; its gallery lists them'}"
    made = registry.get_expectation_impl(rule.name)
    allowed = sorted(set(made.__fields__) - _NOT_A_USERS)
    unknown = sorted(set(rule.arguments) - set(allowed))
    if unknown:
        return f"unknown argument {', '.join(map(repr, unknown))}. Allowed: {', '.join(allowed)}"
    if fault := fault_of(rule.arguments):
        return fault
    try:
        made(**rule.arguments)
    except ValidationError as error:
        where = {"/".join(map(str, detail["loc"])): detail["msg"] for detail in reversed(error.errors())}
        return "; ".join(f"{at}: {message}".removeprefix("__root__: ") for at, message in sorted(where.items()))
    absent = [name for name in rule.columns if name not in columns]
    if absent and not rule.name.startswith(("expect_column_to_exist", "expect_table_column")):
        return f"the data has no column {absent[0]!r}. {near(absent[0], columns)}Columns: {', '.join(columns)}"
    return None
