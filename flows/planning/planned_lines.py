"""What `headrace plan` says: a line a method, what fits into this machine, and what suits the data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from flows.planning.plan_training import Planned
from flows.starting.seen_lines import facts, seen_lines

_GB, _MB = 1e9, 1e6
_UNITS = ((86400.0, "d"), (3600.0, "h"), (60.0, "min"), (1.0, "s"))
_SURE = 0.95  # of the memory that there is: what a batch is suggested for


def planned_lines(planned: Planned) -> Iterator[str]:
    """For a person."""
    if planned.seen is not None and planned.choice is not None:
        yield from seen_lines(planned.seen, planned.choice)
    found = planned.found
    if found is None:
        yield "an index of documents suits these data: nothing is trained. `headrace new NAME --source` makes it."
        return
    rows = ", ".join(f"{count:,} {split}" for split, count in found["rows"].items())
    more = "" if found["whole"] else "at least "
    yield f"{planned.name}: {found['task']}, {found['method']}; rows: {more}{rows}"
    for method, told in found["methods"].items():
        yield f"  {method}{' (the recipe)' if method == found['method'] else ''}: {_line(told)}"
    for method, why in found["not_possible"].items():
        yield f"  {method}: no ({why.splitlines()[0]})"
    memory = f"{_size(found['limit_bytes'])} of memory, {_size(found['free_bytes'])} free now"
    yield f"  this machine: {memory}; {_gpu(found)}"
    yield from (f"  {line}" for line in what_fits(found))
    if planned.suggested is not None:
        model = planned.suggested.model
        base = model["base"] if isinstance(model["base"], str) else model["base"]["architecture"]
        yield f"  what suits: {model['method']} from {base}: {planned.suggested.why} ({planned.suggested.source})"


def planned_document(planned: Planned) -> dict[str, Any]:
    """The same for programs."""
    suggested = planned.suggested
    return {
        "name": planned.name,
        **(planned.found or {}),
        "suggested": suggested and {"model": suggested.model, "why": suggested.why, "source": suggested.source},
        "fits": list(what_fits(planned.found)) if planned.found is not None else [],
        **({"seen": facts(planned.seen, planned.choice)} if planned.seen and planned.choice else {}),
    }


def what_fits(found: Mapping[str, Any]) -> Iterator[str]:
    """What would fit into this machine's memory, in words: the largest batch, or what helps if the recipe does not."""
    method, limit = found["method"], found["limit_bytes"]
    own = found["methods"][method]
    if own["fits"]:
        if (largest := own["largest_batch"]) is not None and largest < found["rows"]["train"]:
            now = f"training.batch_size is {own['batch_size']:,}"
            yield f"fits: batches of up to about {round(largest, -1) or largest:,} rows ({now})"
        if own["peak_bytes"] > found["free_bytes"]:
            yield f"but only {_size(found['free_bytes'])} are free now: what else runs here?"
        return
    needed = own["peak_bytes"] or own["at_least_bytes"]
    yield f"does not fit: {'' if own['peak_bytes'] else 'more than '}{_size(needed)} needed, {_size(limit)} there"
    largest = own["largest_batch"] and int(own["largest_batch"] * _SURE)
    if largest and largest < own["batch_size"]:
        parts = -(-own["batch_size"] // largest)
        yield f"would fit: training: {{batch_size: {largest}, accumulate: {own['accumulate'] * parts}}}"
    if (instead := found["instead"].get("gradient_checkpointing")) and instead["fits"]:
        yield f"would fit: training: {{gradient_checkpointing: true}}, {_size(instead['peak_bytes'])}"
    for other, told in found["methods"].items():
        if other != method and told["fits"]:
            yield f"would fit: model: {{method: {other}}}, {_size(told['peak_bytes'])}"


def _line(told: Mapping[str, Any]) -> str:
    words = []
    if told["fits_itself"]:
        words.append("fits itself, tried on samples that grew")
    elif told["parameters"] is not None:
        trained = told["trainable"]
        share = "" if trained is None else f", {trained / max(told['parameters'], 1):.1%} trained"
        words.append(f"{_count(told['parameters'])} parameters{share}")
    if told["step_s"] is not None:
        words.append(f"{told['steps']:,} steps of {told['step_s']:.2g} s")
    if told["seconds"] is not None:
        likely, least, most = told["seconds"]
        words.append(f"about {_time(likely)} ({_time(least)} to {_time(most)})")
    peak, gpu = told["peak_bytes"], told["gpu"]
    words.append(f"{_size(peak)} of memory" if peak else f"more than {_size(told['at_least_bytes'])} of memory")
    if gpu:
        words.append(f"{_size(gpu['peak_bytes'])} of the GPU's")
    if told["checkpoint_bytes"] is not None:
        words.append(f"checkpoints of {_size(told['checkpoint_bytes'])}")
    return ", ".join([*words, "fits" if told["fits"] else "does not fit"])


def _gpu(found: Mapping[str, Any]) -> str:
    gpu = next((told["gpu"] for told in found["methods"].values() if told["gpu"]), None)
    return f"{gpu['name']}, {_size(gpu['bytes'])}, {_size(gpu['free'])} free" if gpu else "no GPU"


def _count(number: int) -> str:
    for unit, name in ((1e9, " billion"), (1e6, " million")):
        if number >= unit:
            return f"{number / unit:.3g}{name}"
    return f"{number:,}"


def _size(number: float) -> str:
    return f"{number / _GB:.1f} GB" if number >= _GB else f"{number / _MB:.3g} MB"


def _time(seconds: float) -> str:
    for unit, name in _UNITS:
        if seconds >= 1.5 * unit:
            return f"{seconds / unit:.2g} {name}" if seconds < 10 * unit else f"{seconds / unit:.0f} {name}"
    return f"{seconds:.1f} s"
