"""A stage ends with the process that drives it: a killed `dvc repro` or `headrace run` leaves no second writer."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time

import psutil

FORCED = "HEADRACE_FORCED"  # the stage that a person runs by `--force STAGE`
_LOOK_EVERY_S = 0.5
_GRACE_S = 5.0  # for a stage to clean up before its process ends whatever it does
_END = signal.SIGUSR1  # does what Ctrl-C does, so that what stands beside is cleaned up; scripts' `&` ignores SIGINT
_SHELLS = {"sh", "bash", "dash", "zsh", "ksh", "fish"}


def end_with_driver() -> None:
    """Watch, in a thread, the DVC process that started this stage; interrupt this process when that one is gone.

    A stage that a person started by hand has no driver, and is left alone.
    """
    above = psutil.Process().parents() if "DVC_STAGE" in os.environ else []
    driver = next((each for each in above if each.name() not in _SHELLS), None)  # DVC starts its commands through one
    if driver is not None:
        signal.signal(_END, signal.default_int_handler)
        threading.Thread(target=_watch, args=(driver,), daemon=True).start()


def _watch(driver: psutil.Process) -> None:
    while _lives(driver):
        time.sleep(_LOOK_EVERY_S)
    said = f"process {driver.pid}, which started this stage, is gone: it ends too. The next run goes on from here."
    print(said, file=sys.stderr, flush=True)
    os.kill(os.getpid(), _END)
    time.sleep(_GRACE_S)
    os._exit(128 + signal.SIGINT)


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
