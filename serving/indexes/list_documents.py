"""GET /indexes/NAME/documents: which documents stand in the index's folder, page by page, of those that one may see."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel

from serving.http.api_keys import Caller
from serving.http.door import may
from serving.http.problems import problems, refusals
from serving.http.threads import Workers
from serving.indexes.indexes import Indexes
from serving.indexes.source_folder import MAX_ID, folder_of

MOST = 1000  # documents of a page
_USUAL = 100


class Document(BaseModel):
    id: str
    bytes: int
    modified: datetime


class Documents(BaseModel):
    """next: `after` of the next page; null where there is none."""

    index: str
    documents: list[Document]
    next: str | None


def listing(indexes: Indexes, workers: Workers) -> APIRouter:
    router = APIRouter(tags=["documents"])

    @router.get("/indexes/{index}/documents", responses=problems(404, 409, 503, 504))
    async def list_documents(
        index: str,
        caller: Annotated[Caller, Depends(may("search"))],
        after: Annotated[str, Query(max_length=MAX_ID, description="Only documents whose id comes after this.")] = "",
        limit: Annotated[int, Query(ge=1, le=MOST)] = _USUAL,
    ) -> Documents:
        """The documents in the folder, by id. Tables and pictures are none. What is new is searched after the next
        update."""

        def work() -> Documents:
            found = folder_of(indexes.job(index)).listed(after, limit + 1, caller)
            documents = [
                Document(id=identity, bytes=facts.st_size, modified=datetime.fromtimestamp(facts.st_mtime, UTC))
                for identity, facts in found[:limit]
            ]
            return Documents(index=index, documents=documents, next=documents[-1].id if found[limit:] else None)

        with refusals():
            return await workers.run(work)

    return router
