"""`python -m pipelines.planning.measure FOLDER`: what trainings of a recipe will need, measured on some steps of each.

FOLDER has asked.json: {"name", "file", "methods"}; what is found is written there as answer.json. Rows that the stages
have prepared are used; else some are prepared in the folder. Every training is tried in a fork, one after the other.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from core.atomic_files import read_json, write_json, write_text
from core.errors import BadRequest, HeadraceError
from core.process.garbage import collect_seldom
from core.process.memory import file_bytes, free_bytes, limit_bytes
from core.schema.model import Compute, Model, Training
from core.schema.reading import BadSettings
from core.tables.prepared import STATISTICS
from core.terminal import guard
from core.weights.determinism import steady
from core.workspace import Job, find_workspace
from pipelines.place import place_of
from pipelines.planning.apart import Ended, Tell, apart
from pipelines.planning.aside import Aside, has_rows, set_aside
from pipelines.planning.forecast import Forecast, forecast
from pipelines.recipes.read import read_recipe
from pipelines.tasks import find_task

_LEFT = 0.9  # of the memory that is free now, what a trial may take of it


def main() -> None:
    """Measure what asked.json asks for; the exit code is that of the fault, if there is one."""
    collect_seldom()
    guard()
    place = Path(sys.argv[1])
    try:
        answer = measured(place)
    except HeadraceError as fault:
        answer = {"fault": str(fault), "exit_code": fault.exit_code}
    write_json(place / "answer.json", answer)


def measured(place: Path) -> dict[str, Any]:
    """The forecast of every method that was asked for, and of the recipe's own with less memory where it does not fit.

    Raises BadSettings, BadRequest, BadData, Outage as the stages would.
    """
    asked = read_json(place / "asked.json")
    job = find_workspace().job("recipe", asked["name"])
    aside = set_aside(job, Path(asked["file"]), place)
    steady(threads=aside.section("compute", Compute).threads)
    limit = limit_bytes()
    most = min(limit, int(free_bytes() * _LEFT))
    prepared: dict[str, Any] = {"share": 1.0, "whole": True}
    where: Job = aside
    if has_rows(job, aside):
        where = job
    else:
        _say("reading and preparing rows")
        prepared = _whole(apart(lambda tell: tell(_prepare(aside)), most_bytes=most))
    start = time.perf_counter()
    _import_what_training_imports()
    start_s = time.perf_counter() - start
    rows = read_json(where.folder / "prepared" / STATISTICS)["rows"]
    own = aside.section("model", Model).method
    answer: dict[str, Any] = {
        "limit_bytes": limit, "free_bytes": free_bytes(), "task": aside.settings["task"], "method": own,
        "prepared": where is job, "share": prepared["share"], "whole": prepared["whole"], "methods": {},
        "rows": {split: round(count / prepared["share"]) for split, count in rows.items()},
        "not_possible": {}, "instead": {},
    }  # fmt: skip
    for method in asked["methods"]:
        try:
            model, training = _variant(aside, Path(asked["file"]), method, own)
        except BadRequest as fault:
            answer["not_possible"][method] = str(fault)
            continue
        ended = _tried(aside, where, model, training, most, method)
        if ended.fault is not None:
            if method == own:
                raise _as_raised(ended)
            answer["not_possible"][method] = ended.fault
            continue
        found = _forecast(method, training, ended, prepared, start_s, most)
        answer["methods"][method] = _document(found, limit)
        if method == own and not _fits(found, limit) and not training.gradient_checkpointing:
            less = training.model_copy(update={"gradient_checkpointing": True})
            ended = _tried(aside, where, model, less, most, f"{method} with gradient checkpointing")
            if ended.fault is None:
                found = _forecast(method, less, ended, prepared, start_s, most)
                answer["instead"]["gradient_checkpointing"] = _document(found, limit)
    return answer


def _prepare(aside: Aside) -> Mapping[str, Any]:
    from pipelines.planning.some_rows import prepare_some

    return prepare_some(aside)


def _import_what_training_imports() -> None:
    """So that forks have it, and take as much memory as the stage does."""
    import pandas  # noqa: F401
    import torch  # noqa: F401
    import transformers  # noqa: F401

    import pipelines.train.loop  # noqa: F401
    from registry.store.tracking import load

    load()


def _variant(aside: Aside, file: Path, method: str, own: str) -> tuple[Model, Training]:
    """The recipe's model and training by another method: with what the task says for that, in place of its own."""
    if method == own:
        return aside.section("model", Model), aside.section("training", Training)
    from ruamel.yaml import YAML

    yaml = YAML(typ="safe")
    document = yaml.load(file.read_text(encoding="utf-8"))
    model = {key: value for key, value in document["model"].items() if key != "lora"}
    kept = {
        key: value
        for key, value in (document.get("training") or {}).items()
        if key in ("batch_size", "accumulate", "precision", "compile", "seed")
    }
    changed = {**document, "model": {**model, "method": method}, "training": kept}
    written = aside.place / f"{method}.yaml"
    write_text(written, json.dumps(changed))
    try:
        recipe = read_recipe(written, name=aside.name)
    except BadSettings as refused:
        raise BadRequest("; ".join(str(mistake.message) for mistake in refused.mistakes)) from None
    return recipe.model, recipe.training


def _tried(aside: Aside, where: Job, model: Model, training: Training, most: int, what: str) -> Ended:
    _say(f"trying {what}")
    scratch = aside.place / what.replace(" ", "-")
    scratch.mkdir()

    libraries = file_bytes()

    def work(tell: Tell) -> None:
        from pipelines.planning.some_steps import Trial, tried

        at = place_of(aside, seed=training.seed, folder=where.folder / "prepared" / "encoder")
        at = replace(at, media=where.folder / "raw", cache=scratch)
        task = find_task(aside.settings["task"])
        tried(Trial(task, model, training, at, where.folder / "prepared", scratch, libraries, most), tell)

    return apart(work, most_bytes=most)


def _forecast(
    method: str, training: Training, ended: Ended, prepared: Mapping[str, Any], start_s: float, most: int
) -> Forecast:
    facts = {**ended.facts, "start_s": start_s}
    return forecast(method, training, facts, share=prepared["share"], most=most if ended.stopped else None)


def _fits(found: Forecast, limit: int) -> bool:
    if found.gpu is not None and found.gpu["peak_bytes"] > found.gpu["bytes"]:
        return False
    return (found.peak_bytes or found.at_least_bytes) <= limit and found.peak_bytes is not None


def _document(found: Forecast, limit: int) -> dict[str, Any]:
    return {**asdict(found), "fits": _fits(found, limit), "largest_batch": found.largest_batch(limit)}


def _whole(ended: Ended) -> dict[str, Any]:
    if ended.fault is not None:
        raise _as_raised(ended)
    if ended.stopped:
        raise BadRequest("the rows alone take more memory than is free now.")
    return ended.facts


def _as_raised(ended: Ended) -> HeadraceError:
    fault = HeadraceError(str(ended.fault))
    fault.exit_code = ended.exit_code  # of this one alone
    return fault


def _say(what: str) -> None:
    print(f"plan: {what}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
