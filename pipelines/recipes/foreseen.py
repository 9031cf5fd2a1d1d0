"""What a later stage would refuse of a settings file, after minutes of work, said before any of them begins.

The stage `settings` asks, whoever starts it, and so does `headrace check`. It looks at settings, at the files that they
name, and at this machine; not at rows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

from core.atomic_files import read_json
from core.errors import BadRequest
from core.schema.lock import BaseIdentity
from core.schema.reading import BadSettings, Document, Location, Mistake, read_document
from core.tables.task import Base, Foreseeing
from core.workspace import Kind
from pipelines.bases import located
from pipelines.recipes.read import read_index, read_recipe
from pipelines.recipes.recipe import Index, Recipe
from pipelines.search.ask.judged_queries import identify_judged, read_judged
from pipelines.search.vectors.token_reader import load_reader
from pipelines.tasks import find_task

_KEY = re.compile(r"(?P<key>[a-z_]+(?:\.[A-Za-z0-9_]+)+): (?P<rest>.*)", re.DOTALL)  # what a message begins with
_UNKNOWN = BaseIdentity(sha256="")  # of a base that no lock names yet
Bases = Mapping[str, BaseIdentity]
Look = tuple[Location, Callable[[], object]]


def refuse_foreseen(file: Path, kind: Kind, root: Path, bases: Bases | None = None) -> None:
    """Raise BadSettings with all that is foreseen, each with its line. bases: as the lock has them."""
    settings = read_index(file) if kind == "index" else read_recipe(file)
    if mistakes := foreseen(read_document(file), settings, root, bases):
        raise BadSettings(file, mistakes)


def foreseen(document: Document, settings: Recipe | Index, root: Path, bases: Bases | None = None) -> list[Mistake]:
    """All that is foreseen of settings that stand in a document."""
    known = bases or {}
    looks = _of_index(settings, root, known) if isinstance(settings, Index) else _of_recipe(settings, root, known)
    return [mistake for look in looks for mistake in _tried(document, *look)]


def _tried(document: Document, place: Location, look: Callable[[], object]) -> Iterator[Mistake]:
    try:
        look()
    except BadRequest as fault:
        named = _KEY.fullmatch(str(fault))
        key = tuple(named["key"].split(".")) if named else ()
        if named and key[0] in document.values:
            yield document.mistake(key, named["rest"])
        else:
            yield document.mistake(place, str(fault))


def _of_recipe(recipe: Recipe, root: Path, bases: Bases) -> Iterator[Look]:
    if recipe.training.precision == "fp16":
        yield ("training", "precision"), _require_gpu
    task = find_task(recipe.task)
    if isinstance(task, Foreseeing):
        options = task.Preprocess.model_validate(recipe.preprocess)
        yield ("model", "base"), lambda: task.foresee(recipe.model, options, _base(recipe, root, bases))


def _base(recipe: Recipe, root: Path, bases: Bases) -> Base:
    named = recipe.model.base
    reference = named if isinstance(named, str) else named.tokenizer
    folder = located(reference, bases.get(reference, _UNKNOWN), root) if reference is not None else None
    return Base(named, folder, None)


def _require_gpu() -> None:
    import torch

    if not torch.cuda.is_available():
        raise BadRequest("fp16 needs a GPU, and there is none here. Allowed here: float32, bf16.")


def _of_index(index: Index, root: Path, bases: Bases) -> Iterator[Look]:
    if index.evaluation.queries is not None:
        evaluation = index.evaluation
        yield ("evaluation", "queries"), lambda: read_judged(evaluation, root, identify_judged(evaluation, root))
    embedder = index.embed.model
    yield ("embed", "model"), lambda: load_reader(located(embedder, bases.get(embedder, _UNKNOWN), root))
    if (reranker := index.search.rerank) is not None:
        yield ("search", "rerank"), partial(_require_one_score, reranker, bases.get(reranker, _UNKNOWN), root)


def _require_one_score(reranker: str, identity: BaseIdentity, root: Path) -> None:
    """transformers counts two labels where a configuration names none."""
    config = read_json(located(reranker, identity, root) / "config.json")
    scores = len(config.get("id2label") or range(config.get("num_labels", 2)))
    if scores != 1:
        raise BadRequest(f"{reranker} gives {scores} scores a pair, and a reranker gives one. Name a cross-encoder.")
