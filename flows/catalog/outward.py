"""What a settings file reads from and sends to outside this machine: `headrace new` says it before anything runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from core.schema.data import Data, SqlSource
from core.schema.search import Answer
from core.weights.packages import PREFIX as PACKAGE
from core.workspace import Kind, expanded
from pipelines.recipes.read import index_references, read_index, read_recipe, references
from pipelines.sources import watch_path


def outward(file: Path, kind: Kind, root: Path) -> list[str]:
    """A line for each address, in the order of the file."""
    if kind == "index":
        index = read_index(file)
        return [*_source(index.documents), *_bases(index_references(index), root), *_answer(index.answer, root)]
    recipe = read_recipe(file)
    return [*_source(recipe.data), *_bases(references(recipe), root)]


def _source(data: Data) -> Iterator[str]:
    if isinstance(data.source, SqlSource):
        yield f"sends its query to the database that {data.source.sql.url_env} names"
    elif watch_path(data) is None and not data.source.startswith(PACKAGE):
        yield f"reads from {data.source}"
    named = data.options.values()
    for each in (part for value in named for part in (value if isinstance(value, list) else [value])):
        if "://" in str(each):
            yield f"reads from {each}"


def _bases(names: Sequence[str], root: Path) -> Iterator[str]:
    for name in names:
        if name.startswith("models:/"):
            yield f"reads {name} from the registry that MLFLOW_TRACKING_URI names, or this workspace's"
        elif not name.startswith(PACKAGE) and not (root / expanded(name)).exists():
            yield f"reads {name} from the Hugging Face hub"


def _answer(answer: Answer, root: Path) -> Iterator[str]:
    if answer.name is None:
        yield from _bases([answer.model] if answer.model else [], root)
        return
    key = f", with the key that {answer.key_env} holds" if answer.key_env else ""
    yield f"sends each question and the passages found for it to {answer.model}{key}"
