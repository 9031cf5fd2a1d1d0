"""Waiting: with back-off and jitter, up to a stated limit, and saying for what."""

from __future__ import annotations

import math
import os
import random
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

from core.errors import BadRequest, Outage

VARIABLE = "HEADRACE_PATIENCE_S"
_LIMIT_S = 60.0
_LONGEST_PAUSE_S = 15.0
_DOUBLED_AT_MOST = 60  # times: no float overflows

T = TypeVar("T")


def patiently(action: Callable[[], T]) -> T:
    """Do it again while it raises Outage, for HEADRACE_PATIENCE_S seconds (60) at most; then the Outage stands.

    What was done before a reply was lost is done again: the action must be safe to repeat as a whole.
    """
    until, failures = time.monotonic() + limit_s(), 0
    while True:
        try:
            return action()
        except Outage as outage:
            left_s = until - time.monotonic()
            if left_s <= 0:
                raise
            print(f"waiting, {left_s:.0f} s more at most: {outage}", file=sys.stderr, flush=True)
            failures += 1
            time.sleep(min(left_s, pause_s(failures, first_s=0.5, longest_s=_LONGEST_PAUSE_S)))


def pause_s(failures: int, *, first_s: float, longest_s: float = math.inf) -> float:
    """Before the next try: twice as long after each failure, with jitter so that runs do not knock together."""
    doubled = first_s * 2.0 ** min(failures - 1, _DOUBLED_AT_MOST)
    return min(doubled, longest_s) * random.uniform(0.5, 1.5)  # noqa: S311


def limit_s() -> float:
    return seconds_in(VARIABLE, _LIMIT_S, lambda seconds: 0 <= seconds < math.inf, ", 0 or more")


def seconds_in(variable: str, default: float, allowed: Callable[[float], bool], words: str) -> float:
    """What a variable of the environment says. Raises BadRequest for what is no number or is not allowed."""
    given = os.environ.get(variable, str(default))
    with suppress(ValueError):
        if allowed(seconds := float(given)):
            return seconds
    raise BadRequest(f"{variable}={given!r}: it must be a number of seconds{words}.")
