"""settings: recipes/NAME.yaml + NAME.lock -> settings.json, every default filled in and every mistake reported.

The other stages name their sections of settings.json as DVC params, so a change re-runs those that read it.
"""

from __future__ import annotations

from typing import Any

from pydantic import TypeAdapter

from core.atomic_files import said_in, write_json
from core.closure import BOUNDARY, closure, code_hash
from core.errors import BadRequest
from core.schema.columns import DOCUMENTS, Contract
from core.schema.data import Data
from core.schema.reading import shown
from core.workspace import Job, sealed
from pipelines.recipes.foreseen import refuse_foreseen
from pipelines.recipes.read import identity, index_references, read_index, read_lock, read_recipe, references
from pipelines.sources import addresses, source_file
from pipelines.sources.readers import READERS, find_reader, reader_file
from pipelines.tasks import find_task

_FORESEEN = ("task", "preprocess", "model", "training", "bases", "embed", "search", "judged")  # sections


def settings(job: Job) -> dict[str, Any]:
    """All that the later stages read, as one document: equal files and locks give equal bytes."""
    lock = read_lock(job)
    if job.kind == "index":
        index = read_index(job.settings_file)
        document = index.model_dump(mode="json", exclude={"schedule", "title"})
        document["data"] = document.pop("documents")
        document["judged"] = lock.judged
        data, bases, task, examples = index.documents, index_references(index), None, DOCUMENTS
    else:
        recipe = read_recipe(job.settings_file)
        document = recipe.model_dump(mode="json", exclude={"schedule", "title"})
        document["split"] = document["data"].pop("split")
        data, bases, task = recipe.data, references(recipe), recipe.task
        examples = find_task(task).contract.with_named(recipe.preprocess)
    missing = [base for base in bases if base not in lock.bases]
    if missing:
        raise BadRequest(
            f"{shown(job.lock_file)} does not say what {missing[0]} is. `headrace lock {job.name}` writes it."
        )
    return {
        **document,
        "examples": TypeAdapter(Contract).dump_python(examples, mode="json"),
        "code": {"source": _source_code(job, data)},
        "source": identity(job, data, lock),
        "bases": {base: lock.bases[base].model_dump(mode="json") for base in bases},
        "reference": lock.reference,
    }


def _source_code(job: Job, data: Data) -> str:
    """A hash of the code that reads this source: dvc.yaml cannot name its key in code.json."""
    root = job.workspace.root
    sources = [data.source, *addresses(data.source)]
    files = [root / "pipelines" / "sources" / name for name in sorted({source_file(each).name for each in sources})]
    reader = reader_file(data.source, data.reader)
    readers = root / "pipelines" / "sources" / "readers"
    if reader is not None and find_reader(reader).SUFFIXES:
        files.append(readers / reader.relative_to(READERS))
    elif reader is not None:  # of whole folders, and of whatever files they hold
        files += readers.rglob("*.py")
    return code_hash(root, closure(root, *files, boundary=BOUNDARY))


def run(job: Job) -> None:
    """Write settings.json: the recipe or index and its lock, every default filled in.

    What a later stage would refuse of it is refused now, where what that stage reads has changed.
    """
    found, before = settings(job), said_in(job.folder / "settings.json")
    if any(found.get(section) != before.get(section) for section in _FORESEEN):
        refuse_foreseen(job.settings_file, job.kind, job.workspace.root, read_lock(job).bases)
    write_json(job.folder / "settings.json", sealed(found))
