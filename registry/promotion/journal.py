"""The ledger in MLflow: an entry a run in a reserved experiment, its head a tag of the registered model.

Whoever uses the same server reads and writes the same chain. An entry is written before the head names it; two writers
at once find out by reading again, and the later one goes behind the earlier.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from registry.promotion.ledger import MOVES, START, Chain, Entry, Kept, read_chain
from registry.store.connection import experiment_id, sent_once
from registry.store.ledger_head import HEAD_TAG, Head, parse_head
from registry.store.ledger_runs import ENTRY, EXPERIMENT, HASH, MODEL, NUMBER, entries_of, model_of
from registry.store.names import require_name
from registry.store.versions import registered

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

_REPEAT = timedelta(minutes=5)  # a decision that is made again within it is the same one
_LONGEST_WHY = 300  # characters a reason, and reasons an entry: MLflow keeps 8,000 characters a tag
_MOST_REASONS = 12


def read(client: MlflowClient, model: str) -> Chain:
    """The chain of a model; empty when nothing was ever registered. Raises BadRequest for what is no model's name."""
    require_name(model)
    found, kept = registered(client, model), [_kept(run) for run in entries_of(client, model)]
    head = parse_head(found.tags.get(HEAD_TAG)) if found else None
    if head is not None and not kept and (name := model_of(client, head.hash)) is not None:
        fault = f"its entries are those of {name}, which was renamed to {model} in MLflow. Give it its name back there"
        return Chain(faults=[fault], head=head)
    return read_chain(model, kept, head, gone=found is None)


def caught_up(client: MlflowClient, model: str) -> Chain:
    """The chain, its last entry named by the model's tag: whoever wrote it may have been stopped before."""
    chain = read(client, model)
    head, last = chain.head, chain.last
    if last is None or chain.gone or (head is not None and head.number >= last.number):
        return chain
    quiet = last.action not in MOVES and (head is None or head.settled)
    named = Head(last.number, last.hash, chain.champion, settled=quiet)
    client.set_registered_model_tag(model, HEAD_TAG, str(named))
    return replace(chain, head=named)


def _head_of(client: MlflowClient, model: str) -> Head | None:
    found = registered(client, model)
    return parse_head(found.tags.get(HEAD_TAG)) if found else None


def append(client: MlflowClient, var: Path, entry: Entry) -> Entry:
    """Add an entry behind the last one; `number` and `previous` are set here.

    What the last one says already is not added again within _REPEAT: a reply was lost, and this is the repeat.
    After a move the head names the champion, and `settled` says that the alias stands there.
    """
    chain = caught_up(client, entry.model)
    last = chain.last
    if last and last.same_decision(entry) and datetime.now(UTC) - datetime.fromisoformat(last.at) < _REPEAT:
        return last
    while True:
        number = max((each.number for each in chain.texts), default=0) + 1
        mine = replace(entry, number=number, previous=chain.texts[-1].hash if chain.texts else START)
        run_id = _write(client, var, mine)
        rivals = [run for run in entries_of(client, entry.model) if run.data.tags[NUMBER] == str(mine.number)]
        first = min(rivals, key=lambda run: (run.info.start_time, run.info.run_id))
        if first.info.run_id == run_id:
            break
        client.delete_run(run_id)  # another writer was quicker
        chain = read(client, entry.model)
    caught_up(client, entry.model)
    return mine


def settled(client: MlflowClient, model: str) -> None:
    """Say that the alias stands where the ledger says."""
    head = _head_of(client, model)
    if head is not None and not head.settled:
        client.set_registered_model_tag(model, HEAD_TAG, str(replace(head, settled=True)))


def short(reasons: Sequence[str]) -> tuple[str, ...]:
    """Reasons as an entry keeps them."""
    return tuple(reason[:_LONGEST_WHY] for reason in reasons[:_MOST_REASONS])


def _write(client: MlflowClient, var: Path, entry: Entry) -> str:
    experiment = experiment_id(client, EXPERIMENT, var)
    tags = {MODEL: entry.model, NUMBER: str(entry.number), HASH: entry.hash, ENTRY: entry.text}
    with sent_once():
        run = client.create_run(experiment, tags=tags, run_name=f"{entry.model} {entry.number}: {entry.action}")
    client.set_terminated(run.info.run_id)
    return str(run.info.run_id)


def _kept(run: Run) -> Kept:
    tags = run.data.tags
    number = tags.get(NUMBER, "")
    return Kept(int(number) if number.isdigit() else 0, tags.get(ENTRY, ""), tags.get(HASH, ""))
