"""NAME.lock: what the moving references of a recipe or index point at now. Called by the command, never by a stage."""

from __future__ import annotations

from io import StringIO

from ruamel.yaml import YAML

from core.atomic_files import write_text
from core.schema.lock import Lock
from core.tables import tombstones
from core.workspace import Job
from pipelines.bases import identify
from pipelines.recipes.read import index_references, read_index, read_lock, read_recipe, references
from pipelines.search.ask.judged_queries import identify_judged
from pipelines.sources import find_source

_HEAD = "# What the moving references pointed at when this last ran. Written by `headrace lock`; commit it.\n"


def observe(job: Job) -> Lock:
    """Look where the source and the bases stand now; the reference profile stays as the lock has it.

    Raises BadSettings for a mistake in the settings, BadRequest for a source or base that is not there, Outage when a
    server did not answer.
    """
    root, judged = job.workspace.root, {}
    if job.kind == "index":
        index = read_index(job.settings_file)
        judged = identify_judged(index.evaluation, root)
        data, names, tokenizer = index.documents, index_references(index), None
    else:
        recipe = read_recipe(job.settings_file)
        data, names = recipe.data, references(recipe)
        tokenizer = None if isinstance(recipe.model.base, str) else recipe.model.base.tokenizer
    return Lock(
        source={**find_source(data.source).identify(data, root), **tombstones.identity(job)},
        bases={name: identify(name, root, weights=name != tokenizer) for name in names},
        judged=judged,
        reference=read_lock(job).reference if job.lock_file.exists() else None,
    )


def write_lock(job: Job, lock: Lock) -> bool:
    """Write NAME.lock, unless it says this already. Returns whether it was written."""
    if job.lock_file.exists() and read_lock(job) == lock:
        return False
    yaml, out = YAML(), StringIO()
    yaml.width = 4096  # one line a value
    yaml.representer.add_representer(
        type(None), lambda representer, _: representer.represent_scalar("tag:yaml.org,2002:null", "null")
    )
    yaml.dump(lock.model_dump(mode="json"), out)
    write_text(job.lock_file, _HEAD + out.getvalue())
    return True
