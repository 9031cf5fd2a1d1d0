"""POST /indexes/NAME/updates: what was written is indexed, as by `headrace index NAME`. GET: what came of it.

Who may not see all documents hears nothing that is made of all: no counts, no progress, no words of the command, which
name documents.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends
from pydantic import BaseModel

from serving.http.api_keys import Caller
from serving.http.door import may
from serving.http.problems import problems, refusals
from serving.http.threads import Workers
from serving.indexes.indexes import Indexes
from serving.indexes.update_runs import State, Update, Updates

_REFUSALS = problems(404, 503, 504)
_OF_ALL = ("progress", "documents", "unread", "passages", "reason")  # for who may see all documents

MayWrite = Annotated[Caller, Depends(may("write"))]


class Standing(BaseModel):
    """The last update that was asked of this server.

    state: none; waiting, running; done, refused (settings or a gate: what was live stays live), failed. again: one more
    is asked for, and begins when this one ends. progress: of the stage. release, documents, unread, passages: of one
    that is done. reason: why one is not, in the words of `headrace index`. Progress, counts and reasons are told to who
    may see all documents.
    """

    index: str
    state: State
    again: bool
    began: datetime | None
    ended: datetime | None
    stage: str | None
    progress: str | None
    release: str | None
    documents: int | None
    unread: int | None
    passages: int | None
    reason: str | None


def updating(indexes: Indexes, updates: Updates, workers: Workers) -> APIRouter:
    router = APIRouter(tags=["documents"])

    @router.post("/indexes/{index}/updates", status_code=202, responses=_REFUSALS)
    async def bring_up_to_date(index: str, caller: MayWrite) -> Standing:
        """Bring the index up to date with all that was written until now. While one runs, one more is to follow.

        When GET says neither waiting nor running, all of it was tried; `none`, when the server was started anew."""
        with refusals():
            return await workers.run(lambda: _told(index, updates.ask(indexes.job(index).name), caller))

    @router.get("/indexes/{index}/updates", responses=_REFUSALS)
    async def last_update(index: str, caller: MayWrite) -> Standing:
        """Where the last update is, or what came of it."""
        with refusals():
            return await workers.run(lambda: _told(index, updates.standing(indexes.job(index).name), caller))

    return router


def _told(index: str, update: Update, caller: Caller) -> Standing:
    facts = vars(update) if caller.access is None else {**vars(update), **dict.fromkeys(_OF_ALL)}
    return Standing(index=index, **facts)
