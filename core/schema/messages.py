"""Pydantic's findings -> what a person reads: where, what is allowed, what was found, and what was probably meant."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from core.errors import near

Location = tuple[str | int, ...]
_LONGEST = 60  # characters of a value that a message repeats

_KINDS = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "none_required": "null",
}
_BOUNDS = {
    "greater_than_equal": ("at least", "ge"),
    "greater_than": ("more than", "gt"),
    "less_than_equal": ("at most", "le"),
    "less_than": ("less than", "lt"),
}


def messages(
    details: Iterable[ErrorDetails], model: type[BaseModel], values: Mapping[str, Any]
) -> Iterator[tuple[Location, str]]:
    """(place, message) for each finding of one validation of `values` against `model`.

    A union reports each of its branches; here it is one message: that of the branch begun, or all kinds allowed.
    """
    unions: dict[Location, dict[Location, list[ErrorDetails]]] = {}
    for detail in details:
        place, union = _place(detail, values)
        if union is None:
            yield place, _message(detail, model, place)
        else:
            unions.setdefault(union, {}).setdefault(place, []).append(detail)
    for union, places in unions.items():
        if len(places) > 1:
            places.pop(union, None)  # those that do not even begin like the value
        for place, branches in places.items():
            other = [detail for detail in branches if detail["type"] not in _KINDS]
            if other or len(branches) == 1:
                yield place, _message((other or branches)[0], model, place)
            else:
                yield place, _neither(branches, _keys(model, place))


def _neither(details: Sequence[ErrorDetails], keys: Sequence[str]) -> str:
    kinds = dict.fromkeys(_KINDS[detail["type"]] for detail in details)
    allowed = [f"{kind} ({', '.join(keys)})" if kind == "a mapping" and keys else kind for kind in kinds]
    return f"must be {' or '.join(allowed)}, got {_shown(details[0]['input'])}"


def _place(detail: ErrorDetails, values: Mapping[str, Any]) -> tuple[Location, Location | None]:
    """Where it is in the values, without pydantic's names of a union's branches; and the union, if there is one."""
    place: list[str | int] = []
    union: Location | None = None
    node: Any = values
    for index, part in enumerate(detail["loc"]):
        last = index == len(detail["loc"]) - 1
        if (isinstance(node, dict) and part in node) or (isinstance(node, list) and isinstance(part, int)):
            place.append(part)
            node = node[part]  # type: ignore[index]
        elif last and detail["type"] == "missing":
            place.append(part)
        elif union is None:
            union = tuple(place)
    return tuple(place), union


def _message(detail: ErrorDetails, model: type[BaseModel], place: Location) -> str:
    kind, value, context = detail["type"], detail["input"], detail.get("ctx", {})
    if kind == "extra_forbidden":
        allowed = _keys(model, place[:-1])
        return f"unknown key. {near(str(place[-1]), allowed)}Allowed: {', '.join(allowed)}"
    if kind == "missing":
        return "required, but missing"
    if kind == "literal_error":
        expected = str(context["expected"]).replace(" or ", ", ").replace("'", "")
        return f"{near(str(value), expected.split(', '))}Allowed: {expected}; got {_shown(value)}"
    if kind in _BOUNDS:
        words, bound = _BOUNDS[kind]
        return f"must be {words} {context[bound]:g}, got {_shown(value)}"
    if kind in _KINDS:
        return f"must be {_KINDS[kind]}, {_hint(_KINDS[kind], value)}"
    if kind == "value_error":
        return str(context["error"])
    return f"{detail['msg'].replace('Input should', 'must').replace('String should', 'must')}, got {_shown(value)}"


def _hint(wanted: str, value: Any) -> str:
    if value is None and wanted == "a mapping":
        return "but nothing stands below it: fill it in, or leave the key out"
    if isinstance(value, str) and wanted in ("a number", "a whole number"):
        return f"got the text {_shown(value)}" + (": remove the quotes" if _is_number(value) else "")
    if wanted == "text" and isinstance(value, int | float):
        return f"got {_shown(value)}: put it in quotes"
    return f"got {_shown(value)}"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _shown(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def _keys(model: type[BaseModel], place: Location) -> list[str]:
    """The keys that the section at `place` knows; of a union, those of its mapping."""
    annotations: list[Any] = [model]
    for part in place:
        fields = [m.model_fields[part].annotation for m in _models(annotations) if part in m.model_fields]
        annotations = fields or [inner for a in annotations for inner in getattr(a, "__args__", ())]
    return sorted({name for found in _models(annotations) for name in found.model_fields})


def _models(annotations: Iterable[Any]) -> list[type[BaseModel]]:
    """The sections among annotations, and those inside unions; not those inside lists and mappings."""
    found: list[type[BaseModel]] = []
    for annotation in annotations:
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            found.append(annotation)
        elif getattr(annotation, "__origin__", None) not in (list, dict):
            found.extend(_models(getattr(annotation, "__args__", ())))
    return found
