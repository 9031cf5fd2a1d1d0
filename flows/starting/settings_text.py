"""The choice as a settings file, with the reasons as comments."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from core.tables.task import Task
from flows.starting.choose import Choice
from flows.starting.suggest import FEW, TEXT_BASE
from pipelines.tasks import find_task

_PLAIN = re.compile(r"(?!(?:true|false|null|yes|no|on|off|y|n)$)[A-Za-z_][\w/-]*(?:[.:]+[\w/-]+)*", re.IGNORECASE)
_ASKED_FOR = 100  # documents: with fewer there may be no sentence to ask for
_COMMENTS_AT = 36  # column


def settings_text(name: str, choice: Choice, *, command: str) -> str:
    """A recipe or an index. command: what made it."""
    lines = _index(choice) if choice.kind == "index" else _recipe(choice)
    amount = f"{choice.rows:,} {'documents' if choice.kind == 'index' and not choice.columns else 'rows'}"
    verb = "index" if choice.kind == "index" else "run"
    head = [
        f"# Made by `{command}` from {amount}. Any line may be changed:",
        f"# `headrace check {name}` names mistakes, `headrace {verb} {name}` brings it up to date.",
    ]
    return "\n".join([*head, *lines, ""])


def title(choice: Choice) -> str:
    """A first one: what is asked of which data."""
    if choice.task is None:
        return f"{choice.data.source}: what do they say?"
    label = choice.label.name if choice.label else find_task(choice.task).contract.label
    return f"{choice.data.source}: which {label}?" if label else f"{choice.data.source}: what comes of them?"


def flow(value: Any) -> str:
    """A value on one line of YAML."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{flow(key)}: {flow(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(flow, value)) + "]"
    if isinstance(value, str) and _PLAIN.fullmatch(value):
        return value
    return json.dumps(value, ensure_ascii=False)


def _recipe(choice: Choice) -> Iterator[str]:
    assert choice.task is not None, "of a recipe"
    task = find_task(choice.task)
    yield f"title: {flow(title(choice))}"
    yield _commented(f"task: {choice.task}", f"the rules for its rows: docs/tasks/{choice.task}.md")
    yield from _source("data", choice)
    yield f"  split: {flow({**choice.split, 'seed': 7})}"
    if choice.preprocess:
        yield f"preprocess: {flow(choice.preprocess)}"
    yield _commented("model:", choice.why)
    yield f"  base: {flow(choice.model['base'])}"
    yield _commented(f"  method: {choice.model['method']}", " | ".join(task.methods))
    if task.contract.label is not None and task.simple:
        yield from _alternative(choice, task)
    yield "gates:"
    if task.contract.label is not None and choice.rows < FEW:
        yield "  # Few rows show little. With more, leave `baseline:` out: then the simple model must be beaten too."
        yield "  against_baseline: {at_least: 0.0, baseline: majority}"
    else:
        yield _commented("  against_baseline: {at_least: 0.0}", "no champion that a simpler model may beat")
    yield _commented("  against_champion: {at_least: -0.01}", "a later one: no worse than that")


def _alternative(choice: Choice, task: Task) -> Iterator[str]:
    """The other model to try, as comments."""
    simple = f"{{architecture: {task.simple[-1]}}}"
    if choice.model["method"] != "pretrain":
        yield f"#  base: {simple}"
        yield _commented("#  method: pretrain", "a linear model: seconds, and some data need no more")
    elif "lora" in task.methods:
        yield f"#  base: {TEXT_BASE}"
        yield _commented("#  method: lora", "reads meaning, not words; minutes for thousands of rows")


def _index(choice: Choice) -> Iterator[str]:
    yield f"title: {flow(title(choice))}"
    yield from _source("documents", choice)
    yield _commented("chunk: {tokens: 200, overlap: 30}", "the embedder's tokens, cut at the ends of sentences")
    yield _commented(f"embed: {{model: {TEXT_BASE}}}", "reads English; for others name a multilingual one")
    yield _commented("search: {mode: hybrid, limit: 5}", "dense and BM25, fused")
    gate = _commented("  against_live: {at_least: -0.01}", "a release that finds less is not published")
    if choice.rows < _ASKED_FOR:
        yield f"# With more documents, by sentences that are taken out of them:\n#gates:\n#{gate}"
    else:
        yield f"gates:\n{gate}"


def _source(section: str, choice: Choice) -> Iterator[str]:
    yield f"{section}:"
    data = choice.data
    said = data.model_dump(exclude_defaults=True, exclude={"columns", "encoding", "source"})
    yield f"  source: {flow(data.source)}"
    for key, value in said.items():
        yield f"  {key}: {flow(value)}"
    if data.encoding != "utf-8":
        yield _commented(f"  encoding: {data.encoding}", "a guess, as the bytes are no UTF-8: are accents right?")
    if columns := {name: column.name for name, column in choice.columns.items() if column.name != name}:
        yield f"  columns: {flow(columns)}"


def _commented(line: str, comment: str) -> str:
    return f"{line:<{_COMMENTS_AT}} # {comment}"
