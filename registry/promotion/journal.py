"""The ledger in MLflow: an entry a run in a reserved experiment, its head a tag of the registered model.

Whoever uses the same server reads and writes the same chain. An entry is written before the head names it; two writers
at once find out by reading again, and the later one goes behind the earlier.
"""

from __future__ import annotations

import getpass
import socket
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from registry.promotion.ledger import MOVES, START, Chain, Entry, Kept, champion, read_chain
from registry.store.connection import experiment_id, sent_once
from registry.store.ledger_head import HEAD_TAG, Head, parse_head
from registry.store.names import require_name

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

EXPERIMENT = "headrace-ledger"
_MODEL, _NUMBER, _HASH, _ENTRY = (f"ledger.{name}" for name in ("model", "number", "hash", "entry"))
_PAGE = 1000
_REPEAT_S = 300.0  # a decision that is made again within it is the same one
_LONGEST_WHY = 300  # characters a reason, and reasons an entry: MLflow keeps 8,000 characters a tag
_MOST_REASONS = 12


def read(client: MlflowClient, model: str) -> Chain:
    """The chain of a model; empty when nothing was ever registered. Raises BadRequest for what is no model's name."""
    require_name(model)
    runs = _runs(client, model)
    return read_chain(model, [_kept(run) for run in runs], head_of(client, model))


def caught_up(client: MlflowClient, model: str) -> Chain:
    """The chain, its last entry named by the model's tag: whoever wrote it may have been stopped before."""
    return _name_last(client, read(client, model))


def head_of(client: MlflowClient, model: str) -> Head | None:
    from mlflow.exceptions import MlflowException

    try:
        return parse_head(client.get_registered_model(model).tags.get(HEAD_TAG))
    except MlflowException as error:
        if error.error_code in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            return None
        raise


def append(client: MlflowClient, var: Path, entry: Entry) -> Entry:
    """Add an entry behind the last one; `number` and `previous` are set here.

    What the last one says already is not added again within _REPEAT_S: a reply was lost, and this is the repeat.
    After a move the head names the champion, and `settled` says that the alias stands there.
    """
    chain = caught_up(client, entry.model)
    if chain.last is not None and chain.last.same_decision(entry) and _age_s(chain.last) < _REPEAT_S:
        return chain.last
    while True:
        mine = replace(entry, number=_next(chain), previous=chain.texts[-1].hash if chain.texts else START)
        run_id = _write(client, var, mine)
        rivals = [run for run in _runs(client, entry.model) if run.data.tags[_NUMBER] == str(mine.number)]
        first = min(rivals, key=lambda run: (run.info.start_time, run.info.run_id))
        if first.info.run_id == run_id:
            break
        client.delete_run(run_id)  # another writer was quicker
        chain = read(client, entry.model)
    caught_up(client, entry.model)
    return mine


def settled(client: MlflowClient, model: str) -> None:
    """Say that the alias stands where the ledger says."""
    head = head_of(client, model)
    if head is not None and not head.settled:
        client.set_registered_model_tag(model, HEAD_TAG, str(replace(head, settled=True)))


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def somebody() -> str:
    """Who runs this process, as far as the machine knows."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's number without a name
        user = "unknown"
    return f"{user}@{socket.gethostname()}"


def short(reasons: Sequence[str]) -> tuple[str, ...]:
    """Reasons as an entry keeps them."""
    return tuple(reason[:_LONGEST_WHY] for reason in reasons[:_MOST_REASONS])


def _name_last(client: MlflowClient, chain: Chain) -> Chain:
    """Make the model's tag name the last entry, unless it does: its writer may have been stopped before."""
    head, last = chain.head, chain.last
    if last is None or (head is not None and head.number >= last.number):
        return chain
    quiet = last.action not in MOVES and (head is None or head.settled)
    named = Head(last.number, last.hash, champion(chain.entries), settled=quiet)
    client.set_registered_model_tag(last.model, HEAD_TAG, str(named))
    return replace(chain, head=named)


def _age_s(entry: Entry) -> float:
    return (datetime.now(UTC) - datetime.fromisoformat(entry.at)).total_seconds()


def _next(chain: Chain) -> int:
    return max([each.number for each in chain.texts], default=0) + 1


def _write(client: MlflowClient, var: Path, entry: Entry) -> str:
    experiment = experiment_id(client, EXPERIMENT, var)
    tags: Mapping[str, Any] = {
        _MODEL: entry.model, _NUMBER: str(entry.number), _HASH: entry.hash, _ENTRY: entry.text,
    }  # fmt: skip
    name = f"{entry.model} {entry.number}: {entry.action}"
    with sent_once():
        run = client.create_run(experiment, tags=dict(tags), run_name=name)
    client.set_terminated(run.info.run_id)
    return str(run.info.run_id)


def _runs(client: MlflowClient, model: str) -> list[Run]:
    """Every entry's run, those in MLflow's bin left out."""
    found = client.get_experiment_by_name(EXPERIMENT)
    if found is None:
        return []
    runs: list[Run] = []
    token = None
    while True:
        page = client.search_runs(
            [found.experiment_id], f"tags.`{_MODEL}` = '{model}'", max_results=_PAGE, page_token=token
        )
        runs += page
        token = page.token
        if not token:
            return runs


def _kept(run: Run) -> Kept:
    tags = run.data.tags
    number = tags.get(_NUMBER, "")
    return Kept(int(number) if number.isdigit() else 0, tags.get(_ENTRY, ""), tags.get(_HASH, ""))
