"""What a run came to, for its last lines: metrics with intervals beside the baselines', version, aliases, verdict."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from core.atomic_files import read_json
from core.errors import BadRequest
from core.schema.reading import read_document
from core.schema.reading import shown as place_of
from core.tables.spelling import spelled
from core.workspace import OUTPUT_FOLDERS, Job
from pipelines.evidence.row_counts import RowCounts, row_counts
from pipelines.search.engine.copies import UNREAD_FIRST
from pipelines.tasks import find_task
from registry.promotion.card import baseline_line, interval
from registry.promotion.gate import reason_line, shown
from registry.promotion.measured import Measured, read_measured

if TYPE_CHECKING:
    pass

_IN_PART = 10  # documents that are named


def result(job: Job) -> dict[str, Any]:
    """What stands in a recipe's or index's outputs now; keys whose stage has not run are null."""
    found, counts = read_measured(job.folder / "evaluation"), row_counts(job.folder)
    document: dict[str, Any] = {
        "name": job.name,
        "kind": job.kind,
        "rows": counts and counts.document(),
        "metrics": found and found.values,
        "report": found and asdict(found),
    }
    if job.kind == "index":
        return {**document, "published": _read(job, "published.json"), "in_part": in_part(job)}
    settings = _read(job, "settings.json")
    return {
        **document,
        "primary": settings and settings["evaluation"]["primary"],
        "registered": (registered := _read(job, "registered.json")),
        "refused_by": _refused_by(job, registered) if registered else {},
        "remark": _remark(settings, found) if settings and found else None,
    }


def lines(found: Mapping[str, Any]) -> Iterator[str]:
    """The same for a person."""
    yield f"{found['name']}"
    yield from rows_lines(found)
    report = found["report"] or asdict(Measured())
    metrics, baselines = report["model"], report["baselines"]
    for key in sorted(metrics, key=lambda key: (key != found.get("primary"), key)):
        beside = [f"{name} {shown(each[key]['value'])}" for name, each in baselines.items() if key in each]
        yield f"  {key:<18} {interval(metrics[key], gap='  ') or 'no value':<26} {', '.join(beside)}".rstrip()
    if found.get("remark"):
        yield f"  {found['remark']}"
    if found.get("registered"):
        yield from _registered(found["registered"])
        yield from (f"    to change that bound: {place}" for place in found["refused_by"].values())
    if found.get("published"):
        yield from _published(found["published"])
        yield from (f"  {line}" for line in unread_lines(found["name"], found["published"]))
        yield from (f"  {line}" for line in in_part_lines(found["in_part"]))


def in_part(job: Job) -> list[dict[str, str]]:
    """The documents of an index of which a part could not be read, and what."""
    return _read(job, "chunks/in_part.json") or []


def in_part_lines(documents: Sequence[Mapping[str, str]]) -> Iterator[str]:
    for each in documents[:_IN_PART]:
        yield f"read in part: {each['document']}: {each['unread']}"
    if len(documents) > _IN_PART:
        yield f"and {len(documents) - _IN_PART:,} more, in chunks/in_part.json"


def rows_lines(found: Mapping[str, Any]) -> Iterator[str]:
    """What became of the rows of the source."""
    if found.get("rows"):
        folder = f"{OUTPUT_FOLDERS[found['kind']]}/{found['name']}/"
        yield f"  {'rows':<9} {RowCounts(**found['rows']).line(folder)}"


def prediction_line(row: Mapping[str, Any]) -> str:
    """A line with a tab between: what the model says, each text of it on one line, and then the input.

    An answer that it has none of for this input is left out.
    """
    answers = (value for key, value in row.items() if key != "input" and value is not None)
    said = (spelled(value, len(value)) if isinstance(value, str) else _said(value) for value in answers)
    return "\t".join([*said, _said(row["input"])])


def _said(value: Any) -> str:
    """An answer, or an input, as a cell of a line; one of several parts (spans, a forecast) as JSON."""
    if isinstance(value, float):
        return f"{value:.4f}"
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else str(value)


def served_lines(url: str, served: Mapping[str, str], indexes: Mapping[str, str], key: str | None) -> Iterator[str]:
    """What answers, and where. key: of this run, which the page takes from its address; no browser sends that part."""
    for name, version in served.items():
        yield f"{name} version {version}: {url}/models/{quote(name)}/predict"
    for name, release in indexes.items():
        yield f"{name} release {release}: {url}/indexes/{quote(name)}/search"
    if not served and not indexes:
        yield "nothing can be served yet; it answers as soon as a model has a champion, or an index is published"
    yield f"{url}/#key={key}   Ctrl-C ends it" if key else f"{url}   Ctrl-C ends it"


def new_key_lines(name: str, key: str, file: Path) -> Iterator[str]:
    yield key
    yield f"{name}'s key, shown this once; {file} keeps its hash. Whoever sends `Authorization: Bearer KEY` is"
    yield f"{name}, from now on and without a restart, until the entry is taken out of the file."


def answered_by(model: str, version: str) -> str:
    """How a question for approval is answered."""
    how = f"on Prefect's page while `headrace schedule` runs, or by `headrace promote {model} {version}`"
    return f"a person decides whether it is champion: {how}"


def _published(receipt: Mapping[str, Any]) -> Iterator[str]:
    verdict = receipt.get("verdict") or {"reasons": []}
    if receipt.get("experiment"):
        yield "  an experiment: nothing was published"
    elif receipt.get("withdrawn"):
        yield f"  version {receipt['version']} was taken out of service: `headrace rollback` brings it back"
    elif not receipt["published"]:
        yield f"  version {receipt['version']} was REFUSED: what was live stays live"
    else:
        yield f"  live: version {receipt['version']}, {receipt['points']:,} passages, in {receipt['place']}"
    yield from _reason_lines(verdict["reasons"])


def unread_lines(index: str, receipt: Mapping[str, Any]) -> Iterator[str]:
    """The documents of an index that could not be read, and where all of them are named. receipt: published.json."""
    count = receipt.get("unread")
    if not count:
        return
    of = count + receipt["documents"]
    folder = f"{OUTPUT_FOLDERS['index']}/{index}/validated"
    yield f"{count:,} of {of:,} documents could not be read and are left out ({folder}):"
    first = receipt[UNREAD_FIRST]
    yield from (f"  {each['document']}: {each['reason']}" for each in first)
    if count > len(first):
        yield f"  and {count - len(first):,} more"


def _reason_lines(reasons: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    for reason in reasons:
        word = "passed" if reason["passed"] else "REFUSED"
        yield f"    {word:<7} {reason_line(reason)}"


def _registered(receipt: Mapping[str, Any]) -> Iterator[str]:
    verdict = receipt["verdict"]
    model, version = receipt["model"], receipt["version"]
    if receipt.get("experiment"):
        yield "  an experiment: nothing was registered"
    else:
        named = "".join(f" @{alias}" for alias in receipt["aliases"])
        yield f"  model {model} version {version}{named}"
    yield f"  gates: {'passed' if verdict['passed'] else 'REFUSED'}"
    if receipt.get("approval") == "asked":
        yield f"  {answered_by(model, version)}"
    yield from _reason_lines(verdict["reasons"])


def _refused_by(job: Job, receipt: Mapping[str, Any]) -> dict[str, str]:
    """The gates of the recipe that refused its version, and where each stands in its file."""
    refused = [reason["gate"] for reason in receipt["verdict"]["reasons"] if not reason["passed"]]
    try:
        document = read_document(job.settings_file)
    except BadRequest:  # of a file that was edited since
        return {}
    gates = document.values.get("gates")
    return {gate: f"{place_of(job.settings_file)}:{document.line(('gates', gate))}"
            for gate in refused if isinstance(gates, Mapping) and gate in gates}  # fmt: skip


def _remark(settings: Mapping[str, Any], found: Measured) -> str | None:
    """The sentence to be said when a baseline is the better model."""
    primary = settings["evaluation"]["primary"]
    task = find_task(settings["task"])
    return baseline_line(found, primary, more_is_better=task.metrics[primary], simple=task.simple)


def _read(job: Job, path: str) -> Any:
    file = job.folder / path
    return read_json(file) if file.exists() else None
