"""Any history: what something needs loads and answers after each gc, and nothing else is kept."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import pytest

from core.errors import BadRequest
from core.weights.base_store import STORE
from flows.graph.rot import is_whole
from registry.promotion import journal, promotion
from registry.promotion.ledger import champion_before
from registry.store.connection import connect
from tests.gc.world import BASES, MODEL, World, free, loads, make_world
from tests.small_model import TEXTS, ask, trusting

# Random histories: TEST_HISTORIES=200 takes some hours. In the two of the suite each rule decides alone at least once.
SEEDS = range(1, int(os.environ["TEST_HISTORIES"]) + 1) if "TEST_HISTORIES" in os.environ else (587, 2)


STEPS = 24


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
            back = promotion.rollback(MODEL, self.world.var, trusting, forced="luck")
            self.champions.append(back.version.version)
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
            answers = ask(MODEL, TEXTS, world.var, trusting)
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
