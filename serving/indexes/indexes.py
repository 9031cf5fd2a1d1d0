"""The workspace's published indexes: which there are, which release of each is live, and a release to ask."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from fastapi import HTTPException

from core.errors import BadRequest, HeadraceError
from core.workspace import Job, Workspace, is_name
from pipelines.search.ask.query import Asker, asking
from pipelines.search.engine.choice import choose
from pipelines.search.engine.index_receipt import read_receipt


@dataclass(frozen=True)
class Standing:
    """live: index -> the release that answers. faults: index -> why none does, though it was published."""

    live: Mapping[str, str]
    faults: Mapping[str, str]


@dataclass(frozen=True)
class Indexes:
    """Any thread may ask. What is live is looked up at every question, so a new release answers the next one."""

    workspace: Workspace

    def jobs(self) -> Iterator[Job]:
        """Every index that has been published."""
        for file in sorted((self.workspace.root / "indexes").glob("*.yaml")):
            if not is_name(file.stem):
                continue
            job = self.workspace.job("index", file.stem)
            try:
                read_receipt(job)
            except BadRequest:
                continue
            yield job

    def standing(self) -> Standing:
        """Asks the engine; reads no passages."""
        live, faults = {}, {}
        for job in self.jobs():
            try:
                release = choose(self.workspace).pointers(job.name).live
            except HeadraceError as fault:
                faults[job.name] = str(fault)
                continue
            if release is not None:
                live[job.name] = release
            elif read_receipt(job).get("published"):
                faults[job.name] = f"its engine has no live release. `headrace index {job.name}` publishes it again."
        return Standing(live, faults)

    def job(self, name: str) -> Job:
        """Raises 404 for an index that is not published here."""
        names = []
        for job in self.jobs():
            if job.name == name:
                return job
            names.append(job.name)
        raise HTTPException(404, f"no index {name[:80]!r} is served here. Served: {', '.join(names) or 'none'}.")

    @contextmanager
    def asking(self, name: str) -> Iterator[Asker]:
        """The live release of an index, the same while the block runs.

        Raises 404, and HeadraceError when it cannot be asked.
        """
        job = self.job(name)
        with ExitStack() as stack:
            try:
                asker = stack.enter_context(asking(self.workspace, job.name))
            except BadRequest as fault:  # of the server's index and not of the question
                raise HeadraceError(str(fault)) from None
            yield asker

    def warm(self) -> Mapping[str, str]:
        """Open every live release and load what it is asked with, so that the first question need not wait.

        Returns index -> why it could not be.
        """
        faults = {}
        for name in self.standing().live:
            try:
                with self.asking(name) as asker:
                    asker.embedder.encode(["warm"])
            except HeadraceError as fault:
                faults[name] = str(fault)
        return faults
