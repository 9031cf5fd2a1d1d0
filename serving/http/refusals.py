"""What search, answers and documents raise -> the status and the words that a caller gets."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from fastapi import HTTPException

from core.errors import BadRequest, HeadraceError
from serving.http.problems import NoIndex, later
from serving.http.threads import Busy, TooLong


@contextmanager
def refusals() -> Iterator[None]:
    """Any caller hears what is wrong with the question; what is wrong with the server is for its log."""
    try:
        yield
    except NoIndex as fault:
        raise HTTPException(404, str(fault)) from None
    except Busy as fault:
        raise later(str(fault)) from None
    except TooLong as fault:
        raise HTTPException(504, str(fault)) from None
    except BadRequest as fault:
        raise HTTPException(422, str(fault)) from None
    except HeadraceError as fault:
        print(str(fault), file=sys.stderr, flush=True)
        raise later("this cannot be answered for now; the server's log says why.") from None
