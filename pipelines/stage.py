"""What every `python -m pipelines.<stage> NAME` does around its own work: one writer at a time, one clear message."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from core.addresses import spare_loopback
from core.errors import HeadraceError, readable_faults
from core.file_locks import lock_file, take, workspace_lock
from core.process.garbage import collect_seldom
from core.progress import tell
from core.terminal import guard
from core.workspace import Job, Kind, find_workspace
from pipelines.driver import end_with_driver


def stage_main(stage: str, run: Callable[[Job], None], *, kind: Kind | None = None) -> None:
    """Run one stage of one recipe or index and end the process with its exit code.

    kind: the only kind this stage works for; with None, `--index` chooses.
    """
    parser = argparse.ArgumentParser(prog=f"python -m pipelines.{stage}", description=run.__doc__)
    parser.add_argument("name", help="name of a live recipe or index")
    if kind is None:
        parser.add_argument("--index", action="store_true", help="NAME is an index")
    arguments = parser.parse_args()
    collect_seldom()
    guard()
    spare_loopback()
    end_with_driver()
    chosen: Kind = kind or ("index" if arguments.index else "recipe")
    try:
        job = find_workspace().job(chosen, arguments.name)
        with readable_faults(job.folder), _only_writer(job, stage):
            run(job)
    except HeadraceError as fault:
        tell(fault=str(fault), code=fault.exit_code, transient=fault.transient)
        print(f"{stage}@{arguments.name} stopped (exit {fault.exit_code}): {fault}", file=sys.stderr, flush=True)
        sys.exit(fault.exit_code)


@contextmanager
def _only_writer(job: Job, stage: str) -> Iterator[None]:
    """Hold this stage's lock: a stage left behind by a killed driver is waited for, not joined."""
    with lock_file(workspace_lock(job.workspace.var, f"{job.kind}-{job.name}-{stage}")) as file:
        if not take(file, wait=False):
            file.seek(0)
            holder = file.read().strip() or "another process"
            print(f"{stage}@{job.name}: waiting for {holder}, which is running it", file=sys.stderr, flush=True)
            take(file)
        file.seek(0)
        file.truncate()
        file.write(f"process {os.getpid()}")
        file.flush()
        yield
