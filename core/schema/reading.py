"""Reading a settings file: YAML -> values and the line of each; and every mistake of a file at once."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.scalarbool import ScalarBoolean

from core.addresses import holds_secret
from core.errors import BadRequest
from core.schema.messages import messages

_FEW = 10_000  # values: an alias of itself is met before, and has a message of its own
_MAX_BYTES = 32 * 2**20  # dvc.lock of a few hundred recipes is the longest
_IN_AN_ADDRESS = (
    "an address with a password or a token in it. Secrets come from the environment only: take it out, and "
    "change it if this file was committed. (AWS_ACCESS_KEY_ID ..., HF_TOKEN; sql: {url_env: VARIABLE})"
)
M = TypeVar("M", bound=BaseModel)
Location = tuple[str | int, ...]


@dataclass(frozen=True, order=True)
class Mistake:
    """at: the keys that lead to what is wrong; empty where it is the file as a whole."""

    line: int
    message: str
    at: Location = field(default=(), compare=False)


class BadSettings(BadRequest):
    """All mistakes of one settings file."""

    def __init__(self, path: Path, mistakes: Iterable[Mistake]) -> None:
        self.path, self.mistakes = path, sorted(set(mistakes))
        super().__init__("\n".join(f"{shown(path)}:{mistake.line}: {mistake.message}" for mistake in self.mistakes))


@dataclass(frozen=True)
class Document:
    """A YAML mapping, and the 1-based line of each of its keys and items."""

    path: Path
    values: Mapping[str, Any]
    lines: Mapping[Location, int]

    def line(self, location: Location) -> int:
        """The line of the deepest part of `location` that the file has."""
        ends = range(len(location), 0, -1)
        return next((self.lines[location[:end]] for end in ends if location[:end] in self.lines), 1)

    def mistake(self, location: Location, message: str) -> Mistake:
        where = ".".join(str(part) for part in location)
        return Mistake(self.line(location), f"{where}: {message}" if where else message, location)

    def without(self, places: Iterable[Location]) -> Document:
        """The same as if what stands at these places were not there; of one that is missing, what should hold it."""
        values = copy.deepcopy(dict(self.values))
        for *above, key in {found for place in places if (found := _there(self.values, place))}:
            inside: Any = values
            for each in above:
                inside = inside.get(each, {})
            inside.pop(key, None)
        return replace(self, values=values)


def shown(path: Path) -> str:
    """A path as its reader would type it: from the current directory, when it lies below."""
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def read_document(path: Path) -> Document:
    """Parse a YAML mapping, safely: no tag makes an object, aliases do not multiply, and secrets are refused unread.

    Raises BadRequest for a missing file, BadSettings for text that is not such YAML.
    """
    text = _text(path)
    if secrets := [Mistake(at, _IN_AN_ADDRESS) for at, line in enumerate(text.splitlines(), 1) if holds_secret(line)]:
        raise BadSettings(path, secrets)
    try:
        tree = YAML(typ="rt").load(text)
        values = _Values(path, max(len(text), _FEW))
        lines = dict(values.lines(tree))
        if isinstance(tree, CommentedMap):
            document = Document(path, _plain(tree), lines)
            if values.secrets:  # that YAML's escapes or folded lines hid in the text
                raise BadSettings(path, [Mistake(document.line(at), _IN_AN_ADDRESS) for at in values.secrets])
            return document
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise BadSettings(path, [Mistake(line, f"not YAML: {error.problem or error.context}")]) from None
    except (YAMLError, ValueError) as error:
        raise BadSettings(path, [Mistake(1, f"not YAML: {str(error).splitlines()[0]}")]) from None
    except RecursionError:
        raise BadSettings(path, [Mistake(1, "an alias refers to itself, or lists nest too deeply")]) from None
    got = "an empty file" if tree is None else "a list" if isinstance(tree, list) else f"{tree!r}"
    raise BadSettings(path, [Mistake(1, f"must be a mapping of sections (`section: ...`), got {got}")])


def _there(values: Any, place: Location) -> Location:
    """The deepest part of a place that values have."""
    for depth, key in enumerate(place):
        if not isinstance(values, Mapping) or key not in values:
            return place[:depth]
        values = values[key]
    return place


def parse(document: Document, model: type[M], values: Mapping[str, Any], *, at: Location = ()) -> M:
    """Check values (the document's, or a part of them with defaults filled in) against a model.

    at: where `values` stand in the document. Raises BadSettings with every mistake.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        found = messages(error.errors(), model, values)
        raise BadSettings(document.path, [document.mistake((*at, *place), text) for place, text in found]) from None


def mistakes_of(
    document: Document, model: type[BaseModel], values: Mapping[str, Any], *, at: Location = ()
) -> list[Mistake]:
    """The mistakes that parse() would raise, for a caller that has others to add."""
    try:
        parse(document, model, values, at=at)
    except BadSettings as error:
        return error.mistakes
    return []


def _text(path: Path) -> str:
    try:
        if (size := path.stat().st_size) > _MAX_BYTES:
            raise BadRequest(f"{shown(path)}: a settings file of {size:,} bytes; at most {_MAX_BYTES:,} are read.")
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise BadRequest(f"{shown(path)}: no such file. `headrace new NAME --from FILE` makes one.") from None
    except UnicodeDecodeError as error:
        raise BadRequest(f"{shown(path)}: not UTF-8 (byte {error.start}). Save it as UTF-8.") from None
    except OSError as error:
        raise BadRequest(f"{shown(path)}: cannot be read ({error.strerror}).") from None


@dataclass
class _Values:
    """A walk over what a file says, that looks at each value and each key.

    left: how many may still come. No text holds more of them than characters, unless aliases multiply them.
    """

    path: Path
    left: int
    secrets: list[Location] = field(default_factory=list)

    def lines(self, node: Any, location: Location = (), line: int = 1) -> Iterator[tuple[Location, int]]:
        """Where each key of a mapping and each item of a list stands; keys merged from an anchor stand nowhere.

        Raises BadSettings when there are too many values, or one has a tag of its own.
        """
        self.left -= 1
        if self.left < 0:
            raise BadSettings(self.path, [Mistake(line, "its aliases multiply to more values than it has characters")])
        tag = str(getattr(getattr(node, "tag", None), "value", None) or "")
        if tag.startswith("!") or "python" in tag:
            raise BadSettings(self.path, [Mistake(line, f"the tag {tag[:60]!r}: tags are not read, only plain YAML")])
        if isinstance(node, CommentedMap):
            for key, value in node.items():
                inside = (*location, str(key))
                if key in (node.lc.data or {}):
                    line = node.lc.data[key][0] + 1
                    yield inside, line
                if holds_secret(str(key)):
                    self.secrets.append(inside)
                yield from self.lines(value, inside, line)
        elif isinstance(node, CommentedSeq):
            for index, value in enumerate(node):
                line = node.lc.data[index][0] + 1
                yield (*location, index), line
                yield from self.lines(value, (*location, index), line)
        elif holds_secret(str(node)):
            self.secrets.append(location)


def _plain(node: Any) -> Any:
    """The same without ruamel's own types."""
    if isinstance(node, Mapping):
        return {str(key): _plain(value) for key, value in node.items()}
    if isinstance(node, Sequence) and not isinstance(node, str | bytes):
        return [_plain(value) for value in node]
    if isinstance(node, bool | ScalarBoolean):
        return bool(node)
    if node is None:
        return None
    for kind in (int, float, str):
        if isinstance(node, kind):
            return kind(node)
    return str(node)
