"""A recipe, an index and their locks, read with the task's defaults; every mistake of a file at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from core.errors import BadRequest
from core.schema.data import Data
from core.schema.lock import Lock
from core.schema.model import Lora, Method
from core.schema.reading import BadSettings, Document, Location, Mistake, mistakes_of, parse, read_document, shown
from core.tables.task import Task
from core.workspace import Job, Kind
from pipelines.recipes.combinations import PAIRED_GATES, by_split, impossible_index, impossible_recipe
from pipelines.recipes.recipe import Index, Recipe
from pipelines.sources import find_source, source_file, watch_path
from pipelines.sources._files import Files, local
from pipelines.sources.readers import reader_file
from pipelines.tasks import find_task

NOTHING = "none"  # stands in for a source or a base that is not said
CONFIDENCE = 0.95  # one-sided, of the paired gates, where a recipe gives none


def read_recipe(path: Path, *, name: str | None = None) -> Recipe:
    """A recipe with the task's defaults under it, checked as a whole.

    name: of the recipe, where it is not the file's.
    Raises BadSettings with every mistake of the file: file, line, value, what is allowed.
    """
    return _recipe(read_document(path), name or path.stem)


def read_index(path: Path) -> Index:
    """An index's settings. Raises BadSettings with every mistake of the file."""
    return _index(read_document(path))


@dataclass(frozen=True)
class InPart:
    """A settings file read as if what is wrong in it were not there. settings: None where too little is left then."""

    document: Document
    settings: Recipe | Index | None
    mistakes: Sequence[Mistake]

    def touches(self, *places: Location) -> bool:
        """Whether something is wrong at one of these places, above it or below it."""
        return any(mistake.at[: len(at)] == at[: len(mistake.at)] for mistake in self.mistakes for at in places)


def read_in_part(path: Path, kind: Kind) -> InPart:
    """Raises BadRequest where there is no such file."""
    try:
        whole = document = read_document(path)
    except BadSettings as error:
        return InPart(Document(path, {}, {}), None, error.mistakes)
    found: list[Mistake] | None = None
    while True:
        try:
            settings = _index(document) if kind == "index" else _recipe(document, path.stem)
            return InPart(whole, settings, found or [])
        except BadSettings as error:
            found = error.mistakes if found is None else found
            smaller = document.without(mistake.at for mistake in error.mistakes)
            values = _with_stand_ins(smaller.values, "documents" if kind == "index" else "data")
            if values == document.values:
                return InPart(whole, None, found)
            document = replace(smaller, values=values)


def _with_stand_ins(values: Mapping[str, Any], data: str) -> dict[str, Any]:
    """With something in place of what a file must say: it is never looked at, since touches() tells."""
    source = {"source": f"{NOTHING}.csv"}
    base = {"model": {"base": NOTHING}} if data == "data" else {"embed": {"model": NOTHING}}
    return _filled({data: source, **base}, values)


def _recipe(document: Document, name: str) -> Recipe:
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
        raise BadSettings(document.path, mistakes)
    return _completed(parse(document, Recipe, values), task, name=name)


def _index(document: Document) -> Index:
    mistakes = mistakes_of(document, Index, document.values)
    mistakes += [*impossible_index(document, document.values), *_unknown_source(document, "documents")]
    if mistakes:
        raise BadSettings(document.path, mistakes)
    return parse(document, Index, document.values)


def read_lock(job: Job) -> Lock:
    """What the moving references pointed at. Raises BadRequest when `headrace lock` has not written it yet."""
    if not job.lock_file.exists():
        raise BadRequest(f"{shown(job.lock_file)} is missing. `headrace lock {job.name}` writes it.")
    document = read_document(job.lock_file)
    return parse(document, Lock, document.values)


def identity(job: Job, data: Data, lock: Lock) -> dict[str, str | int | None]:
    """What the lock says; of a local source the lock says nothing, so its content is looked at here."""
    watched, root = watch_path(data), job.workspace.root
    if watched is None:
        return lock.source
    found = find_source(data.source).fetch(data, root, downloads=job.workspace.var / "downloads", identity=lock.source)
    files = found if isinstance(found, Files) else local(root / watched, named=watched)  # a local folder of hub://
    sha256, count = files.checksum()
    return {**lock.source, "sha256": sha256, "files": count}


def references(recipe: Recipe) -> list[str]:
    """The moving references to weights in a recipe: its base, or an architecture's tokenizer."""
    base = recipe.model.base
    if isinstance(base, str):
        return [base]
    return [base.tokenizer] if base.tokenizer else []


def index_references(index: Index) -> list[str]:
    """The moving references to weights in an index: its embedder, and its reranker."""
    return [index.embed.model, *([index.search.rerank] if index.search.rerank else [])]


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
    evaluation, registry, lora = recipe.evaluation, recipe.registry, recipe.model.method == "lora"
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
            "model": recipe.model.model_copy(update={"lora": recipe.model.lora or Lora()} if lora else {}),
        }
    )


def _unknown_source(document: Document, section: str) -> list[Mistake]:
    """A source or reader of a kind that no file of pipelines/sources/ reads."""
    data = document.values.get(section)
    source, reader = (data.get("source"), data.get("reader")) if isinstance(data, Mapping) else (None, None)
    named = by_split(source) if isinstance(source, Mapping) else {(): source}
    if not isinstance(reader, str | None):
        return []  # the schema says so
    found = []
    for split, address in named.items():
        place: Location = (section, "source", *split)
        if not isinstance(address, str) or not address:
            continue  # likewise
        try:
            source_file(address)
            place = (section, "reader") if reader else place
            reader_file(address, reader)
        except BadRequest as error:
            found.append(document.mistake(place, str(error)))
    return found
