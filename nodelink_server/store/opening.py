"""Making a database ready at the start of a server: its schema, its identity, and a look at its health."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, insert, select
from sqlalchemy.exc import DBAPIError

from nodelink_server.store.connections import translated, writing_engine
from nodelink_server.store.errors import DatabaseDamaged, DatabaseMixed, SchemaTooNew
from nodelink_server.store.files import Files
from nodelink_server.store.numbering import Counters
from nodelink_server.store.schema import LOGS, TASKS
from nodelink_server.store.tables import audit, log_chunks, meta, origin
from nodelink_server.store.upgrade import bring_up

CHECKED_BYTES = 16 * 1024 * 1024
"""Databases up to this size are read through at each start; larger ones would take too long."""

NO_AUDIT = b"\x00" * 32


def prepare(files: Files, ids: Callable[[], str]) -> Counters:
    """Bring both files up to date. Returns what the last commit left. Raises a `StoreError` that says what is wrong."""
    with _opened(files.tasks) as connection:
        bring_up(connection, TASKS)
        cluster_id = _cluster_id(connection, ids)
        counters = _counters(connection)
    with _opened(files.logs) as connection:
        bring_up(connection, LOGS)
        _check_origin(connection, cluster_id, files)
    return counters


@contextmanager
def _opened(path: Path) -> Iterator[Connection]:
    """A transaction on a file that has been looked over, with errors that name it."""
    small = path.stat().st_size <= CHECKED_BYTES
    engine = writing_engine(path)
    try:
        with engine.begin() as connection:
            if small:
                _check(connection)
            yield connection
    except DBAPIError as error:
        known = translated(error)
        if known is None:
            raise
        raise type(known)(f"{path}: {known.message}") from error
    except (DatabaseDamaged, SchemaTooNew) as error:
        raise type(error)(f"{path}: {error.message}") from error
    finally:
        engine.dispose()


def _check(connection: Connection) -> None:
    answer = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()
    if answer != "ok":
        raise DatabaseDamaged(f"the database is damaged: {answer}")


def _cluster_id(connection: Connection, ids: Callable[[], str]) -> str:
    """The name that the database was given when it was made, and keeps."""
    stored = connection.execute(select(meta.c.cluster_id)).scalar_one_or_none()
    if stored is not None:
        return str(stored)
    zeros = {"start_number": 0, "control_ms": 0, "revision": 0, "last_key": 0, "commits": 0}
    cluster_id = ids()
    connection.execute(insert(meta).values(one=1, cluster_id=cluster_id, **zeros))
    return cluster_id


def _counters(connection: Connection) -> Counters:
    row = connection.execute(select(meta)).one()
    last = connection.execute(select(audit).order_by(audit.c.sequence.desc()).limit(1)).one_or_none()
    return Counters(
        revision=row.revision,
        last_key=row.last_key,
        commits=row.commits,
        audits=last.sequence if last else 0,
        audit_hash=last.hash if last else NO_AUDIT,
    )


def _check_origin(connection: Connection, cluster_id: str, files: Files) -> None:
    """See that the output is that of these tasks: another database's output must never be shown as theirs."""
    stored = connection.execute(select(origin.c.cluster_id)).scalar_one_or_none()
    if stored is None and connection.execute(select(log_chunks.c.key).limit(1)).first() is None:
        connection.execute(insert(origin).values(cluster_id=cluster_id))
    elif stored != cluster_id:
        raise DatabaseMixed(f"{files.logs} holds the output of another database than {files.tasks}")
