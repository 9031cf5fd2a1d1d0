"""Tables of a page -> tables that Markdown can say: a head row, as many cells in each row, nothing merged.

A merged cell's text is written into each cell that it spans, so a number stays below its column. A table in a cell
becomes a line of that cell. A table that only places parts of a page becomes those parts, one below the other.
"""

from __future__ import annotations

from bs4 import BeautifulSoup, Tag

from pipelines.sources.parsers.web.markdown_writer import LABEL, bullet
from pipelines.sources.parsers.web.tags import BLOCKS, holds, named, part, size

_MOST_COLUMNS = 200  # a wider cell is a mistake, or there to cost memory
_MOST_COPIED = 1_000  # characters of a merged cell that are written into each cell it spans
_LONG_CELL = 300  # characters on average: cells with headings in them are parts of a page then
_PLACES = ("h1", "h2", "h3", "h4", "h5", "h6", "pre", "article", "main", "section", "hr", "form")

Grid = list[list[str]]


def write_tables(soup: BeautifulSoup) -> None:
    """Write every table anew, in place; inner ones first."""
    tables = named(soup, ("table",))
    places: dict[int, bool] = {}
    inside: dict[int, bool] = {}  # whether a table stands in a cell of data
    for table in tables:
        outer = table.find_parent("table")
        places[id(table)] = _only_places(table, _rows(table))
        inside[id(table)] = outer is not None and (inside[id(outer)] or not places[id(outer)])
    for table in reversed(tables):
        rows = _rows(table)
        if inside[id(table)]:
            table.replace_with(f" {_in_a_line(_grid(rows))} ")
        elif places[id(table)]:
            _unfold(table)
        else:
            _rewrite(soup, table, rows)


def _rows(table: Tag) -> list[Tag]:
    """Its own rows, in the order in which they are shown."""
    heads, bodies, feet = list[Tag](), list[Tag](), list[Tag]()
    for group in table.find_all(("tr", "thead", "tbody", "tfoot"), recursive=False):
        rows = [group] if group.name == "tr" else group.find_all("tr", recursive=False)
        {"thead": heads, "tfoot": feet}.get(group.name, bodies).extend(rows)
    return [*heads, *bodies, *feet]


def _cells(row: Tag) -> list[Tag]:
    return list(row.find_all(("td", "th"), recursive=False))


def _only_places(table: Tag, rows: list[Tag]) -> bool:
    """Whether it places parts of a page: its author says so, or its cells hold what cells of data do not."""
    cells = [cell for row in rows for cell in _cells(row)]
    if table.get("role") in ("presentation", "none"):
        return True
    if any(cell.name == "th" for cell in cells) or table.find("caption", recursive=False):
        return False
    if any(holds(cell, _PLACES) for cell in cells):
        narrow = len(rows) <= 1 or all(len(_cells(row)) <= 1 for row in rows)
        return narrow or holds(table, ("pre",)) or size(table) > _LONG_CELL * len(cells)
    return len(rows) <= 1 and (len(cells) <= 1 or any(holds(cell, ("table", "p", "ul", "ol", "div")) for cell in cells))


def _unfold(table: Tag) -> None:
    for group in table.find_all(("thead", "tbody", "tfoot", "tr", "colgroup"), recursive=False):
        for row in [group] if group.name == "tr" else group.find_all("tr", recursive=False):
            for cell in _cells(row):
                cell.name = "div"
            row.name = "div"
        group.name = "div"
    table.name = "div"


def _rewrite(soup: BeautifulSoup, table: Tag, rows: list[Tag]) -> None:
    grid = _grid(rows)
    heads = _head_rows(rows)
    for caption in table.find_all("caption", recursive=False):
        caption.name = "p"
        table.insert_before(caption.extract())
    full = [line for line in ([_headed(grid[:heads])] if grid else []) + grid[heads:] if any(line)]
    table.clear()
    table.attrs = {}
    for number, line in enumerate(full):
        row = soup.new_tag("tr")
        for text in line:
            cell = soup.new_tag("td" if number else "th")
            cell.string = text
            row.append(cell)
        table.append(row)
    if not full:
        table.decompose()


def _head_rows(rows: list[Tag]) -> int:
    """How many rows are its head; the first is, where nothing says so."""
    count = 0
    for row in rows:
        cells = _cells(row)
        in_head = row.parent is not None and row.parent.name == "thead"
        if not cells or not (in_head or all(cell.name == "th" for cell in cells)):
            break
        count += 1
    return max(1, count) if count < len(rows) else 1


def _headed(lines: Grid) -> list[str]:
    """Several head rows as one: what stands above a column, each text once."""
    return [" ".join(dict.fromkeys(filter(None, column))) for column in zip(*lines, strict=True)]


def _grid(rows: list[Tag]) -> Grid:
    """The cells' texts, row by row, each row as long as the longest."""
    width = max([1, *(sum(_span(cell, "colspan") for cell in _cells(row)) for row in rows if len(_cells(row)) > 1)])
    grid: list[list[str | None]] = [[] for _ in rows]
    for number, row in enumerate(rows):
        at, cells = 0, _cells(row)
        for cell in cells:
            while at < len(grid[number]) and grid[number][at] is not None:
                at += 1
            wide = min(_span(cell, "colspan"), max(1, width - at) if len(cells) == 1 else _MOST_COLUMNS)
            text = _text(cell)
            alone = len(cells) == 1 and wide == width
            for below in range(number, min(len(rows), number + _down(cell, row))):
                for column in range(at, at + wide):
                    first = below == number and column == at
                    _put(grid[below], column, text if first or (len(text) <= _MOST_COPIED and not alone) else "")
            at += wide
    longest = max(map(len, grid), default=0)
    return [[text or "" for text in line] + [""] * (longest - len(line)) for line in grid]


def _put(line: list[str | None], column: int, text: str) -> None:
    line.extend([None] * (column + 1 - len(line)))
    if line[column] is None:
        line[column] = text


def _span(cell: Tag, name: str) -> int:
    said = str(cell.get(name, "1")).strip()
    return max(1, min(int(said), _MOST_COLUMNS)) if said.isdecimal() and len(said) < 6 else 1


def _down(cell: Tag, row: Tag) -> int:
    """Over how many rows a cell goes: at most to the end of its part of the table, which 0 asks for."""
    left = 1 + sum(1 for other in row.next_siblings if isinstance(other, Tag) and other.name == "tr")
    said = str(cell.get("rowspan", "1")).strip()
    asked = int(said) if said.isdecimal() and len(said) < 6 else 1
    return min(asked or left, left)


def _text(cell: Tag) -> str:
    """A cell's text in one line, its blocks and lines parted by blanks, its lists with their marks."""
    for tag in named(cell, ("li",)):
        if not tag.get_text().lstrip().startswith(LABEL):
            tag.insert(0, f"{bullet(tag)} ")
    for tag in named(cell, BLOCKS):
        part(tag)
    return " ".join(cell.get_text().split())


def _in_a_line(grid: Grid) -> str:
    """A table in one line: "Monday: 8; Tuesday: 9", with more columns "Monday, 8, 17; Tuesday, 9, 18"."""
    between = ": " if grid and len(grid[0]) == 2 else ", "
    return "; ".join(between.join(filter(None, line)) for line in grid if any(line))
