"""How each release of an index was judged, kept as var/judged/INDEX-RELEASE/ for `headrace compare`.

`publish` keeps it whatever the gates say. A release of an earlier Headrace, or of another machine, keeps none here.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from core.atomic_files import read_json, replacing, said_in, write_json
from core.errors import BadRequest
from core.workspace import Job, Workspace

if TYPE_CHECKING:  # `history`, `promote` and `rollback` do without
    import numpy as np
    import pyarrow as pa

_MOST = 20  # releases of an index
_QUERIES, _DOCUMENTS, _REPORT, _SETTINGS, _FACTS = (
    "queries.parquet", "documents.parquet", "report.json", "settings.json", "facts.json",
)  # fmt: skip
_SAID = ("id", "text", "relevant")  # columns of queries.parquet; the others are WAY.MEASURE
_LIVE = "live"  # the way of the release that was live then

PerQuery: TypeAlias = "Mapping[str, np.ndarray[Any, np.dtype[np.float64]]]"  # measure -> (queries,)


@dataclass(frozen=True)
class Asked:
    """A question. relevant: document -> grade."""

    id: str
    text: str
    relevant: Mapping[str, int]


@dataclass(frozen=True)
class Judged:
    """How a release was judged, and what it was made of.

    report: report.json. measures: of each question, as the release answers. live_then: the same of the release that
    was live when this one was judged; None without one, which report.json names. facts: what the release says of how
    it was made. documents: the hash of each one's text; None of chunks that an earlier Headrace cut.
    """

    index: str
    version: str
    report: Mapping[str, Any]
    asked: Sequence[Asked]
    measures: PerQuery
    live_then: PerQuery | None
    settings: Mapping[str, Any]
    facts: Mapping[str, Any]
    documents: Mapping[str, str] | None

    @property
    def called(self) -> str:
        return f"{self.index}/{self.version}"

    @property
    def short(self) -> str:
        """As a picture has room for it."""
        return f"{self.index}/{self.version[:8]}"


def keep(job: Job, version: str, facts: Mapping[str, Any]) -> None:
    """Keep how a release was judged, as evaluation/ and chunks/ have it, and let go of the oldest.

    A release that is judged once more while it is live is asked alone: what is kept of the same questions, beside the
    release that was live before it, says more and stays.
    """
    import pyarrow.parquet as pq

    target, evaluation = _folder(job.workspace, job.name, version), job.folder / "evaluation"
    report = read_json(evaluation / _REPORT)
    if not report:
        return
    kept = target / _QUERIES
    alone = report[_LIVE] is None and said_in(target / _REPORT).get(_LIVE) is not None
    if not (alone and _questions(kept).equals(_questions(evaluation / _QUERIES))):
        with replacing(target) as folder:
            for name in (_QUERIES, _REPORT):
                shutil.copy(evaluation / name, folder / name)
            shutil.copy(job.folder / _SETTINGS, folder / _SETTINGS)
            write_json(folder / _FACTS, dict(facts))
            if (job.folder / "chunks" / _DOCUMENTS).is_file():
                pq.write_table(_documents(job.folder / "chunks"), folder / _DOCUMENTS)
    for old in _by_age(job.workspace, job.name)[:-_MOST]:
        shutil.rmtree(old)


def read(workspace: Workspace, index: str, version: str) -> Judged:
    """Raises BadRequest for a release of which none is kept."""
    import pyarrow.parquet as pq

    folder = _folder(workspace, index, version)
    if not (folder / _FACTS).is_file():
        raise BadRequest(
            f"{index}/{version} keeps no results by question: nothing was asked when it was judged, or an earlier "
            f"Headrace or another machine published it. `headrace index {index} --force publish` judges the newest "
            "again."
        )
    report, table = read_json(folder / _REPORT), pq.read_table(folder / _QUERIES)
    rows = table.select(_SAID).to_pylist()
    documents = None
    if (folder / _DOCUMENTS).is_file():
        listed = pq.read_table(folder / _DOCUMENTS).to_pydict()
        documents = dict(zip(listed["document"], listed["content"], strict=True))
    return Judged(
        index,
        version,
        report,
        [Asked(row["id"], row["text"], json.loads(row["relevant"])) for row in rows],
        _measures(table, report["way"]),
        _measures(table, _LIVE) if report[_LIVE] is not None else None,
        read_json(folder / _SETTINGS),
        read_json(folder / _FACTS),
        documents,
    )


def kept(workspace: Workspace, index: str) -> list[str]:
    """The releases of which that is kept, the oldest first."""
    return [folder.name.removeprefix(f"{index}-") for folder in _by_age(workspace, index)]


def _root(workspace: Workspace) -> Path:
    return workspace.var / "judged"


def _folder(workspace: Workspace, index: str, version: str) -> Path:
    return _root(workspace) / f"{index}-{version}"


def _by_age(workspace: Workspace, index: str) -> list[Path]:
    named = re.compile(rf"{re.escape(index)}-[0-9a-f]{{16}}")
    found = [each for each in _root(workspace).glob("*") if named.fullmatch(each.name)]
    return sorted(found, key=lambda each: (each.stat().st_mtime, each.name))


def _questions(file: Path) -> pa.Table:
    import pyarrow.parquet as pq

    return pq.read_table(file, columns=list(_SAID))


def _measures(table: pa.Table, way: str) -> PerQuery:
    names = [name for name in table.schema.names if name.startswith(f"{way}.")]
    return {name.removeprefix(f"{way}."): table[name].to_numpy() for name in names}


def _documents(chunks: Path) -> pa.Table:
    """Each document with the hash of its text, those that are copies of another one too."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    listed = pq.read_table(chunks / _DOCUMENTS, columns=["document", "content"]).to_pydict()
    found = dict(zip(listed["document"], listed["content"], strict=True))
    for copy in read_json(chunks / "duplicates.json"):
        found[copy["document"]] = found[copy["same_as"]]
    return pa.table({"document": list(found), "content": list(found.values())})
