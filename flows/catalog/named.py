"""What a settings file names outside itself: source, columns, bases, modules, with the lines where; and which addresses
it reads from and sends to outside this machine, which `headrace new` says before anything runs.
"""

from __future__ import annotations

import importlib.util
import os
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

from core.atomic_files import make_folder, said_in, sha256_json, write_json
from core.errors import BadRequest, near
from core.schema.columns import ADDED, DOCUMENTS, Contract
from core.schema.data import Data, SqlSource
from core.schema.expectations import DataContract
from core.schema.reading import Document, Location, read_document
from core.schema.search import Answer
from core.splits.split import COLUMNS
from core.tables.keys import label_name
from core.tables.spelling import some
from core.tables.task import LABEL, says_labels
from core.weights.packages import PREFIX
from core.workspace import Kind, Workspace, expanded, now
from pipelines.recipes.read import index_references, read_index, read_recipe, references
from pipelines.recipes.recipe import Index, Recipe
from pipelines.sources import addresses, find_source, watch_path
from pipelines.sources._examples import Shape
from pipelines.sources._files import Files, Table
from pipelines.sources.readers import reader_file, tables
from pipelines.tasks import find_task

_MOST_ROWS = 100_000  # that are looked through for a label

_TAKEN = "expectations.json"  # in var/: hashes of expectations that Great Expectations took, and when
_MOST_TAKEN = 100


@dataclass(frozen=True)
class Named:
    """weights: whether the bases must have weights (False: tokenizers). asked: further columns -> the key for them.

    labels: which of the task's own are named by gates, by the gate's name.
    """

    data: Data
    contract: Contract
    bases: Sequence[str]
    weights: bool
    modules: Sequence[str]
    asked: Mapping[str, str]
    labels: Mapping[str, str]
    rows: DataContract
    lines: Mapping[str, int]  # of "source", "columns", "base", "task", "expectations", "gates"


def named(file: Path, kind: Kind) -> Named:
    """Raises BadSettings with every mistake of the file."""
    return named_by(read_index(file) if kind == "index" else read_recipe(file), read_document(file))


def named_by(settings: Recipe | Index, document: Document) -> Named:
    """What settings name that stand in a document."""
    if isinstance(settings, Index):
        lines = _lines(document, "documents", ("embed", "model"))
        bases = index_references(settings)
        return Named(settings.documents, DOCUMENTS, bases, True, (), {}, {}, settings.contract, lines)
    recipe = settings
    task = find_task(recipe.task)
    return Named(
        data=recipe.data,
        contract=task.contract.with_named(recipe.preprocess),
        bases=references(recipe),
        weights=isinstance(recipe.model.base, str),
        modules=task.modules,
        asked=_asked(recipe, document),
        labels=_labels(recipe),
        rows=recipe.contract,
        lines=_lines(document, "data", ("model", "base")),
    )


def check_columns(names: Named, workspace: Workspace) -> list[str] | None:
    """The columns of a source that lies here; None when only its rows can tell, or only a server.

    Raises BadRequest for all columns that the settings name and that are not there.
    """
    files, found = _here(names, workspace)
    first = next(found, None)
    if files is None or first is None or first.columns is None:
        return None
    there = [*names.contract.columns, *names.data.columns, *first.columns, *names.contract.added]
    missing = [
        f"{key}: no column {column!r}. {near(column, there)}Columns: {', '.join(first.columns)}"
        for column, key in names.asked.items()
        if column not in there
    ]
    try:
        Shape(names.contract, names.data, files.folder).check(first.columns, first.name)
    except BadRequest as error:
        missing.insert(0, str(error))
    if missing:
        raise BadRequest("\n".join(missing))
    return there


def check_labels(names: Named, workspace: Workspace) -> None:
    """Raise BadRequest for labels that a gate names and that no row has; of a large source nothing is said."""
    if not names.labels or names.contract.label is None:
        return
    column, there, rows = names.data.source_name(names.contract.label), set[str | None](), 0
    for table in _here(names, workspace)[1]:
        if column not in (table.columns or (column,)):
            return
        for record in table.records:
            there.add(label_name(record.values.get(column)))
            rows += 1
            if rows > _MOST_ROWS or there >= set(names.labels.values()):
                return
    known = [label for label in there if label]
    lacking = {gate: label for gate, label in names.labels.items() if label not in there}
    if rows and lacking:
        told = (
            f"gates.{gate}: no row has the label {label!r}. {near(label, known)}" for gate, label in lacking.items()
        )
        raise BadRequest("".join(told) + f"Labels there: {some(sorted(known))}.")


def _here(names: Named, workspace: Workspace) -> tuple[Files | None, Iterator[Table]]:
    """The files of a source that lies on this machine, and its tables; none of another one."""
    data = names.data
    here = watch_path(data) is not None or str(data.source).startswith(PREFIX)
    reader = reader_file(data.source, data.reader)
    if not here or reader is None:
        return None, iter(())
    source = find_source(data.source)
    identity = source.identify(data, workspace.root)
    files = source.fetch(data, workspace.root, downloads=workspace.var / "downloads", identity=identity)
    assert isinstance(files, Files), "a local source is files"
    return files, tables(reader, files, data=data, contract=names.contract)


def check_expectations(names: Named, columns: Sequence[str], var: Path) -> None:
    """Raise BadRequest for expectations that Great Expectations does not know, or not so.

    What it took once is remembered by its hash: to import it for the same question costs 3 s of CPU.
    """
    if not names.rows.expectations:
        return
    there, taken = [*ADDED, *dict.fromkeys(columns)], said_in(var / _TAKEN)
    question = [installed("great-expectations"), names.rows.model_dump(mode="json"), repr(names.contract), there]
    if (key := sha256_json(question)) in taken:
        return
    os.environ["GX_ANALYTICS_ENABLED"] = "false"  # read when great_expectations is imported
    from pipelines.expectations.expectation_plan import plan

    plan(names.contract, names.rows, there, "contract")
    make_folder(var)
    write_json(var / _TAKEN, dict([*taken.items(), (key, now())][-_MOST_TAKEN:]))


def needed_extra(module: str, root: Path) -> str | None:
    """What to install when a module is missing, by the extras of pyproject.toml; None when it is there."""
    top = module.partition(".")[0]
    if importlib.util.find_spec(top) is not None:
        return None
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project.get("optional-dependencies", {}).items()
    extra = next((name for name, wanted in extras if any(_same(each, top) for each in wanted)), None)
    command = f"pip install 'headrace[{extra}]'" if extra else f"pip install {module}"
    return f"this task needs the module {module!r}, which is not installed: {command}"


def _lines(document: Document, section: str, base: Location) -> dict[str, int]:
    places: dict[str, Location] = {
        "source": (section, "source"), "columns": (section, "columns"), "base": base, "task": ("task",),
        "expectations": ("contract", "expectations"), "gates": ("gates",),
    }  # fmt: skip
    return {key: document.line(place) for key, place in places.items()}


def _same(requirement: str, module: str) -> bool:
    return requirement.lower().replace("_", "-").startswith(module.lower().replace("_", "-"))


def _asked(recipe: Recipe, document: Document) -> dict[str, str]:
    """Columns that are named outside `columns:` and `where:`, by the recipe or, where a split is wrong, by its file."""
    found: dict[Any, str] = dict.fromkeys(recipe.evaluation.slices, "evaluation.slices")
    data = document.values.get("data")
    split = data.get("split") if isinstance(data, Mapping) else None
    written = split if isinstance(split, Mapping) else {}
    found |= {getattr(recipe.data.split, key) or written.get(key): f"data.split.{key}" for key in COLUMNS}
    return {column: key for column, key in found.items() if isinstance(column, str)}


def _labels(recipe: Recipe) -> dict[str, str]:
    start = f"[{LABEL}="
    if not says_labels(find_task(recipe.task), recipe.evaluation.slices):
        return {}
    return {gate: str(label_name(gate.partition(start)[2][:-1])) for gate in recipe.gates if start in gate}


def outward(file: Path, kind: Kind, root: Path) -> list[str]:
    """A line for each address, in the order of the file."""
    names = named(file, kind)
    answer = _answer(read_index(file).answer, root) if kind == "index" else ()
    return [*_reads(names.data), *_bases(names.bases, root), *answer]


def _reads(data: Data) -> Iterator[str]:
    if isinstance(data.source, SqlSource):
        yield f"sends its query to the database that {data.source.sql.url_env} names"
    elif watch_path(data) is None:
        yield from (f"reads from {each}" for each in addresses(data.source) if not each.startswith(PREFIX))
    named = data.options.values()
    for each in (part for value in named for part in (value if isinstance(value, list) else [value])):
        if "://" in str(each):
            yield f"reads from {each}"


def _bases(names: Sequence[str], root: Path) -> Iterator[str]:
    for name in names:
        if name.startswith("models:/"):
            yield f"reads {name} from the registry that MLFLOW_TRACKING_URI names, or this workspace's"
        elif not name.startswith(PREFIX) and not (root / expanded(name)).exists():
            yield f"reads {name} from the Hugging Face hub"


def _answer(answer: Answer, root: Path) -> Iterator[str]:
    if answer.name is None:
        yield from _bases([answer.model] if answer.model else [], root)
        return
    key = f", with the key that {answer.key_env} holds" if answer.key_env else ""
    yield f"sends each question and the passages found for it to {answer.model}{key}"
