"""Connections to SQLite: how they are set up, and what their errors mean to us."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, NullPool, QueuePool, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import ConnectionPoolEntry

from nodelink.errors import StoreError, StoreUnavailable
from nodelink_server.store import driver
from nodelink_server.store.errors import DatabaseDamaged

READERS = 3
BUSY_SECONDS = 5.0

# The log of SQLite is emptied by `WriteConnection`, at moments of our choice; SQLite's own bound is a second line.
_BOTH = (
    "PRAGMA synchronous = FULL",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA mmap_size = 268435456",
    "PRAGMA cache_size = -16384",
)
_WRITER = (*_BOTH, "PRAGMA wal_autocheckpoint = 32000", "PRAGMA journal_size_limit = 67108864")
_READER = (*_BOTH, "PRAGMA query_only = ON")


def writing_engine(path: Path) -> Engine:
    """For the one connection that writes; its transactions take the write lock at once."""
    engine = create_engine(_url(path), connect_args=_arguments(), poolclass=NullPool)
    _set_up(engine, ("PRAGMA journal_mode = WAL", *_WRITER), begin="BEGIN IMMEDIATE")
    return engine


def reading_engine(path: Path) -> Engine:
    """For a few connections that cannot write."""
    engine = create_engine(
        _url(path), connect_args=_arguments(), poolclass=QueuePool, pool_size=READERS, max_overflow=0
    )
    _set_up(engine, _READER, begin="BEGIN")
    return engine


def _url(path: Path) -> URL:
    return URL.create("sqlite", database=str(path))


def _arguments() -> dict[str, object]:
    """Transactions begin when we say so; a connection is used by one thread after another, never by two at once."""
    return {"isolation_level": None, "check_same_thread": False, "timeout": BUSY_SECONDS, "cached_statements": 256}


def _set_up(engine: Engine, pragmas: tuple[str, ...], *, begin: str) -> None:
    @event.listens_for(engine, "connect")
    def on_connect(connection: DBAPIConnection, _entry: ConnectionPoolEntry) -> None:
        cursor = connection.cursor()
        for pragma in pragmas:
            cursor.execute(pragma)
            answer = cursor.fetchone()
            if "journal_mode" in pragma and answer != ("wal",):
                raise DatabaseDamaged(f"the file system of the database does not allow a write-ahead log: {answer}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def on_begin(connection: Connection) -> None:
        driver.execute(connection, begin)


def translated(error: DBAPIError | sqlite3.Error) -> StoreError | None:
    """What an error of the database means to those above; None: it is a bug of ours, such as a wrong statement."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    if getattr(cause, "sqlite_errorcode", None) == sqlite3.SQLITE_ERROR:
        return None
    if isinstance(cause, sqlite3.OperationalError):
        return StoreUnavailable(f"the database cannot be used now: {cause}")
    if type(cause) is sqlite3.DatabaseError:
        return DatabaseDamaged(f"the database is damaged: {cause}")
    return None
