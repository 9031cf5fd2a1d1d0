"""The accepted champions in memory: looked for every second, loaded beside the old ones, swapped in one step."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from core.errors import HeadraceError, Outage
from core.workspace import now
from registry.promotion.promotion import Judge, settle
from registry.store.overview import Standing, standings
from registry.store.versions import CHAMPION, resolve
from registry.version.predict import Loaded, load_version

LOOK_EVERY_S = 1.0  # of one SQLite query or one request to a server: 1 ms, and a new champion answers within seconds
RETRY_EVERY_S = 10.0  # what could not be loaded: hashing its files each second would cost a core
# What reading a model's files and memory for it may raise. Whatever it is: the champion in memory goes on.
# Of a batch, which brings a thread of its own. With all cores for each, those of two batches wait for each other: of
# eight clients on two cores 186 requests a second are answered, and 204 with one.
ONNX_CORES = max(1, (os.cpu_count() or 1) // 2)
_LOADING = (HeadraceError, OSError, RuntimeError, ValueError, LookupError, TypeError, ImportError, MemoryError)

Say = Callable[[str], None]


@dataclass(frozen=True)
class Champion:
    """since: when it began to answer here, ISO 8601 in UTC."""

    loaded: Loaded
    since: str


class Champions:
    """names: the models to follow; none: every one that has a champion.

    One thread calls look(); `serving` and `faults` are replaced and never changed, so any thread may read them.
    faults: model -> why its newest champion does not answer. away: why the registry cannot be looked at.
    """

    def __init__(self, var: Path, judge: Judge, names: Sequence[str], say: Say) -> None:
        self.names: Sequence[str] = tuple(dict.fromkeys(names))
        self._var, self._judge, self._say = var, judge, say
        # Where a model stood when it was last followed, and when to try once more, by time.monotonic().
        self._tried: dict[str, tuple[Standing | None, float]] = {}
        self._thread: threading.Thread | None = None
        self.serving: Mapping[str, Champion] = {}
        self.faults: Mapping[str, str] = {}
        self.away: str | None = None

    @property
    def lost(self) -> bool:
        """Whether the thread that follows has died."""
        return self._thread is not None and not self._thread.is_alive()

    @contextmanager
    def following(self) -> Iterator[None]:
        """Look every second in a thread of its own while the block runs."""
        over = threading.Event()

        def follow() -> None:
            while not over.wait(LOOK_EVERY_S):
                self.look()

        # No daemon: an interpreter that ends while such a thread is in a library's C++ may abort.
        self._thread = threading.Thread(target=follow, name="champions")
        self._thread.start()
        try:
            yield
        finally:
            over.set()
            self._thread.join()

    def look(self) -> None:
        """Load what became champion since the last look. What fails is a fault, and the version in memory goes on."""
        try:
            found = {each.name: each for each in standings(self._var)}
        except Outage as outage:
            if self.away is None:  # its words may differ at every look
                self._say(f"the registry is away, what is loaded goes on answering: {outage}")
            self.away = str(outage)
            return
        if self.away is not None:
            self.away = None
            self._say("the registry is back")
        with_champion = {name for name, each in found.items() if each.accepted or each.alias}
        followed = self.names or sorted(with_champion | self.serving.keys())
        self.faults = {name: why for name, why in self.faults.items() if name in followed}
        for name in followed:
            self._follow(name, found.get(name))

    def _follow(self, name: str, standing: Standing | None) -> None:
        tried, again_at = self._tried.get(name, (None, 0.0))
        news = name not in self._tried or tried != standing
        if not news and time.monotonic() < again_at:
            return
        again_at = math.inf
        try:
            if standing is not None and standing.moved:
                standing = self._settled(name)
            self._load(name, standing)
            if name in self.faults:
                self.faults = {other: why for other, why in self.faults.items() if other != name}
                self._say(f"{name}: well again")
        except _LOADING as fault:
            again_at = time.monotonic() + (0.0 if isinstance(fault, Outage) else RETRY_EVERY_S)
            self._fault(name, str(fault) or type(fault).__name__, news=news)
        self._tried[name] = standing, again_at

    def _settled(self, name: str) -> Standing | None:
        """Where the model stands once the alias that somebody moved was judged."""
        done = settle(name, self._var, self._judge)
        if done is not None and not done.accepted:
            self._say(
                f"{name}: {done.asked or 'nobody'} was made champion in MLflow, and refused: {'; '.join(done.why)}"
            )
        return next((each for each in standings(self._var) if each.name == name), None)

    def _load(self, name: str, standing: Standing | None) -> None:
        if standing is not None and standing.accepted is None:
            raise HeadraceError(f"it has no champion. `headrace promote {name} VERSION` makes one.")
        # of a model that the registry does not have, this raises what became of it
        version = resolve(name, standing.accepted if standing and standing.accepted else CHAMPION, self._var)
        before = self.serving.get(name)
        if before is not None and before.loaded.version.model_id == version.model_id:
            return
        champion = Champion(load_version(version, self._var, cores=ONNX_CORES), now())
        self.serving = {**self.serving, name: champion}
        by = " by ONNX" if champion.loaded.engine == "onnx" else ""
        self._say(f"{name}: version {version.version} answers{by}" + (f", {_version(before)} before" if before else ""))
        if champion.loaded.remark:
            self._say(champion.loaded.remark)

    def _fault(self, name: str, why: str, *, news: bool) -> None:
        if news or name not in self.faults:
            goes_on = f"{_version(self.serving[name])} goes on answering" if name in self.serving else "nothing answers"
            self._say(f"{name}: {why} Until then {goes_on}.")
        self.faults = {**self.faults, name: why}


def _version(champion: Champion) -> str:
    return f"version {champion.loaded.version.version}"
