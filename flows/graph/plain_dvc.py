"""A `dvc repro` that a person started beside: it reads once, at its beginning, which stages are to run.

What others bring up to date meanwhile it makes again when it comes to it. And where they keep DVC's lock busy, it gives
up after three seconds, with the work of the stage that it ran. So a stage that it is going to bring is left to it. As
long as it lives it holds DVC's lock or, while a stage's command runs, has an entry in the list of those at work: who
looks there under the lock misses none. Only flows/graph/graph.py calls what is here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

from flows.graph import torn_files

_OWN = re.compile(r"(?:.*/)?dvc(?:/__main__\.py)? (?:--cd \S+ |-\S+ )*(?:repro|exp run|experiments run)(?P<rest>.*)")
_BEYOND = re.compile(r"-[a-zA-Z]*p[a-zA-Z]*|--pi.*|--do.*")  # its targets: -p, --pipeline, --downstream


@dataclass(frozen=True)
class Repro:
    """targets: the stages that it was asked for, by address or name; empty: every stage."""

    words: str
    targets: tuple[str, ...]

    def brings(self, address: str, needed_by: Callable[[str], Collection[str]]) -> bool:
        """Whether it comes to a stage. needed_by: address -> it, and all that it needs.

        A target that is no stage of the graph (dvc.yaml itself, a folder, a glob) counts as every stage.
        """
        return not self.targets or any(address in (needed_by(each) or (address,)) for each in self.targets)


def at_work(repo: Any) -> list[Repro]:
    """Those that run a stage now. Call it while DVC's lock is held: then none begins."""
    return [found for words, command in torn_files.at_work(repo) if (found := repro_of(command, words)) is not None]


def repro_of(command: str, words: str = "") -> Repro | None:
    """What a command of DVC's brings; None for a command that brings no stage, or one that plans nothing ahead.

    An option that takes a value may leave that among the targets: then it brings everything, as far as is known.
    """
    match = _OWN.fullmatch(command)
    if match is None:
        return None
    given = match["rest"].split()
    if any(_BEYOND.fullmatch(word) for word in given):
        return Repro(words, ())
    return Repro(words, tuple(word.rpartition(":")[2] for word in given if not word.startswith("-")))
