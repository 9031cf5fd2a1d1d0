"""An index: the settings of one searchable collection of documents."""

from __future__ import annotations

from core.schema.data import Data
from core.schema.evaluation import Gate
from core.schema.expectations import DataContract
from core.schema.model import Compute
from core.schema.schedule import Schedule
from core.schema.search import Access, Answer, Chunk, Embed, Judging, Search
from core.schema.section import Section


class Index(Section):
    title: str = ""
    documents: Data
    access: Access = Access()
    contract: DataContract = DataContract()
    chunk: Chunk = Chunk()
    embed: Embed
    search: Search = Search()
    evaluation: Judging = Judging()
    gates: dict[str, Gate] = {}
    answer: Answer = Answer()
    compute: Compute = Compute()
    schedule: Schedule | None = None
