"""Kills at random writes over all stages of a recipe and an index: `python -m tests.faults.soak FOLDER`.

Each round changes the data, is killed once to ten times, and then runs to its end. What stands then must be what the
same data gives in a workspace that nobody disturbs, with nothing doubled, missing, short or left behind. After a dozen
rounds a new workspace takes over, so that the data of the dozen is new to it again.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.conftest import TINY_INDEX, Workspace, film_rows, make_tiny
from tests.faults.writes import DVC, Trap, forked, repro

# Whose outputs hold times or numbers of their own; what counts in the evaluation is compared apart.
_NOT_EQUAL = ("evaluate@tiny", "register@tiny", "publish@notes")
_EQUAL = ("metrics.json", "predictions.parquet", "report.json")
_MOST_KILLS = 10  # in a row
STATES = 12  # of the data


@dataclass(frozen=True)
class Undisturbed:
    """What a state of the data gives where nobody interferes, and what each process was seen doing meanwhile."""

    entries: dict[str, Any]
    record: dict[str, tuple[int, float]]  # by process: writes, seconds


def make(root: Path) -> Workspace:
    """A workspace with the recipe `tiny` and the index `notes`, their locks written."""
    made = make_tiny(root)
    made.write("indexes/notes.yaml", TINY_INDEX)
    change(made, 0)
    made.live(
        recipes={"tiny": {"task": "text_classification", "watch": "rows.csv"}},
        indexes={"notes": {"watch": "documents.jsonl"}},
    )
    _must(forked(lambda: _write_locks(made.root), made.root), made)
    return made


def change(made: Workspace, number: int) -> None:
    """Other rows and other documents, which the number decides."""
    made.write_rows([{**row, "text": f"{row['text']} in state {number}"} for row in film_rows(100 + number)])
    texts = [f"Note {each} of state {number}. The river rose {each * number % 11} metres." for each in range(12)]
    documents = [{"id": str(each), "text": text} for each, text in enumerate(texts)]
    made.write("documents.jsonl", "".join(json.dumps(document) + "\n" for document in documents))
    shutil.rmtree(made.path(".dvc/cache/runs"), ignore_errors=True)  # or DVC would restore what it knows


def locked(made: Workspace) -> dict[str, Any]:
    """By stage: what dvc.lock says of it. Nothing while it is torn or not there."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        return dict(YAML(typ="safe").load(made.path("dvc.lock").read_text())["stages"])
    except (OSError, YAMLError, TypeError, KeyError):
        return {}


def entries(made: Workspace) -> dict[str, Any]:
    """By stage or file: what depends on the data and the settings alone, and must be equal everywhere."""
    evaluation = made.hashes("data/models/tiny/evaluation")
    return {
        **{address: entry for address, entry in locked(made).items() if address not in _NOT_EQUAL},
        **{f"evaluation/{file}": evaluation.get(file) for file in _EQUAL},
    }


def draw_trap(draw: random.Random, record: dict[str, tuple[int, float]], done: set[str]) -> Trap:
    """A process that has work to do, and a write or an instant of it, out of what an undisturbed run was seen doing."""
    stages = sorted(record.keys() - {DVC} - done)
    who = draw.choice([DVC, *stages, DVC])
    writes, seconds = record[who]
    part = len(stages) / (len(record) - 1) if who == DVC else 1.0
    if draw.random() < 0.3:
        return Trap(who, draw.uniform(0, seconds * part))
    return Trap(who, draw.randint(1, max(1, round(writes * part))), group=draw.random() < 0.4)


def undisturbed(plain: Workspace, number: int, *, watch: Callable[[Path], None] | None = None) -> Undisturbed:
    """Bring this state of the data to its end, and look; watch: as `repro` takes it."""
    change(plain, number)
    Path(f"{plain.root}.record").unlink(missing_ok=True)
    _must(repro(plain.root, plain=False, watch=watch), plain)
    record = {me: (writes, seconds) for me, writes, seconds in _lines(Path(f"{plain.root}.record"))}
    return Undisturbed(entries(plain), record)


def one_round(made: Workspace, right: Undisturbed, number: int, draw: random.Random) -> dict[str, Any]:
    """Change, kill, run to the end, compare. Returns what was done and what is wrong."""
    before = locked(made)
    change(made, number)
    Path(f"{made.root}.log").unlink(missing_ok=True)
    kills = []
    for _ in range(draw.randint(1, _MOST_KILLS)):
        done = {each for each, entry in locked(made).items() if entry != before.get(each)}
        trap, by_dvc = draw_trap(draw, right.record, done), draw.random() < 0.5
        code = repro(made.root, plain=by_dvc, trap=trap)
        kills.append({"trap": str(trap), "driver": "dvc repro" if by_dvc else "headrace", "code": code})
        if code == 0:  # the trap lay beyond what was left to do, and now nothing is
            break
    began = time.monotonic()
    code = repro(made.root, plain=False)
    took = time.monotonic() - began
    faults = [f"the next run ended with {code}: {_log(made)}"] if code else []
    if not faults:
        faults, found = faults_of(made), entries(made)
        faults += [f"{each} is not as undisturbed" for each in right.entries if right.entries[each] != found.get(each)]
        faults += [f"a stray process: {each}" for each in strays(made)]
    return {"round": number, "kills": kills, "repair_s": round(took, 1), "faults": faults}


def faults_of(made: Workspace) -> list[str]:
    """What `find_faults` says, from a fork."""
    if forked(lambda: Path(f"{made.root}.found").write_text(json.dumps(find_faults(made))), made.root):
        return [f"the check: {_log(made)}"]
    faults: list[str] = json.loads(Path(f"{made.root}.found").read_text())
    return faults


def find_faults(made: Workspace) -> list[str]:
    """What is doubled, missing, short, open or left behind. In a fork: it opens the store."""
    from core.atomic_files import sha256_file, sha256_json
    from core.manifest import read_manifest
    from core.workspace import Workspace as Place
    from flows.catalog.receipt_check import lost
    from flows.graph.graph import Graph
    from registry.store.connection import connect
    from registry.store.versions import packed_folder, versions

    place = Place(made.root)
    graph = Graph(made.root)
    faults = [f"stale: {address}: {why}" for address, why in graph.stale([n.address for n in graph.nodes]).items()]
    for kind, name in (("recipe", "tiny"), ("index", "notes")):
        faults += [f"{address}: {why}" for address, why in lost(place, kind, [name]).items()]  # type: ignore[arg-type]
    registered = versions("tiny", place.var)
    counts = Counter(version.model_hash for version in registered)
    faults += [f"{count} versions of model {model}" for model, count in counts.items() if count > 1]
    newest = sha256_json(read_manifest(made.path("data/models/tiny/model"))["files"])
    if counts[newest] != 1:
        faults.append(f"the model that stands is registered {counts[newest]} times")
    if not any("champion" in version.aliases for version in registered):
        faults.append("no champion")
    for version in registered:
        folder = packed_folder(version, place.var) / "artifacts" / "model"
        manifest = read_manifest(folder)
        if sha256_json(manifest["files"]) != version.model_hash:
            faults.append(f"version {version.version} is another model than it says")
        for file, sha256 in manifest["files"].items():
            if not (folder / file).is_file() or sha256_file(folder / file) != sha256:
                faults.append(f"version {version.version}: {file} is missing or short")
    client = connect(place.var)
    for experiment in client.search_experiments():
        runs = client.search_runs([experiment.experiment_id], "attributes.status = 'RUNNING'")
        faults += [f"run {run.info.run_id} ({run.info.run_name}) never ended" for run in runs]
    left = [path for path in made.path("var").rglob(".*") if path.name.endswith((".new", ".old"))]
    left += list(made.path("var/checkpoints").glob("*/*"))
    left += [path for path in made.path("data").rglob(".*") if path.name.endswith((".new", ".old"))]
    return faults + [f"left behind: {path.relative_to(made.root)}" for path in left]


def strays(made: Workspace) -> list[str]:
    """Other processes that work in this folder."""
    import psutil

    found = []
    for process in psutil.process_iter(["cwd", "cmdline"]):
        if process.info["cwd"] == str(made.root) and process.pid != os.getpid():
            found.append(f"{process.pid} {process.info['cmdline']}")
    return found


def main() -> None:
    """Rounds until the kills or the minutes are used up; a line a round, the sum as JSON at the end."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--minutes", type=float, default=60.0, help="ends after the round that runs then")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    import_all()
    folder = arguments.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    made, plain = make(folder / "disturbed"), make(folder / "undisturbed")
    states: dict[int, Undisturbed] = {}
    draw, kills, faults, number = random.Random(arguments.seed), Counter[str](), 0, 0
    deadline = time.monotonic() + arguments.minutes * 60
    while kills.total() < arguments.kills and time.monotonic() < deadline:
        state = number % STATES
        if number and not state:
            shutil.rmtree(made.root)
            made = make(folder / f"disturbed-{number // STATES}")
        if state not in states:
            states[state] = undisturbed(plain, state)
        number += 1
        done = one_round(made, states[state], state, draw)
        kills.update(kill["trap"].split(" at ")[0] for kill in done["kills"] if kill["code"])
        faults += len(done["faults"])
        print(f"{kills.total()} kills, {faults} faults: {json.dumps(done)}", file=sys.stderr, flush=True)
        if done["faults"]:
            break  # as it stands, for a person to look at
    print(
        json.dumps(
            {"rounds": number, "kills": kills.total(), "by_process": dict(kills.most_common()), "faults": faults}
        )
    )
    sys.exit(1 if faults else 0)


def import_all() -> None:
    """All that DVC and the stages import, so that the forks need not; nothing may compute, or threads would start."""
    from core.weights.determinism import steady

    steady(threads=1)
    for module in (
        "settings.settings", "collect.collect", "validate.validate", "preprocess.preprocess", "train.train",
        "train.loop", "evaluate.evaluate", "register.register", "chunk.chunk", "embed.embed", "publish.publish",
        "search.vectors.embedder", "search.engine.releases", "recipes.observe", "tasks.parts.pooled_classifier",
    ):  # fmt: skip
        __import__(f"pipelines.{module}")
    import great_expectations  # noqa: F401
    import peft  # noqa: F401
    import sklearn.linear_model  # noqa: F401


def _write_locks(root: Path) -> None:
    from core.workspace import find_workspace
    from pipelines.recipes.observe import observe, write_lock

    for kind, name in (("recipe", "tiny"), ("index", "notes")):
        job = find_workspace(root).job(kind, name)  # type: ignore[arg-type]
        write_lock(job, observe(job))


def _lines(file: Path) -> list[tuple[str, int, float]]:
    return [tuple(json.loads(line)) for line in file.read_text().splitlines()]


def _log(made: Workspace) -> str:
    return Path(f"{made.root}.log").read_text()[-3000:]


def _must(code: int, made: Workspace) -> None:
    if code:
        raise SystemExit(f"ended with {code}:\n{_log(made)}")


if __name__ == "__main__":
    main()
