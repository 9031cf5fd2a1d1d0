"""graph_tables: a graph whose nodes are rows, or graphs that are rows, in a folder of several tables.

Nodes as rows: `nodes.csv` (or .tsv) and `edges.csv`, or `links.csv`. The ends of a node's links are one more column.
Of the second table the first two columns are read: the names of two nodes. A link stands on the row of its first end,
or of its second where no row has the first. Graphs as rows: TUDataset's layout (sources/tabular/tu_layout.py).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from core.errors import BadRequest
from core.schema.columns import Contract
from core.schema.data import Data
from core.tables.keys import label_name
from pipelines.sources._files import Files, Found, Record, Table
from pipelines.sources._opening import suffix_of
from pipelines.sources.readers import csv
from pipelines.sources.tabular import tu_layout

SUFFIXES = ()
_NODES, _EDGES = ("nodes",), ("edges", "links")
_ANY = Contract({}, ())
_Links = Mapping[str, list[str]]


def read(files: Files, *, data: Data, contract: Contract) -> Iterator[Table]:
    column = contract.links
    if column is None:
        yield from tu_layout.tables(files, data.encoding)
        return
    nodes, edges = _found(files, _NODES), _found(files, _EDGES)
    name = data.source_name(str(contract.columns[column].of))
    of_nodes = partial(csv.read, _alone(files, nodes), data=data, contract=contract)
    names = {label_name(record.values.get(name)) for table in of_nodes() for record in table.records}
    ends, lost = _ends(files, edges, data, names)
    for table in of_nodes():
        columns = [*(table.columns or ()), data.source_name(column)]
        yield Table(nodes.name, columns, _records(table, name, data.source_name(column), ends, lost), table.notes)


def _records(table: Table, name: str, column: str, ends: _Links, lost: list[Record]) -> Iterator[Record]:
    for record in table.records:
        links = ends.get(str(label_name(record.values.get(name))))
        values = {**record.values, column: links} if links else record.values
        yield Record(values, record.place, record.fault, record.raw, record.left_out)
    yield from lost


def _ends(files: Files, edges: Found, data: Data, names: set[str | None]) -> tuple[_Links, list[Record]]:
    """The links of each node, and those that no node has, as rows with that fault."""
    found: dict[str, list[str]] = defaultdict(list)
    lost = []
    for record, columns in _links(files, edges, data):
        one, two = (label_name(record.values.get(each)) for each in columns[:2])
        if record.fault or not one or not two:
            lost.append(Record({}, record.place, fault=record.fault or "a link without two ends", raw=record.raw))
        elif one not in names and two not in names:
            lost.append(Record({}, record.place, fault=f"a link between {one!r} and {two!r}, and neither is a node"))
        else:
            first, second = (one, two) if one in names else (two, one)
            found[first].append(second)
    return found, lost


def _links(files: Files, edges: Found, data: Data) -> Iterator[tuple[Record, Sequence[str]]]:
    """The rows of the table of links, and its columns."""
    plain = data.model_copy(update={"columns": {}, "where": {}, "id": None, "header": None})
    for table in csv.read(_alone(files, edges), data=plain, contract=_ANY):
        columns = table.columns or ()
        if len(columns) < 2:
            raise BadRequest(f"{edges.name}: one column, and a link has two ends.")
        yield from ((record, columns) for record in table.records if not record.left_out)


def _found(files: Files, stems: tuple[str, ...]) -> Found:
    names = [f"{stem}{suffix}" for stem in stems for suffix in csv.SUFFIXES]
    found = [each for each in files if each.name.removesuffix(".gz") in names and suffix_of(each.name)]
    if len(found) != 1:
        there = ", ".join(each.name for each in found) or "none"
        raise BadRequest(f"reader graph_tables: the folder needs one of {', '.join(names)}; there: {there}.")
    return found[0]


def _alone(files: Files, found: Found) -> Files:
    return Files(files.folder, (found.path,))
