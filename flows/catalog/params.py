"""params.yaml itself: read, and edited so that its writer's comments and order stay."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import YAMLError
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from core.atomic_files import write_text
from core.errors import BadRequest
from core.file_locks import locked
from core.schema.reading import Document, read_document
from core.workspace import NAMES, Kind, Workspace, is_name

SECTIONS: dict[Kind, str] = {"recipe": "recipes", "index": "indexes"}
_PLAIN = re.compile(r"[A-Za-z0-9_./-]+")  # anything else is quoted: in flow style DVC's parser reads no plain `a:b`
Entries = dict[str, dict[str, Any]]  # name -> {task, watch}


def read_entries(workspace: Workspace) -> dict[Kind, Entries]:
    """What params.yaml says of each live recipe and index. Raises BadRequest with the line of a mistake."""
    document = read_document(workspace.root / "params.yaml")
    found: dict[Kind, Entries] = {}
    for kind, section in SECTIONS.items():
        entries = document.values.get(section) or {}
        if not isinstance(entries, dict) or not all(isinstance(each, dict) for each in entries.values()):
            raise BadRequest(f"params.yaml:{document.line((section,))}: {section}: must be NAME: {{watch: PATH, ...}}.")
        for name in entries:
            if not is_name(name):  # DVC puts it into a shell's command line
                line = document.line((section, name))
                raise BadRequest(f"params.yaml:{line}: {section}: {name!r} cannot be a name. Allowed: {NAMES}.")
        found[kind] = entries
    return found


def put(workspace: Workspace, kind: Kind, name: str, entry: dict[str, str]) -> None:
    _edit(workspace, lambda document, text: _with_entry(text, kind, name, entry))


def of_these_alone(workspace: Workspace, kind: Kind, names: Collection[str], before: str) -> str | None:
    """The text `before` of params.yaml, with these entries as they are now; None where nothing else of it moved since.

    before: "" where there was none.
    """
    then, now = YAML(typ="safe", pure=True).load(before) or {}, read_entries(workspace)
    own = {(kind, name) for name in names}
    earlier = {(each, name): entry for each in SECTIONS for name, entry in (then.get(SECTIONS[each]) or {}).items()}
    current = {(each, name): entry for each in SECTIONS for name, entry in now[each].items()}
    if all(earlier.get(each) == current.get(each) for each in (earlier.keys() | current.keys()) - own):
        return None
    for name in names:
        before = _with_entry(before, kind, name, now[kind][name])
    return before


def remove(workspace: Workspace, kind: Kind, name: str) -> None:
    """Take an entry out. Where it stands on lines of its own these go and no other, so that no comment goes along."""

    def change(document: Document, text: str) -> str:
        expected = {**document.values, SECTIONS[kind]: dict(document.values[SECTIONS[kind]])}
        del expected[SECTIONS[kind]][name]
        shorter = _without_lines(document, text, SECTIONS[kind], name)
        with contextlib.suppress(YAMLError):  # several entries stood on the lines
            if YAML(typ="safe", pure=True).load(shorter) == expected:
                return shorter
        return _dumped(text, kind, lambda entries: entries.pop(name))

    _edit(workspace, change)


def _with_entry(text: str, kind: Kind, name: str, entry: Mapping[str, str]) -> str:
    written = {
        key: value if _PLAIN.fullmatch(value) else DoubleQuotedScalarString(value) for key, value in entry.items()
    }
    return _dumped(text, kind, lambda entries: entries.setdefault(name, {}).update(written))


def _edit(workspace: Workspace, change: Callable[[Document, str], str]) -> None:
    path = workspace.root / "params.yaml"
    with locked(workspace.var, "params"):
        write_text(path, change(read_document(path), path.read_text(encoding="utf-8")))


def _dumped(text: str, kind: Kind, change: Callable[[CommentedMap], object]) -> str:
    yaml = YAML(typ="rt")
    yaml.width, yaml.preserve_quotes = 4096, True
    tree = yaml.load(text)
    section = SECTIONS[kind]
    if not isinstance(tree.get(section), CommentedMap):
        tree[section] = CommentedMap()
        tree.ca.items.pop(section, None)  # a comment of a key without value would stand before the new ones
    if not tree[section]:
        tree[section].fa.set_block_style()
    change(tree[section])
    if not tree[section]:
        tree[section].fa.set_flow_style()
    out = io.StringIO()
    yaml.dump(tree, out)
    return out.getvalue()


def _without_lines(document: Document, text: str, section: str, name: str) -> str:
    inside = [line for at, line in document.lines.items() if at[:2] == (section, name)]
    lines = text.splitlines(keepends=True)
    del lines[min(inside) - 1 : max(inside)]
    shorter = "".join(lines)
    if len(document.values[section]) == 1:  # an empty section is a mapping still
        shorter = re.sub(rf"(?m)^{section}:[ \t]*", f"{section}: {{}}  ", shorter, count=1)
        shorter = re.sub(rf"(?m)^{section}: {{}}  $", f"{section}: {{}}", shorter)
    return shorter
