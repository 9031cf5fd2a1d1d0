"""sql: {url_env, query}: rows of a database, through SQLAlchemy. The connection string is never shown.

`order by` makes the order, and with it the table, the same each time; the identity does not depend on it.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import BadRequest, Outage
from core.schema.data import Data, SqlSource
from pipelines.sources import Identity
from pipelines.sources._files import Record, Table

if TYPE_CHECKING:
    from sqlalchemy import CursorResult, Engine

SCHEMES = ("sql",)
_BATCH_ROWS = 1000
_EXACT = 2**53  # up to here a float holds every whole number
_MODULUS = 2**256
_READS = (
    sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE,
    sqlite3.SQLITE_TRANSACTION,
)  # fmt: skip


def identify(data: Data, root: Path) -> Identity:
    """A sum of hashes of the rows: it does not depend on their order, and sees every changed cell."""
    total = count = 0
    with _rows(data) as result:
        for row in result:
            total += int.from_bytes(hashlib.sha256(repr(tuple(row)).encode("utf-8", "surrogatepass")).digest())
            count += 1
    return {"kind": "sql", "rows": count, "sha256": f"{total % _MODULUS:064x}"}


def fetch(data: Data, root: Path, *, downloads: Path, identity: Identity) -> Table:
    with _rows(data) as result:
        columns = list(result.keys())
    return Table(f"query of {_source(data).sql.url_env}", columns, _records(data, columns))


def _records(data: Data, columns: list[str]) -> Iterator[Record]:
    with _rows(data) as result:
        for number, row in enumerate(result, start=1):
            yield Record(dict(zip(columns, map(_plain, row), strict=True)), f"row {number} of the query")


def _plain(value: Any) -> Any:
    """A cell as Parquet takes it: what a driver returns of its own types is spelt out."""
    if isinstance(value, Decimal):
        exact = value.is_finite() and abs(value) > _EXACT and value == value.to_integral_value()
        return int(value) if exact else float(value)
    if value is None or isinstance(value, str | bool | int | float | bytes | datetime | date):
        return value
    return bytes(value) if isinstance(value, memoryview) else str(value)


@contextmanager
def _rows(data: Data) -> Iterator[CursorResult[Any]]:
    """The result of the query, fetched a batch at a time, in a transaction that is rolled back.

    The database's faults become messages that carry neither the URL nor a password.
    """
    from sqlalchemy import text
    from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError

    query, engine = _source(data).sql, _engine(data)
    try:
        with engine.connect() as connection:
            if engine.dialect.name == "sqlite":  # a query could else write files anywhere (VACUUM INTO, ATTACH)
                raw: Any = connection.connection.dbapi_connection
                raw.set_authorizer(lambda action, *_: sqlite3.SQLITE_OK if action in _READS else sqlite3.SQLITE_DENY)
            yield connection.execution_options(yield_per=_BATCH_ROWS).execute(text(query.query))
    except DBAPIError as error:
        if isinstance(error, OperationalError | InterfaceError) and (
            error.statement is None or error.connection_invalidated
        ):
            said = f"does not answer ({type(error.orig).__name__})"
            raise Outage(f"sql: the database of {query.url_env} {said}.") from None
        said = str(error.orig).splitlines()[0].rstrip(".")  # the database's own first line, which is about the query
        raise BadRequest(f"sql: the query of {query.url_env} fails: {said}.") from None
    except SQLAlchemyError as error:
        said = f"cannot be run ({type(error).__name__}). It must return rows."
        raise BadRequest(f"sql: the query of {query.url_env} {said}") from None
    finally:
        engine.dispose()


def _engine(data: Data) -> Engine:
    from sqlalchemy import create_engine, make_url
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError

    name = _source(data).sql.url_env
    text = os.environ.get(name)
    if not text:
        raise BadRequest(f"sql: the variable {name} is not set. It holds SQLAlchemy's URL: postgresql+psycopg://...")
    try:
        url = make_url(text)
        if url.get_backend_name() == "sqlite" and url.database and not Path(url.database).is_file():
            raise BadRequest(f"sql: {name} names a SQLite file that is not there.")
        return create_engine(url, hide_parameters=True)
    except (ArgumentError, ValueError):
        raise BadRequest(f"sql: {name} holds no URL that SQLAlchemy knows (dialect+driver://user@host/db).") from None
    except (NoSuchModuleError, ImportError) as error:
        raise BadRequest(f"sql: {name} needs a driver that is not installed ({error}).") from None


def _source(data: Data) -> SqlSource:
    if not isinstance(data.source, SqlSource):
        raise BadRequest("sql is written as `source: {sql: {url_env: VARIABLE, query: SELECT ...}}`, not as a URL.")
    return data.source
