"""What the sections of a settings file must be together; each may be well-formed and still be impossible.

Works on the file's plain values, sound or not, so that these mistakes are reported beside those of single keys.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from core.errors import near
from core.schema.columns import ADDED, DOCUMENTS, ROW_ID, Contract
from core.schema.data import SPLITS
from core.schema.evaluation import AGAINST_LIVE, LABEL_FIGURES, RETRIEVAL, SERVING
from core.schema.reading import Document, Location, Mistake
from core.tables.task import LABEL, ByLabel, says_labels

if TYPE_CHECKING:
    from core.tables.task import Task

PAIRED_GATES = ("against_baseline", "against_champion")
_HTTP = ("http://", "https://")


def impossible_recipe(document: Document, values: Mapping[str, Any], task: Task | None) -> list[Mistake]:
    """Combinations that cannot work; without a task (the file names an unknown one), those that need none."""
    found = [*_source(values, "data"), *_given(document.values), *_model(values), *_patience(values)]
    if task is not None:
        preprocess = _at(values, "preprocess")
        contract = task.contract.chosen(preprocess if isinstance(preprocess, Mapping) else {})
        found += [*_columns(values, "data", contract), *_named(values, contract), *_method(values, task)]
        found += _label_loss(values, task)
        found += [*_metrics(values, task), *_gates(values, list(task.metrics), PAIRED_GATES, SERVING, task)]
    return [document.mistake(at, message) for at, message in found]


def impossible_index(document: Document, values: Mapping[str, Any]) -> list[Mistake]:
    """The same for an index."""
    gates = [*_gates(values, RETRIEVAL, [AGAINST_LIVE]), *_nothing_judged(values)]
    found = [*_source(values, "documents"), *_columns(values, "documents", DOCUMENTS), *gates]
    return [document.mistake(at, message) for at, message in found]


def _source(values: Mapping[str, Any], section: str) -> Iterator[tuple[Location, str]]:
    source, sha256 = _at(values, section, "source"), _at(values, section, "sha256")
    sources = by_split(source)
    if sources and section != "data":
        yield (section, "source"), "published splits are a recipe's: name one source"
    for split, address in sources.items() if sources else [((), source)]:
        if address == "":
            yield (section, "source", *split), "must not be empty"
    if _at(values, section, "remove_boilerplate") is True and (
        section == "data" or _at(values, section, "reader") != "folders"
    ):
        yield (section, "remove_boilerplate"), "belongs to the documents of an index with `reader: folders`"
    sums = by_split(sha256) if sources else {(): sha256} if sha256 is not None else {}
    if sources and isinstance(sha256, str):
        yield (section, "sha256"), "one for each split, as `source` has them: {train: ..., validation: ..., test: ...}"
    for split in sums:
        remote = sources.get(split) if sources else source
        if not isinstance(remote, str) or not remote.startswith(_HTTP):
            yield (section, "sha256", *split), "belongs to an http(s):// source only"


def _given(values: Mapping[str, Any]) -> Iterator[tuple[Location, str]]:
    """What cannot stand beside a split that is given; values: those of the file, without the task's defaults."""
    split = _at(values, "data", "split")
    if _at(split, "given") is not None:
        for key in ("train", "validation", "test", "group_by", "time"):
            if _at(split, key) is not None:
                yield ("data", "split", key), "`given` says each row's split already: leave this out"
    elif by_split(_at(values, "data", "source")):
        yield ("data", "source"), "it names published splits: add `split: {given: split}`"


def by_split(value: Any) -> dict[tuple[str, ...], Any]:
    """What stands under the names of splits, if it is such a mapping."""
    return {(name,): value[name] for name in SPLITS if name in value} if isinstance(value, Mapping) else {}


def _model(values: Mapping[str, Any]) -> Iterator[tuple[Location, str]]:
    base, method = _at(values, "model", "base"), _at(values, "model", "method") or "full"
    if isinstance(base, str) and method == "pretrain":
        yield ("model", "base"), f"pretrain starts from {{architecture: ..., settings: {{...}}}}, got {base!r}"
    if isinstance(base, Mapping) and method in ("lora", "transfer"):
        yield ("model", "base"), f"{method} needs pretrained weights: a hub id, path, package:// or models:/NAME@ALIAS"
    if _at(values, "model", "lora") is not None and method != "lora":
        yield ("model", "lora"), f"only method lora reads this section, got method {method!r}"
    if _at(values, "training", "gradient_checkpointing") is True and method == "transfer":
        yield (
            ("training", "gradient_checkpointing"),
            "transfer computes its base once: there is nothing to compute again",
        )


def _patience(values: Mapping[str, Any]) -> Iterator[tuple[Location, str]]:
    split = _at(values, "data", "split")
    none = _at(split, "given") is None and _at(split, "validation") == 0
    if none and _at(values, "training", "patience") is not None:
        yield ("training", "patience"), "it needs validation rows, and data.split.validation is 0"


def _nothing_judged(values: Mapping[str, Any]) -> Iterator[tuple[Location, str]]:
    evaluation = _at(values, "evaluation")
    if _at(values, "gates") and _at(evaluation, "known_items") == 0 and _at(evaluation, "queries") is None:
        yield ("gates",), "nothing is judged: evaluation.known_items is 0 and evaluation.queries names no file"


def _method(values: Mapping[str, Any], task: Task) -> Iterator[tuple[Location, str]]:
    method = _at(values, "model", "method") or "full"
    if isinstance(method, str) and method not in task.methods:
        yield ("model", "method"), _not_one(values, "method", method, task.methods)


def _label_loss(values: Mapping[str, Any], task: Task) -> Iterator[tuple[Location, str]]:
    for name in ("class_weights", "label_smoothing"):
        if _at(values, "training", name) and not isinstance(task, ByLabel):
            yield ("training", name), "what this task says are no labels of a fixed set"


def _columns(values: Mapping[str, Any], section: str, contract: Contract) -> Iterator[tuple[Location, str]]:
    """Names that Headrace adds itself, and names that look like a misspelling of one that is asked for."""
    names = _at(values, section, "columns")
    names = names if isinstance(names, Mapping) else {}
    free = [name for name in contract.columns if name not in names]
    for name in names:
        if name in contract.added:
            taken = ", ".join(contract.added)
            yield (section, "columns", name), f"the name is taken. Columns that Headrace adds: {taken}"
        elif name not in contract.columns and near(name, free):
            asked = ", ".join(contract.columns)
            yield (section, "columns", name), f"not a column that is asked for. {near(name, free)}Asked for: {asked}"


def _named(values: Mapping[str, Any], contract: Contract) -> Iterator[tuple[Location, str]]:
    """Columns that an option names beside the task's own, under names that a row has for something else."""
    for option, column in contract.named.items():
        names = _at(values, "preprocess", option)
        for name in names if isinstance(names, list) else ():
            others = contract.columns.get(name, column) != replace(column, required=False)
            if name == ROW_ID or (name in contract.columns and others):
                yield (
                    ("preprocess", option),
                    f"{name!r} is what the task calls something else. Name the column otherwise in the source",
                )
            elif column.feature and name in ADDED:
                yield (
                    ("preprocess", option),
                    f"{name!r} is a name of Headrace's own. Give the column another: `columns: {{{name}_: {name}}}`",
                )


def _metrics(values: Mapping[str, Any], task: Task) -> Iterator[tuple[Location, str]]:
    primary = _at(values, "evaluation", "primary")
    if isinstance(primary, str) and primary not in task.metrics:
        yield ("evaluation", "primary"), _not_one(values, "metric", primary, list(task.metrics))


def _gates(
    values: Mapping[str, Any],
    metrics: Sequence[str],
    paired: Sequence[str],
    costs: Sequence[str] = (),
    task: Task | None = None,
) -> Iterator[tuple[Location, str]]:
    """A gate is of a metric, of a slice or a label METRIC[COLUMN=VALUE], of a comparison (paired) or of a cost."""
    gates = _at(values, "gates")
    for name, gate in gates.items() if isinstance(gates, Mapping) else ():
        allowed = [*metrics, *paired, *costs]
        if name not in allowed and (wrong := _of_part(values, name, metrics, task)) is not None:
            yield ("gates", name), wrong or _not_one(values, "metric", name, allowed)
        if name not in paired and _at(gate, "confidence") is not None:
            yield ("gates", name, "confidence"), f"belongs to {' and '.join(paired)} only"
        if PAIRED_GATES[0] in paired and name != PAIRED_GATES[0] and _at(gate, "baseline") is not None:
            yield ("gates", name, "baseline"), f"belongs to {PAIRED_GATES[0]} only"
        if name in paired and _at(gate, "at_most") is not None:
            yield ("gates", name, "at_most"), "a paired gate bounds the lower end of the difference: use at_least"


def _of_part(values: Mapping[str, Any], name: str, metrics: Sequence[str], task: Task | None) -> str | None:
    """What is wrong with a gate on a slice or a label; None: nothing. "": it is on neither."""
    slices = _at(values, "evaluation", "slices")
    sliced = slices if isinstance(slices, list) else []
    metric, _, part = name.partition("[")
    column = next((each for each in [*sliced, LABEL] if part.endswith("]") and part.startswith(f"{each}=")), None)
    if task is not None and column == LABEL and says_labels(task, sliced):
        if metric in LABEL_FIGURES:
            return None
        if metric in metrics and metric not in task.of_one_label:
            instead = " or ".join(f"{figure}[{part}" for figure in LABEL_FIGURES)
            return f"{metric} says nothing about one label: on its rows no other label is true. Use {instead}"
    return None if column in sliced and metric in metrics else ""


def _not_one(values: Mapping[str, Any], kind: str, name: str, allowed: Sequence[str]) -> str:
    whose = values.get("task", "an index")
    return f"{whose} has no {kind} {name!r}. {near(name, allowed)}Allowed: {', '.join(allowed)}"


def _at(values: Any, *keys: str) -> Any:
    """What stands there, or None: also where something else than a mapping stands on the way."""
    for key in keys:
        values = values.get(key) if isinstance(values, Mapping) else None
    return values
