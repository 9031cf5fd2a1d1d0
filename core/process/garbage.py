"""When Python looks for garbage: seldom, and not once more at the end.

Importing the large libraries makes a million objects that stay. Looking through them again and again, and a last time
before the process ends, took 4 of the 11 seconds of CPU of `headrace predict`.
"""

from __future__ import annotations

import atexit
import gc

_NEW = 100_000  # objects more than were freed, then the young ones are looked through; Python's own number is 700
_YOUNG, _MIDDLE = 50, 100  # such looks until the next generation's turn


def collect_seldom() -> None:
    """Call it before the large imports."""
    gc.set_threshold(_NEW, _YOUNG, _MIDDLE)
    atexit.register(gc.freeze)
