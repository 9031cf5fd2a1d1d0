"""An example's choices with one's own data: its model, training and evaluation stay, its source and columns go."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.errors import BadRequest
from core.schema.data import Data
from core.schema.section import OF_ROWS
from flows.catalog.live import kind_of
from flows.starting.choose import Choice, Wishes, choose
from flows.starting.look import Seen
from flows.starting.settings_text import title
from pipelines.recipes.read import read_index, read_recipe
from pipelines.tasks import find_task

_OF_THE_SOURCE = (
    "header", "reader", "sha256", "name_pattern", "encoding", "delimiter", "columns", "where", "sample", "id",
    "licence", "options",
)  # fmt: skip
_RELATIVE = ("against_baseline", "against_champion", "against_live")  # gates that say nothing of other data's figures


def with_own_data(example: Path, seen: Seen, wishes: Wishes) -> tuple[str, Choice, list[str]]:
    """The example as text with the source put in, its comments kept; what was chosen; what was left out, in words.

    Raises BadRequest where its task does not suit the data, or --task says another.
    """
    from ruamel.yaml import YAML

    kind = kind_of(example)
    read_index(example) if kind == "index" else read_recipe(example)  # every mistake of it, before anything is made
    yaml = YAML()
    yaml.preserve_quotes, yaml.width = True, 4096
    document = yaml.load(example.read_text(encoding="utf-8"))
    changed: list[str] = []
    if kind == "index":
        choice = Choice("index", _of_documents(seen), rows=seen.rows)
        section = document["documents"]
    else:
        if wishes.task not in (None, document["task"]):
            raise BadRequest(
                f"{example} is of {document['task']}, and --task says {wishes.task}. Leave one of both out."
            )
        options = document.get("preprocess") or {}
        choice = choose(seen, Wishes(str(document["task"]), wishes.columns, wishes.base, options))
        section = document["data"]
        _put_choice(document, section, choice, seen, wishes, changed)
    for key in _OF_THE_SOURCE:
        section.pop(key, None)
    section["source"] = choice.data.source
    for key, value in choice.data.model_dump(exclude_defaults=True, exclude={"source", "columns"}).items():
        section[key] = value
    if columns := {name: column.name for name, column in choice.columns.items() if column.name != name}:
        section["columns"] = columns
    text = io.StringIO()
    yaml.dump(document, text)
    return text.getvalue(), choice, changed


def _put_choice(document: Any, section: Any, choice: Choice, seen: Seen, wishes: Wishes, changed: list[str]) -> None:
    task = find_task(str(document["task"]))
    contract = task.contract.chosen(document.get("preprocess") or {})
    split = section.get("split") or {}
    if split.get("given") or split.get("cuts") or {split.get("stratify"), split.get("group_by"), split.get("time")} - {
        None, *contract.columns
    }:  # fmt: skip
        section["split"] = {**choice.split, "seed": 7}
        changed.append("data.split: by shares, since the example's is of its own rows")
    base = document["model"]["base"]
    if isinstance(base, Mapping) and (base.get("settings") or {}).pop("num_channels", None) is not None:
        changed.append("model.base.settings.num_channels: as the pictures have them")
    if choice.preprocess:
        document.setdefault("preprocess", {}).update(choice.preprocess)
        for option in contract.named.keys() - choice.preprocess.keys():
            document["preprocess"].pop(option, None)
    for option, field in task.Preprocess.model_fields.items():
        if OF_ROWS in field.metadata and (document.get("preprocess") or {}).pop(option, None) is not None:
            changed.append(f"preprocess.{option}: left out, which is of the example's rows")
    if wishes.base is not None:
        document["model"] = dict(choice.model)
        changed.append("model: as --base says")
    gates = document.get("gates") or {}
    if absolute := [name for name in gates if name not in _RELATIVE]:
        for name in absolute:
            del gates[name]
        changed.append(f"gates: {', '.join(absolute)} left out, whose bounds are of the example's data")
    gates.setdefault("against_baseline", {"at_least": 0.0})
    document["gates"] = gates
    for key, place in (("registry", "name"), ("contract", "expectations"), ("evaluation", "slices")):
        if isinstance(document.get(key), Mapping) and document[key].pop(place, None) is not None:
            changed.append(f"{key}.{place}: left out")
        if key in document and not document[key]:
            del document[key]
    if document.pop("schedule", None) is not None:
        changed.append("schedule: left out")
    document["title"] = title(choice)


def _of_documents(seen: Seen) -> Data:
    return seen.data.model_copy(update={"reader": "folders"}) if seen.folder is not None else seen.data
