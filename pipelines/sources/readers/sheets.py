"""sheets: workbooks of Excel and LibreOffice (.xlsx, .xlsm, .xlsb, .xls, .ods), the first row of a sheet its header.

Sheets that have the needed columns are read, one after the other; the others, hidden ones among them, are left out and
said. A cell is the value that is stored: text stays text (00123), a whole number is one (3, not 3.0), a date is a date.
Cells that are merged downwards share their value.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, time, timedelta
from typing import TYPE_CHECKING, Any

from core.errors import BadData, BadRequest
from core.schema.columns import Contract
from core.schema.data import Data
from pipelines.sources._files import Files, Found, Record, Table
from pipelines.sources._opening import BLANK, files_of, most_unpacked, open_binary, too_long
from pipelines.sources.tabular.header import Header, header_of

if TYPE_CHECKING:
    from python_calamine import CalamineSheet, CalamineWorkbook

SUFFIXES = (".xlsx", ".xlsm", ".xlsb", ".xls", ".ods")
_EXACT = 2**53  # whole numbers from here on are not exact in a sheet
_MOST_MERGED = 100_000  # rows, downwards

Cells = list[Any]


def read(files: Files, *, data: Data, contract: Contract) -> Iterator[Table]:
    needed = data.needed(contract).keys()
    for found in files_of(files, SUFFIXES):
        book = _opened(found)
        heads = {sheet.name: _head(sheet) for sheet in _visible(book)}
        chosen = [name for name, (names, _) in heads.items() if set(names) >= set(needed)] or list(heads)[:1]
        if not chosen:
            raise BadData(f"{found.name}: no sheet with rows in it.")
        rest = [name for name in book.sheet_names if name not in chosen]
        for name in chosen:
            names, first = heads[name]
            header = header_of(names, needed, f"{found.name}:{name}:{first}")
            notes = [*header.notes, *([_left_out(rest, found)] if rest and name == chosen[0] else [])]
            sheet = book.get_sheet_by_name(name)
            rows = _records(sheet, header, first, found, _kinds(data, contract))
            yield Table(f"{found.name}:{name}", header.names, rows, notes)


def _opened(found: Found) -> CalamineWorkbook:
    """Raises BadRequest for what is no workbook, one with a password, or a bomb."""
    from python_calamine import CalamineError, CalamineWorkbook, PasswordError

    with open_binary(found) as file:
        content = file.read()
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as packed:
            size = sum(part.file_size for part in packed.infolist())
        if size > most_unpacked(found.path):
            raise BadRequest(f"{found.name}: a workbook that unpacks to {size:,} bytes. It looks like a bomb.")
    except zipfile.BadZipFile:
        pass  # .xls is none; of the others, what follows says so
    try:
        return CalamineWorkbook.from_filelike(io.BytesIO(content))
    except PasswordError:
        raise BadRequest(f"{found.name}: it is locked by a password. Save it without one.") from None
    except (CalamineError, OSError) as error:
        raise BadRequest(f"{found.name}: not a workbook, or one that was cut off ({error}). Save it again.") from None


def _visible(book: CalamineWorkbook) -> Iterator[CalamineSheet]:
    from python_calamine import SheetTypeEnum, SheetVisibleEnum

    for each in book.sheets_metadata:
        if each.typ == SheetTypeEnum.WorkSheet and each.visible == SheetVisibleEnum.Visible:
            sheet = book.get_sheet_by_name(each.name)
            if sheet.height:
                yield sheet


def _head(sheet: CalamineSheet) -> tuple[list[str], int]:
    """The names in the first row that holds anything, and its number."""
    for number, cells in enumerate(_rows(sheet), start=1):
        if any(cell is not None for cell in cells):
            return ["" if cell is None else str(cell) for cell in cells], number
    return [], 1


def _rows(sheet: CalamineSheet) -> Iterator[Cells]:
    """All rows from the first of the sheet, empty ones too, each as wide as the widest."""
    top, left = sheet.start or (0, 0)
    yield from ([None] * (left + sheet.width) for _ in range(top))
    for cells in sheet.iter_rows():
        yield [None] * left + [_value(cell) for cell in cells[-sheet.width :]]


def _merged(sheet: CalamineSheet, first: int) -> dict[int, set[int]]:
    """Row, from 1 -> the columns whose cell below the header is merged with the one above it."""
    found: dict[int, set[int]] = {}
    for (top, left), (bottom, _) in sheet.merged_cell_ranges or ():
        for row in range(top + 1, min(bottom, top + _MOST_MERGED) + 1) if top >= first else ():
            found.setdefault(row + 1, set()).add(left)
    return found


def _value(cell: Any) -> Any:
    if cell == "":
        return None
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < _EXACT:
        return int(cell)
    return cell


def _kinds(data: Data, contract: Contract) -> dict[str, str]:
    """The source's names of the columns that are known -> their kinds; a column of ids is text."""
    kinds: dict[str, str] = {data.source_name(key): column.kind for key, column in contract.columns.items()}
    return {**({data.id: "text"} if data.id else {}), **kinds}


def _records(
    sheet: CalamineSheet, header: Header, first: int, found: Found, kinds: Mapping[str, str]
) -> Iterator[Record]:
    merged, above = _merged(sheet, first), Cells()
    for number, cells in enumerate(_rows(sheet), start=1):
        for column in merged.get(number, ()):
            if column < len(cells):  # merged empty cells may lie right of all that hold something
                cells[column] = above[column]
        above = cells
        place = f"{found.name}:{sheet.name}:{number}"
        if number <= first:
            continue
        if all(cell is None for cell in cells):
            yield Record({}, place, left_out=BLANK)
            continue
        values = header.values(cells)
        fault = next(filter(None, (_fault(name, value, kinds.get(name)) for name, value in values.items())), None)
        yield Record({name: _told(value, kinds.get(name)) for name, value in values.items()}, place, fault=fault)


def _fault(name: str, value: Any, kind: str | None) -> str | None:
    if kind in ("text", "category") and isinstance(value, float) and abs(value) >= _EXACT:
        return f"{name}: a number of more digits than a sheet keeps ({value!r}). Write it as text"
    return too_long(name, value)


def _told(value: Any, kind: str | None) -> Any:
    """A cell as its column wants it: where that is text, a number is its digits, and a date is as ISO 8601 has it."""
    if isinstance(value, date | time) and kind in ("text", "category"):
        return value.isoformat()
    if isinstance(value, bool) and kind == "text":
        return str(value).upper()
    return str(value) if isinstance(value, int | float | timedelta) and kind == "text" else value


def _left_out(sheets: Sequence[str], found: Found) -> str:
    return f"{found.name}: sheets without the needed columns, empty or hidden, are left out: {', '.join(sheets)}"
