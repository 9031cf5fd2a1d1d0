"""What suits the data that were looked at: an index or a task, the columns, the split, a model, each with its reason.

Tasks are found by their contracts: one suits where each of its columns is found among the source's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from core.errors import BadRequest, near
from core.schema.columns import ADDED, DOCUMENTS, Contract
from core.schema.columns import Column as Wanted
from core.schema.data import Data
from core.tables.spelling import some
from core.workspace import Kind
from flows.starting.column_kinds import Column
from flows.starting.look import FolderSeen, Seen
from flows.starting.suggest import suggest
from pipelines.tasks import find_task, task_files

INDEX = "index"  # in place of a task
_STRAY = 0.1  # share of files that a folder of pictures may have besides: notes, a licence
_SMALL = 2_000  # rows below which the test split gets a larger share
_WEIGHTS = {  # what tells most about a table
    "links": 6, "graph": 6, "answers": 6, "spans": 5, "media": 5, "text": 4, "category": 3, "label_set": 2, "time": 2,
    "number": 1,
}  # fmt: skip
_NAMES: Mapping[str, Sequence[str]] = {
    "text": (
        "text", "body", "message", "description", "content", "sentence", "review", "comment", "utterance", "tokens",
        "words",
    ),
    "label": (
        "label", "labels", "class", "category", "target", "intent", "topic", "sentiment", "queue", "department", "type",
        "kind", "tag", "status", "priority", "rating", "stars", "y",
    ),
    "labels": ("labels", "tags", "genres", "categories", "topics", "keywords"),
    "source": ("source", "original", "msgid", "article", "document", "dialogue"),
    "target": (
        "target", "y", "price", "amount", "cost", "sales", "demand", "consumption", "score", "value", "translation",
        "summary", "msgstr",
    ),
    "query": ("query", "question", "headline", "title", "anchor"),
    "passage": ("passage", "answer", "positive", "article", "body", "context"),
    "spans": ("spans", "entities", "ner_tags", "tags"),
    "node": ("node", "node_id", "id", "name"),
    "links": ("links", "neighbours", "neighbors", "edges", "cites", "citations", "follows", "friends"),
    "question": ("question", "query"),
    "context": ("context", "passage", "paragraph", "article", "document", "text"),
    "answers": ("answers", "answer"),
    "time": ("time", "timestamp", "date", "datetime", "day", "hour", "month", "step"),
    "series": ("series", "series_id", "unique_id", "store", "sensor", "station", "item", "product", "city", "region"),
    "path": ("path", "file", "image", "picture", "audio", "sound", "filename", "file_name"),
    "id": ("id", "doc_id", "document_id", "key", "url"),
    "title": ("title", "name", "headline", "subject"),
}  # fmt: skip
_Held = Literal["text", "image", "audio"]  # of the files in a folder
_HELD: Mapping[_Held, str] = {"text": "texts", "image": "pictures", "audio": "sounds"}


@dataclass(frozen=True)
class Wishes:
    """What a person said. task: of pipelines/tasks/, or INDEX. columns: of the task -> of the source.

    options: `preprocess:` of an example that is to be followed.
    """

    task: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)
    base: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    @staticmethod
    def of(task: str | None, text: str | None, label: str | None, base: str | None) -> Wishes:
        """What the options of a verb say; None: nothing was said."""
        said = (("text", text), ("label", label))
        return Wishes(task, {name: column for name, column in said if column is not None}, base)


@dataclass(frozen=True)
class Choice:
    """A recipe, or an index (task is None). columns: of the task -> the source's.

    why: that model; source: the page that has the figures for it.
    """

    kind: Kind
    data: Data
    task: str | None = None
    columns: Mapping[str, Column] = field(default_factory=dict)
    preprocess: Mapping[str, Any] = field(default_factory=dict)
    split: Mapping[str, Any] = field(default_factory=dict)
    model: Mapping[str, Any] = field(default_factory=dict)
    rows: int = 0
    why: str = ""
    source: str = ""

    @property
    def label(self) -> Column | None:
        contract = find_task(self.task).contract if self.task else DOCUMENTS
        return None if contract.label is None else self.columns.get(contract.label)


def choose(seen: Seen, wishes: Wishes) -> Choice:
    """Raises BadRequest where nothing suits, or several columns do, with the option that decides it."""
    if seen.folder is not None:
        return _of_folder(seen, seen.folder, wishes)
    for said in wishes.columns.values():
        if seen.column(said) is None:
            names = [each.name for each in seen.columns]
            raise BadRequest(f"no column {said!r}. {near(said, names)}Columns: {some(names)}.")
    if not seen.columns:
        raise BadRequest(f"none of the {seen.rows:,} rows can be read; {seen.first_fault}.")
    found = {name: _columns(_contract(name, wishes), seen, wishes) for name in _allowed(wishes)}
    fitting = {name: columns for name, columns in found.items() if isinstance(columns, dict)}
    if not fitting and wishes.task not in (None, INDEX):
        raise BadRequest(str(found[str(wishes.task)]))
    if not fitting or (wishes.task is None and max(map(_weight, fitting)) < _WEIGHTS["text"]):
        unclear = {name: said for name, said in found.items() if isinstance(said, _Unclear)}
        of_tables = [said for name, said in unclear.items() if not find_task(name).contract.inputs]
        if unclear and not of_tables:  # some column holds texts
            raise BadRequest(f"{next(iter(unclear.values()))}; or --task {INDEX}, for an index of the texts.")
        documents = _columns(DOCUMENTS, seen, wishes)
        if isinstance(documents, dict):
            return Choice("index", seen.data, columns=documents, rows=seen.rows)
        if not fitting and of_tables:
            raise BadRequest(f"{of_tables[0]}.")
        if not fitting:
            raise BadRequest(f"nothing suits these columns: {_listed(seen.columns)}. {_HINT}")
    task = max(fitting, key=lambda name: (_weight(name), find_task(name).contract.label is not None))
    return _recipe(seen, task, fitting[task], wishes)


class _Unclear(str):
    """Which option decides between columns that all suit."""


_HINT = "Say what to learn with --task, --text and --label."


def _allowed(wishes: Wishes) -> list[str]:
    """The tasks to choose from; none for an index. One that suits every text, or every table, has to be named."""
    if wishes.task in (None, INDEX):
        return [name for name in sorted(task_files()) if not _suits_all(name)] if wishes.task is None else []
    find_task(wishes.task)
    return [wishes.task]


def _contract(task: str, wishes: Wishes) -> Contract:
    return find_task(task).contract.chosen(wishes.options)


def _suits_all(task: str) -> bool:
    """Whether a text alone is needed, or nothing of a table."""
    return [column.kind for column in find_task(task).contract.columns.values() if column.required] in (["text"], [])


def _weight(task: str) -> int:
    contract = find_task(task).contract
    needed = [column.kind for column in contract.columns.values() if column.required]
    if contract.inputs:  # any column may be an input of a table: what it says is what tells
        needed += [column.kind for column in contract.named.values()]
    return max((_WEIGHTS.get(kind, 0) for kind in needed), default=0)


def _of_folder(seen: Seen, folder: FolderSeen, wishes: Wishes) -> Choice:
    labels = [name for name in folder.labels if name]
    counts: dict[_Held, int] = {"text": folder.documents, "image": folder.pictures, "audio": folder.sounds}
    held = max(counts, key=lambda kind: counts[kind])
    documents = folder.documents > _STRAY * seen.rows  # with pictures of their own, however many
    if wishes.task == INDEX or (wishes.task is None and documents):
        return Choice("index", seen.data.model_copy(update={"reader": "folders"}), rows=seen.rows)
    fitting = [name for name in _allowed(wishes) if _of_labels(find_task(name).contract, held)]
    fitting.sort(key=lambda name: find_task(name).contract.label is None)
    if not fitting:
        raise BadRequest(f"{wishes.task} does not learn from a folder of {_HELD[held]}.")
    if len(labels) < 2 or folder.labels[""] > _STRAY * seen.rows:
        raise BadRequest(
            f"{folder.labels['']:,} of {seen.rows:,} files lie in no folder of a label, and there are {len(labels)} "
            "such folders. Put the files of each label into a folder of its own: SOURCE/LABEL/file; or let a recipe "
            "say how their names hold it (data.name_pattern)."
        )
    data = seen.data.model_copy(update={"reader": "labelled_folders"})
    return _recipe(Seen(data, rows=seen.rows, folder=folder), fitting[0], {}, wishes)


def _of_labels(contract: Contract, held: _Held) -> bool:
    """Whether files in folders that are labels are all that a task needs."""
    kinds = {column.kind for column in contract.columns.values() if column.required}
    return kinds == {"media" if contract.media else "text", "category"} and (contract.media or "text") == held


def _columns(contract: Contract, seen: Seen, wishes: Wishes) -> dict[str, Column] | str:
    """The source's column of each that a contract has; or why there is none, in words."""
    found: dict[str, Column] = {}
    several_texts = sum(column.kind == "text" and column.required for column in contract.columns.values()) > 1
    targets = (name for name in contract.targets if not contract.inputs or contract.columns[name].kind == "text")
    label = contract.label or next(targets, "label")
    said = {label if name == "label" else _first_text(contract) if name == "text" else name: value
            for name, value in wishes.columns.items()}  # fmt: skip
    if unknown := [name for name in said if name not in contract.columns]:
        return f"it has no column {unknown[0]!r}"
    of_tables = not contract.inputs  # any column may be an input
    proposed = of_tables and wishes.task is None
    if proposed and (texts := [each for each in seen.columns if each.kind == "text"]):
        return f"columns of texts: {_listed(texts)}"
    for name, wanted in contract.columns.items():
        left = [each for each in seen.columns if each not in found.values()]
        if name in said:
            found[name] = next(each for each in seen.columns if each.name == said[name])
            if proposed and not _fits(found[name], wanted, contract):
                return f"{said[name]!r} is no {wanted.kind}"
            continue
        reserved = set(said.values())
        fits = [each for each in left if each.name not in reserved and _fits(each, wanted, contract)]
        chosen: Column | str | None = _named(name, fits)
        if chosen is None and of_tables and wanted.required:
            answers = (Wanted("category"), Wanted("number"))
            told = [each.name for each in left if any(_fits(each, answer, contract) for answer in answers)]
            return _Unclear(f"which column is to be told by the others? --label one of: {some(told)}")
        if (
            chosen is None
            and wanted.required
            and not _of_links(wanted, contract)
            and not (wanted.kind == "text" and several_texts)
        ):
            chosen = _only(name, wanted, fits)
        if isinstance(chosen, str):
            return chosen
        if chosen is not None:
            found[name] = chosen
        elif wanted.required:
            return f"no column for {name!r} ({wanted.kind}) among {_listed(left)}. Say which with --text or --label."
    if contract.named and not _others(contract, seen, found):
        kinds = " or ".join(dict.fromkeys(f"{column.kind}s" for column in contract.named.values()))
        return f"no column of {kinds} among {_listed(seen.columns)}"
    return found


def _first_text(contract: Contract) -> str:
    return next((name for name in contract.inputs if contract.columns[name].kind == "text"), "text")


def _of_links(wanted: Wanted, contract: Contract) -> bool:
    """Whether it is the column of links, or of the names that they lead to: by what it holds nobody could tell."""
    if contract.links is None:
        return False
    links = contract.columns[contract.links]
    return wanted is links or wanted is contract.columns[str(links.of)]


def _fits(column: Column, wanted: Wanted, contract: Contract) -> bool:
    if _of_links(wanted, contract):
        return len(column.values) > 1 and not column.few_values
    kinds: Mapping[str, Callable[[Column], bool]] = {
        "text": lambda each: each.kind in ("text", "name", "tags", "strings"),
        "category": lambda each: each.few_values and each.kind in ("category", "number", "name"),
        "number": lambda each: each.kind == "number",
        "time": lambda each: each.kind == "time",
        "media": lambda each: each.kind == ("sound" if contract.media == "audio" else "picture"),
        "graph": lambda each: each.kind == "graph",
        "spans": lambda each: each.kind in ("spans", "tags"),
        "answers": lambda each: each.kind in ("answers", "tags", "strings"),
        "label_set": lambda each: each.kind == "strings",
    }
    return wanted.kind in kinds and kinds[wanted.kind](column)


def _named(name: str, columns: Sequence[Column]) -> Column | None:
    """The one that is called so, or by another name for it; the better name first."""
    by_name = {each.name.strip().casefold(): each for each in reversed(columns)}
    return next((by_name[each] for each in (name, *_NAMES.get(name, ())) if each in by_name), None)


def _only(name: str, wanted: Wanted, columns: Sequence[Column]) -> Column | str | None:
    """By what it holds alone: the longest text; the one column of labels."""
    if wanted.kind == "text":
        texts = [each for each in columns if each.kind == "text"]
        return max(texts, key=lambda each: sum(each.letters), default=None)
    if wanted.kind != "category":
        return columns[0] if len(columns) == 1 else None
    labels = [each for each in columns if each.kind == "category"]
    if len(labels) > 1:
        told = some([f"{each.name} ({len(each.values)} labels)" for each in labels])
        return _Unclear(f"which column is the label? --label one of: {told}")
    return labels[0] if labels else None


def _others(contract: Contract, seen: Seen, used: Mapping[str, Column]) -> dict[str, list[str]]:
    """The columns that are left, each under the first option that names columns of its kind.

    Of a table's features those are left out that never vary, or that are called as ids are.
    """
    taken = {column.name for name, column in used.items() if not _also_named(contract, name)}
    found: dict[str, list[str]] = {}
    for each in seen.columns:
        option = next((option for option, wanted in contract.named.items() if _fits(each, wanted, contract)), None)
        if option is None or each.name in taken:
            continue
        if contract.named[option].feature and (len(each.values) < 2 or _called_id(each.name) or each.name in ADDED):
            continue
        found.setdefault(option, []).append(each.name)
    return found


def _also_named(contract: Contract, name: str) -> bool:
    """Whether a column of the contract is one of those that its options name: the value of a series."""
    return contract.columns[name].kind == "number" and name not in contract.targets


def _called_id(name: str) -> bool:
    words = name.strip().casefold().replace("_", " ").replace("-", " ").split()
    return bool(words) and (words[-1] == "id" or name.strip().casefold() in _NAMES["id"])


def _recipe(seen: Seen, name: str, columns: Mapping[str, Column], wishes: Wishes) -> Choice:
    contract = _contract(name, wishes)
    suggested = suggest(name, seen.rows, wishes.base)
    preprocess: Mapping[str, Any] = {}
    if contract.named:
        preprocess = _others(contract, seen, columns)
        columns = {key: column for key, column in columns.items() if not _also_named(contract, key)}
    return Choice(
        "recipe", seen.data, name, columns, preprocess, _split(contract, seen.rows),
        suggested.model, seen.rows, suggested.why, suggested.source,
    )  # fmt: skip


def _split(contract: Contract, rows: int) -> dict[str, Any]:
    times = [name for name, column in contract.columns.items() if column.kind == "time" and column.required]
    shares = {"train": 0.7, "validation": 0.1, "test": 0.2} if rows < _SMALL else {}
    if times:
        return {**shares, "time": times[0]}
    return {**shares, **({"stratify": contract.label} if contract.label is not None else {})}


def _listed(columns: Sequence[Column]) -> str:
    return some([f"{each.name} ({each.kind})" for each in columns])
