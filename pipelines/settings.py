"""settings: recipes/NAME.yaml + NAME.lock -> settings.json, every default filled in and every mistake reported.

The other stages name their sections of settings.json as DVC params, so a change re-runs those that read it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from pipelines.closure import closure, code_hash
from pipelines.contract import ADDED, DOCUMENTS, Contract
from pipelines.errors import BadRequest
from pipelines.schema.data import Data, SqlSource
from pipelines.schema.index import Index
from pipelines.schema.lock import Lock
from pipelines.schema.reading import BadSettings, Document, Location, Mistake, parse, read_document
from pipelines.schema.recipe import Recipe
from pipelines.sources import source_file
from pipelines.stage import stage_main
from pipelines.task import TASKS, Task, find_task
from pipelines.workspace import Job, write_json

_PAIRED_GATES = ("against_baseline", "against_champion")


def read_recipe(path: Path) -> Recipe:
    """A recipe with the task's defaults under it, checked as a whole.

    Raises BadSettings with every mistake of the file: file, line, value, what is allowed.
    """
    document = read_document(path)
    values = document.plain()
    task = _task_of(document, values)
    method = _mapping(values.get("model")).get("method", "full")
    if task is not None and method in task.methods:
        values = _filled(task.defaults(method), values)
    recipe = parse(document, Recipe, values)
    assert task is not None  # parse() would have refused a recipe without one
    mistakes = _impossible(document, recipe, task)
    try:
        options = parse(document, task.Preprocess, recipe.preprocess, at=("preprocess",))
    except BadSettings as error:
        mistakes += error.mistakes
    if mistakes:
        raise BadSettings(path, mistakes)
    name = recipe.registry.name or path.stem
    return recipe.model_copy(
        update={
            "preprocess": options.model_dump(),
            "evaluation": recipe.evaluation.model_copy(update={"primary": recipe.evaluation.primary or task.primary}),
            "registry": recipe.registry.model_copy(update={"name": name}),
        }
    )


def read_index(path: Path) -> Index:
    """An index's settings. Raises BadSettings with every mistake of the file."""
    document = read_document(path)
    index = parse(document, Index, document.plain())
    mistakes = _source_mistakes(document, index.documents, ("documents",))
    if mistakes:
        raise BadSettings(path, mistakes)
    return index


def read_lock(job: Job) -> Lock:
    """What the moving references pointed at. Raises BadRequest when `headrace lock` has not written it yet."""
    if not job.lock_file.exists():
        raise BadRequest(f"{job.lock_file} is missing. `headrace lock {job.name}` writes it.")
    document = read_document(job.lock_file)
    return parse(document, Lock, document.plain())


def settings(job: Job) -> dict[str, Any]:
    """All that the later stages read, as one document."""
    lock = read_lock(job)
    if job.kind == "index":
        index = read_index(job.settings_file)
        document = index.model_dump(mode="json", exclude={"schedule", "title"})
        document["data"] = document.pop("documents")
        bases, source, task_file, examples = [index.embed.model], index.documents.source, None, DOCUMENTS
    else:
        recipe = read_recipe(job.settings_file)
        document = recipe.model_dump(mode="json", exclude={"schedule", "title"})
        document["split"] = document["data"].pop("split")
        bases, source, task_file = references(recipe), recipe.data.source, TASKS / f"{recipe.task}.py"
        examples = find_task(recipe.task).contract
    missing = [base for base in bases if base not in lock.bases]
    if missing:
        raise BadRequest(f"{job.lock_file} does not say what {missing[0]} is. `headrace lock {job.name}` writes it.")
    root = job.workspace.root
    code = {"source": code_hash(root, closure(root, source_file(source)))}
    if task_file:
        code["task"] = code_hash(root, closure(root, task_file))
    return {
        **document,
        "examples": TypeAdapter(Contract).dump_python(examples, mode="json"),
        "code": code,
        "source": lock.source,
        "bases": {base: lock.bases[base].model_dump(mode="json") for base in bases},
        "reference": lock.reference,
    }


def references(recipe: Recipe) -> list[str]:
    """The moving references to weights in a recipe: its base, or an architecture's tokenizer."""
    base = recipe.model.base
    if isinstance(base, str):
        return [base]
    return [base.tokenizer] if base.tokenizer else []


def _task_of(document: Document, values: Mapping[str, Any]) -> Task | None:
    name = values.get("task")
    if not isinstance(name, str):
        return None  # reported by parse()
    try:
        return find_task(name)
    except BadRequest as error:
        raise BadSettings(document.path, [document.mistake(("task",), str(error))]) from None


def _filled(defaults: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """`values` over `defaults`, section by section; neither is changed."""
    merged = dict(defaults)
    for key, value in values.items():
        inner = merged.get(key)
        merged[key] = _filled(inner, value) if isinstance(inner, Mapping) and isinstance(value, Mapping) else value
    return merged


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _impossible(document: Document, recipe: Recipe, task: Task) -> list[Mistake]:
    """Combinations that are each well-formed and cannot work together."""
    found = _source_mistakes(document, recipe.data, ("data",))

    def wrong(at: Location, message: str) -> None:
        found.append(document.mistake(at, message))

    model = recipe.model
    if model.method not in task.methods:
        wrong(("model", "method"), f"{recipe.task} has no method {model.method!r}. Allowed: {', '.join(task.methods)}")
    if isinstance(model.base, str) and model.method == "pretrain":
        wrong(("model", "base"), "pretrain starts from an architecture: {architecture: ..., settings: {...}}, "
              f"got {model.base!r}")
    if not isinstance(model.base, str) and model.method in ("lora", "transfer"):
        wrong(("model", "base"), f"{model.method} needs pretrained weights (a hub id, path, package:// or models:/)")
    if model.lora is not None and model.method != "lora":
        wrong(("model", "lora"), f"only method lora reads this section, got method {model.method!r}")
    columns = {*task.contract.columns, *recipe.data.columns}
    for column in task.contract.columns.keys() & set(ADDED) | (recipe.data.columns.keys() & set(ADDED)):
        wrong(("data", "columns", column), f"the name is taken. Columns that Headrace adds: {', '.join(ADDED)}")
    if recipe.evaluation.primary is not None and recipe.evaluation.primary not in task.metrics:
        wrong(("evaluation", "primary"), f"{recipe.task} has no metric {recipe.evaluation.primary!r}. "
              f"Allowed: {', '.join(task.metrics)}")
    if recipe.data.split.stratify is not None and recipe.data.split.stratify not in columns:
        wrong(("data", "split", "stratify"), f"no column {recipe.data.split.stratify!r}. Allowed: {', '.join(sorted(columns))}")
    for name, gate in recipe.gates.items():
        if name not in task.metrics and name not in _PAIRED_GATES:
            wrong(("gates", name), f"{recipe.task} has no metric {name!r}. "
                  f"Allowed: {', '.join([*task.metrics, *_PAIRED_GATES])}")
        if gate.at_least is None and gate.at_most is None:
            wrong(("gates", name), "needs at_least or at_most: a gate without a bound gates nothing")
        if gate.confidence is not None and name not in _PAIRED_GATES:
            wrong(("gates", name, "confidence"), f"belongs to {' and '.join(_PAIRED_GATES)} only")
    return found


def _source_mistakes(document: Document, data: Data, at: Location) -> list[Mistake]:
    found = []
    try:
        source_file(data.source)
    except BadRequest as error:
        found.append(document.mistake((*at, "source"), str(error)))
    if data.sha256 and (isinstance(data.source, SqlSource) or not data.source.startswith(("http://", "https://"))):
        found.append(document.mistake((*at, "sha256"), "belongs to an http(s):// source only"))
    return found


def run(job: Job) -> None:
    """Write settings.json: the recipe or index and its lock, every default filled in."""
    write_json(job.folder / "settings.json", settings(job))


if __name__ == "__main__":
    stage_main("settings", run)
