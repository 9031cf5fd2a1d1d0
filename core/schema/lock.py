"""NAME.lock: what the moving references of a settings file pointed at when it last ran. Committed, never edited."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from core.schema.section import Section


class BaseIdentity(Section):
    """Which weights a reference stood for."""

    sha256: str
    version: Annotated[
        str | None, Field(pattern=r"^[A-Za-z0-9][\w.-]*$", description="of models:/NAME@ALIAS, or the hub's commit")
    ] = None


class Lock(Section):
    source: Annotated[
        dict[str, str | int | None],
        Field(description="kind, and what identifies the content: checksum, ETag, version. A local path: only kind"),
    ]
    bases: dict[str, BaseIdentity] = {}
    judged: Annotated[dict[str, str], Field(description="sha256 of an index's judged queries and their qrels")] = {}
    reference: Annotated[
        dict[str, Any] | None,
        Field(description="profile of the champion's data, for drift; moves only together with the source"),
    ] = None
