"""settings: recipes/NAME.yaml + NAME.lock -> settings.json, every default filled in and every mistake reported.

The other stages name their sections of settings.json as DVC params, so a change re-runs those that read it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from pipelines.closure import closure, code_hash
from pipelines.contract import DOCUMENTS, Contract
from pipelines.errors import BadRequest
from pipelines.schema.combinations import PAIRED_GATES, impossible_index, impossible_recipe
from pipelines.schema.index import Index
from pipelines.schema.lock import Lock
from pipelines.schema.model import Method
from pipelines.schema.reading import BadSettings, Document, Mistake, mistakes_of, parse, read_document
from pipelines.schema.recipe import Recipe
from pipelines.sources import source_file
from pipelines.stage import stage_main
from pipelines.task import TASKS, Task, find_task
from pipelines.workspace import Job, write_json

CONFIDENCE = 0.95  # one-sided, of the paired gates, where a recipe gives none


def read_recipe(path: Path) -> Recipe:
    """A recipe with the task's defaults under it, checked as a whole.

    Raises BadSettings with every mistake of the file: file, line, value, what is allowed.
    """
    document = read_document(path)
    task, mistakes = _task_of(document)
    values = dict(document.values)
    if task is not None:
        values = _filled(task.defaults(_method(values, task)), values)
        options = values.get("preprocess", {})
        if isinstance(options, Mapping):
            mistakes += mistakes_of(document, task.Preprocess, options, at=("preprocess",))
    mistakes += mistakes_of(document, Recipe, values)
    mistakes += [*impossible_recipe(document, values, task), *_unknown_source(document, "data")]
    if mistakes or task is None:
        raise BadSettings(path, mistakes)
    return _completed(parse(document, Recipe, values), task, name=path.stem)


def read_index(path: Path) -> Index:
    """An index's settings. Raises BadSettings with every mistake of the file."""
    document = read_document(path)
    mistakes = mistakes_of(document, Index, document.values)
    mistakes += [*impossible_index(document, document.values), *_unknown_source(document, "documents")]
    if mistakes:
        raise BadSettings(path, mistakes)
    return parse(document, Index, document.values)


def read_lock(job: Job) -> Lock:
    """What the moving references pointed at. Raises BadRequest when `headrace lock` has not written it yet."""
    if not job.lock_file.exists():
        raise BadRequest(f"{job.lock_file} is missing. `headrace lock {job.name}` writes it.")
    document = read_document(job.lock_file)
    return parse(document, Lock, document.values)


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


def _task_of(document: Document) -> tuple[Task | None, list[Mistake]]:
    name = document.values.get("task")
    if not isinstance(name, str):
        return None, []  # the schema says so
    try:
        return find_task(name), []
    except BadRequest as error:
        return None, [document.mistake(("task",), str(error))]


def _method(values: Mapping[str, Any], task: Task) -> Method:
    """The method whose defaults count; of a file that names none of the task's, any: it will be refused."""
    model = values.get("model")
    wanted = model.get("method", "full") if isinstance(model, Mapping) else "full"
    return next((method for method in task.methods if method == wanted), task.methods[0])


def _filled(defaults: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """`values` over `defaults`, section by section; neither is changed."""
    merged = dict(defaults)
    for key, value in values.items():
        inner = merged.get(key)
        merged[key] = _filled(inner, value) if isinstance(inner, Mapping) and isinstance(value, Mapping) else value
    return merged


def _completed(recipe: Recipe, task: Task, *, name: str) -> Recipe:
    """With the defaults that depend on the task or on the file's name."""
    evaluation, registry = recipe.evaluation, recipe.registry
    gates = {
        key: gate.model_copy(update={"confidence": CONFIDENCE})
        if key in PAIRED_GATES and gate.confidence is None
        else gate
        for key, gate in recipe.gates.items()
    }
    return recipe.model_copy(
        update={
            "preprocess": task.Preprocess.model_validate(recipe.preprocess).model_dump(),
            "evaluation": evaluation.model_copy(update={"primary": evaluation.primary or task.primary}),
            "gates": gates,
            "registry": registry.model_copy(update={"name": registry.name or name}),
        }
    )


def _unknown_source(document: Document, section: str) -> list[Mistake]:
    """A source of a kind that no file of pipelines/sources/ reads."""
    data = document.values.get(section)
    source = data.get("source") if isinstance(data, Mapping) else None
    if not isinstance(source, str) or not source:
        return []
    try:
        source_file(source)
    except BadRequest as error:
        return [document.mistake((section, "source"), str(error))]
    return []


def run(job: Job) -> None:
    """Write settings.json: the recipe or index and its lock, every default filled in."""
    write_json(job.folder / "settings.json", settings(job))


if __name__ == "__main__":
    stage_main("settings", run)
