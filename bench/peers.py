"""Keeping an index in step with its documents: this project beside LangChain, LlamaIndex, Haystack and a script.

605 documents (BBC News, Cranfield): built, synced with nothing changed, synced after 1 % were edited and 1 % deleted.
Each system runs in a process of its own (bench/systems.py), in turns. `make peers` installs the others.
ROUNDS_STANDIN and ROUNDS_MODEL say how often (3 and 1).
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench import corpora
from bench.measure import seconds
from tests.conftest import TINY_INDEX, Workspace, make_workspace

ROUNDS = {each: int(os.environ.get(f"ROUNDS_{each.upper()}", few)) for each, few in (("standin", 3), ("model", 1))}
NAMES = ("headrace", "script", "langchain", "llamaindex", "haystack")
FRAMEWORKS = ("langchain", "llamaindex", "haystack")
_OF_EACH = {"news": 302, "cranfield": 303}
_EDITED = _DELETED = 6
_COMMAND_S = 3.0
_STEPS = {"first": "first build", "same": "nothing changed", "edited": "1 % edited, 1 % deleted", "all": "all edited"}

Figures = Mapping[str, float]


def main() -> None:
    skipped = corpora.missing()
    if skipped:
        print(skipped)
        return
    names = NAMES if corpora.PEERS.is_file() else ("headrace", "script")
    if names != NAMES:
        print(f"skipped: {', '.join(FRAMEWORKS)}: not installed. `make peers` installs them into var/peers.")
    with tempfile.TemporaryDirectory() as folder:
        _write(Path(folder))
        for embedder, rounds in ROUNDS.items():
            found: dict[str, list[Figures]] = {name: [] for name in names}
            for number in range(rounds):
                for name in names:
                    found[name].append(_run(name, embedder, Path(folder) / f"{name}-{embedder}-{number}"))
            if rounds:
                _report(embedder, {name: _medians(each) for name, each in found.items()}, rounds)
        _command(Path(folder))


def _write(folder: Path) -> None:
    """before.json, after.json (1 % edited, 1 % deleted), and all.json (what is left, each edited, those once more)."""
    before = {}
    for (source, count), found in zip(_OF_EACH.items(), (corpora.news(), corpora.documents("cranfield")), strict=True):
        names = sorted(name for name in found if found[name]["text"].strip())
        for name in names[:: max(1, len(names) // count)][:count]:
            before[f"{source}/{name}"] = f"{found[name]['title']}\n\n{found[name]['text']}"
    names = sorted(before)[:: len(before) // (_EDITED + _DELETED)]
    edited, deleted = names[:_EDITED], names[_EDITED : _EDITED + _DELETED]
    after = {name: text for name, text in before.items() if name not in deleted}
    after |= {name: _edited(after[name]) for name in edited}
    everything = {name: _edited(text) for name, text in after.items()}
    for name, documents in (("before", before), ("after", after), ("all", everything)):
        (folder / f"{name}.json").write_text(json.dumps(documents), encoding="utf-8")


def _edited(text: str) -> str:
    head, mark, rest = text.partition(". ")
    return f"{head}{mark}This sentence was added by an editor. {rest}"


def _run(name: str, embedder: str, folder: Path) -> Figures:
    folder.mkdir()
    python = str(corpora.PEERS) if name in FRAMEWORKS else sys.executable
    command = [python, "-m", "bench.systems", name, embedder, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    found: Figures = json.loads(done.stdout.splitlines()[-1])
    return found


def _command(folder: Path) -> None:
    """`headrace index` of these documents with nothing changed, the whole command."""
    workspace = make_workspace(folder / "workspace")
    documents = json.loads((folder / "before.json").read_text(encoding="utf-8"))
    rows = (json.dumps({"id": name, "text": text}) + "\n" for name, text in documents.items())
    workspace.write("documents.jsonl", "".join(rows))
    workspace.write("indexes/docs.yaml", TINY_INDEX)
    workspace.live(indexes={"docs": {"watch": "documents.jsonl"}})
    try:
        took = [seconds(lambda: _index(workspace)) for _ in range(4)][1:]
    finally:
        workspace.headrace("stop")
    took_s = statistics.median(took)
    _verdict(f"`headrace index`, nothing changed: {took_s:.2f} s, at most {_COMMAND_S} s", took_s <= _COMMAND_S)
    print(corpora.load())


def _index(workspace: Workspace) -> None:
    done = workspace.headrace("index", "docs", timeout=1200)
    if done.returncode:
        sys.exit(f"headrace index ended with {done.returncode}:\n{done.stdout}{done.stderr}")


def _medians(found: Sequence[Figures]) -> Figures:
    return {key: statistics.median(each[key] for each in found) for key in found[0]}


def _report(embedder: str, found: Mapping[str, Figures], rounds: int) -> None:
    called = {"standin": "embedding costs nothing", "model": "all-MiniLM-L6-v2"}[embedder]
    steps = {key: step for key, step in _STEPS.items() if f"{key}, s" in found["headrace"]}
    head = [called, *(f"{step}, s" for step in steps.values()), "embedded", "stale", "passages", "tokens", "RSS, MB"]
    rows = [
        [
            name,
            *(f"{each[f'{step}, s']:.2f}" for step in steps),
            " / ".join(f"{each[f'{step}, embedded']:,.0f}" for step in steps),
            *(f"{each[key]:,.0f}" for key in ("stale", "passages", "tokens", "memory, MB")),
        ]
        for name, each in found.items()
    ]
    print(corpora.table(head, rows))
    print(f"{'medians of ' if rounds > 1 else ''}{rounds} {'rounds' if rounds > 1 else 'round'}, {corpora.load()}")
    _against(embedder, found)


def _against(embedder: str, found: Mapping[str, Figures]) -> None:
    ours, peers = found["headrace"], {name: each for name, each in found.items() if name != "headrace"}
    clean = {name: each for name, each in peers.items() if not each["stale"]}
    if embedder == "standin":
        goals = [("first", "langchain", 4.0), ("same", None, 10.0), ("edited", None, 5.0)]
    else:
        goals = [
            ("first", "script", 1.7),
            ("first", "langchain", 2.0),
            ("first", "llamaindex", 2.0),
            ("edited", None, 1.5),
        ]
    for step, name, goal in goals:
        if name is not None and name not in peers:
            continue
        among = {name: peers[name]} if name else clean
        fastest = min(among, key=lambda each: among[each][f"{step}, s"])
        ratio = among[fastest][f"{step}, s"] / ours[f"{step}, s"]
        if step == "first":  # passages a second: systems cut into other numbers of them
            ratio *= ours["passages"] / among[fastest]["passages"]
        _verdict(f"{_STEPS[step]}: {ratio:.1f}x {fastest}'s speed, at least {goal}x", ratio >= goal)
    _verdict("no stale point", ours["stale"] == 0)
    _verdict("nothing is embedded when nothing changed", ours["same, embedded"] == 0)
    if "langchain" in peers:
        for key in (key for key in ("edited", "all") if f"{key}, embedded" in ours):
            own, most = ours[f"{key}, embedded"], peers["langchain"][f"{key}, embedded"]
            _verdict(f"{_STEPS[key]}: {own:,.0f} embedded, at most LangChain's {most:,.0f}", own <= most)
    if embedder == "model":  # without one the others do not load torch, which nobody runs them without
        share = ours["memory, MB"] / min(each["memory, MB"] for each in peers.values())
        _verdict(f"memory: {share:.2f}x the least of theirs, at most .65x", share <= 0.65)


def _verdict(what: str, reached: bool) -> None:
    print(f"{'reached' if reached else 'NOT REACHED'}: {what}")
