"""Reading a settings file: every mistake at once, each with its line, its value and what is allowed."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from pipelines.errors import BadRequest

M = TypeVar("M", bound=BaseModel)
Location = tuple[str | int, ...]
_ALIKE = 0.6


@dataclass(frozen=True, order=True)
class Mistake:
    line: int
    message: str


class BadSettings(BadRequest):
    """All mistakes of one settings file."""

    def __init__(self, path: Path, mistakes: Sequence[Mistake]) -> None:
        self.path, self.mistakes = path, sorted(set(mistakes))
        super().__init__("\n".join(f"{path}:{mistake.line}: {mistake.message}" for mistake in self.mistakes))


@dataclass(frozen=True)
class Document:
    """A YAML mapping that remembers the line of every key."""

    path: Path
    tree: CommentedMap

    def plain(self) -> dict[str, Any]:
        return dict(_plain(self.tree))

    def line(self, location: Location) -> int:
        """The 1-based line of the deepest part of `location` that the file has."""
        node: Any = self.tree
        line = 1
        for part in location:
            if isinstance(node, CommentedMap) and part in node:
                line = node.lc.key(part)[0] + 1
            elif isinstance(node, CommentedSeq) and isinstance(part, int) and part < len(node):
                line = node.lc.item(part)[0] + 1
            else:
                continue  # a step of pydantic's own, such as a union's branch
            node = node[part]
        return line

    def mistake(self, location: Location, message: str) -> Mistake:
        where = ".".join(str(part) for part in location)
        return Mistake(self.line(location), f"{where}: {message}" if where else message)


def read_document(path: Path) -> Document:
    """Parse a YAML mapping, safely. Raises BadRequest for a missing file, BadSettings for text that is not YAML."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise BadRequest(f"{path}: no such file. `headrace new NAME --from examples/FILE` makes one.") from None
    except UnicodeDecodeError as error:
        raise BadRequest(f"{path}: not UTF-8 (byte {error.start}). Save it as UTF-8.") from None
    except OSError as error:
        raise BadRequest(f"{path}: cannot be read ({error.strerror}).") from None
    try:
        tree = YAML(typ="rt").load(text)
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise BadSettings(path, [Mistake(line, f"not YAML: {error.problem or error.context}")]) from None
    except (YAMLError, ValueError) as error:
        raise BadSettings(path, [Mistake(1, f"not YAML: {error}")]) from None
    if not isinstance(tree, CommentedMap):
        raise BadSettings(path, [Mistake(1, f"must be a mapping of sections, got {type(tree).__name__}")])
    return Document(path, tree)


def parse(document: Document, model: type[M], values: Mapping[str, Any], *, at: Location = ()) -> M:
    """Check values (the document's, or a part of them with defaults filled in) against a model.

    at: where `values` stand in the document. Raises BadSettings with every mistake.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise BadSettings(
            document.path, [_mistake(document, at, detail, model) for detail in _worst(error.errors())]
        ) from None


def _worst(details: list[ErrorDetails]) -> list[ErrorDetails]:
    """Of a union's branches, keep those that got furthest: the one the writer meant."""
    kept: dict[Location, list[ErrorDetails]] = {}
    for detail in details:
        root = next((at for at in kept if detail["loc"][: len(at)] == at or at[: len(detail["loc"])] == detail["loc"]), None)
        kept.setdefault(root or detail["loc"], []).append(detail)
    return details if all(len(group) == 1 for group in kept.values()) else [d for group in kept.values() for d in group]


def _mistake(document: Document, at: Location, detail: ErrorDetails, model: type[BaseModel]) -> Mistake:
    location = (*at, *_real(document, at, detail["loc"]))
    if detail["type"] == "extra_forbidden":
        key = str(detail["loc"][-1])
        allowed = _allowed(model, detail["loc"][:-1])
        near = difflib.get_close_matches(key, allowed, n=1, cutoff=_ALIKE)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        return document.mistake(location, f"unknown key.{hint} Allowed: {', '.join(allowed)}")
    if detail["type"] == "missing":
        return document.mistake(location, "required, but missing")
    message = detail["msg"].removeprefix("Value error, ").replace("Input should", "must")
    return document.mistake(location, f"{message}, got {detail['input']!r}" if ", got" not in message else message)


def _real(document: Document, at: Location, location: Location) -> Location:
    """The location without pydantic's own steps (names of a union's branches), unless it is the missing key itself."""
    node: Any = document.tree
    for part in at:
        node = node.get(part, {}) if isinstance(node, Mapping) else {}
    real: list[str | int] = []
    for index, part in enumerate(location):
        known = (isinstance(node, Mapping) and part in node) or (
            isinstance(node, Sequence) and not isinstance(node, str) and isinstance(part, int) and part < len(node)
        )
        if known:
            real.append(part)
            node = node[part]
        elif index == len(location) - 1 and isinstance(node, Mapping):
            real.append(part)
    return tuple(real)


def _allowed(model: type[BaseModel], location: Location) -> list[str]:
    """The keys that the section at `location` knows."""
    current: Any = model
    for part in location:
        fields = getattr(current, "model_fields", {})
        if part in fields:
            current = _model_of(fields[part].annotation)
        elif isinstance(part, str) and getattr(current, "__name__", "") != part:
            current = _model_of(current)
    return sorted(getattr(current, "model_fields", {}))


def _model_of(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        found = _model_of(argument)
        if found is not None:
            return found
    return None


def _plain(node: Any) -> Any:
    if isinstance(node, Mapping):
        return {str(key): _plain(value) for key, value in node.items()}
    if isinstance(node, Sequence) and not isinstance(node, str | bytes):
        return [_plain(value) for value in node]
    if isinstance(node, bool) or node is None:
        return node
    for kind in (int, float, str):
        if isinstance(node, kind):
            return kind(node)
    return str(node)
