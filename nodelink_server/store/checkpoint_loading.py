"""Puts what a checkpoint holds into an empty database, in one transaction. What follows from it, the core decides."""

from __future__ import annotations

import base64
import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from itertools import dropwhile
from typing import Any

from sqlalchemy import Connection, select, update

from nodelink.checkpoint import CheckpointHeader, CheckpointRefused, Defect
from nodelink.checkpoint_blobs import Line, is_about_blobs, pieces_of
from nodelink.errors import ServerNotEmpty, StoreUnavailable
from nodelink_server.core.blob_ports import UploadName
from nodelink_server.store.blob_files import BlobFiles
from nodelink_server.store.checkpoint_tables import BY_TASK, OF_BLOBS, WHOLE, YIELDING
from nodelink_server.store.checkpoint_taking import columns_of, driver_of
from nodelink_server.store.numbering import Counters
from nodelink_server.store.tables import loaded_checkpoints, meta

STARTS_AHEAD = 1_000_000
"""Fences must be above all that the other server has drawn since, however often it has started."""
REVISIONS_AHEAD = 1 << 32
"""So are revisions: a listener of the other server is told to begin again, and never takes new events for old ones."""

_ARRIVING = "~checkpoint"
"""Whose the uploads are that are made while one is loaded: of no workspace, for none can have this name."""

_LABEL = "INSERT OR REPLACE INTO task_labels (name, value, task_key) VALUES (?, ?, ?)"
_OTHER_STATES = "DELETE FROM workspace_states WHERE workspace = ?"
"""As the workspace itself, so its state is that of the checkpoint."""


def is_loaded(connection: Connection, checkpoint_id: str) -> bool:
    """Whether this database was begun with a checkpoint."""
    found = select(loaded_checkpoints.c.id).where(loaded_checkpoints.c.id == checkpoint_id)
    return connection.execute(found).first() is not None


def has_begun(connection: Connection, checkpoint_id: str) -> bool:
    """Whether nothing will come of loading a checkpoint: it was loaded before, or the database is not empty."""
    return bool(connection.execute(select(meta.c.last_key)).scalar_one()) or is_loaded(connection, checkpoint_id)


def place_blobs(lines: Iterable[Line], files: BlobFiles) -> None:
    """Put the bytes of blobs on the disk, durably. If no rows follow, they are nobody's, and swept away.

    Raises `CheckpointRefused`, `StoreUnavailable`.
    """
    for piece in pieces_of(lines):
        upload = UploadName(piece.sha256, piece.size, _ARRIVING)
        if piece.data:
            files.append(upload, piece.offset, piece.data)
        if piece.is_last:
            if not files.seal(upload):
                raise StoreUnavailable(f"the disk has not kept the bytes of the blob {piece.sha256}")
            files.place(upload)


def load(
    connection: Connection,
    counters: Counters,
    header: CheckpointHeader,
    lines: Iterable[Mapping[str, Any]],
    *,
    now: int,
    as_waiting: bool,
) -> Counters:
    """Load it, unless it was loaded before. Returns what to count on from: the same counters if nothing was done.

    Raises `ServerNotEmpty`, `CheckpointRefused`; then nothing is changed if the transaction is not committed.
    """
    if is_loaded(connection, header.id):
        return counters
    if counters.last_key:
        raise ServerNotEmpty("a checkpoint can only be loaded by a server that has never had a task")
    driver = driver_of(connection)
    try:
        for line in dropwhile(is_about_blobs, lines):
            _insert(driver, line)
    except (sqlite3.IntegrityError, sqlite3.InterfaceError, sqlite3.ProgrammingError, _Unreadable) as error:
        raise CheckpointRefused(Defect.DAMAGED, f"its rows cannot be written: {error}") from error
    driver.execute("DELETE FROM events")
    driver.execute("UPDATE blobs SET used_at = max(used_at, ?)", (now,))
    connection.execute(
        loaded_checkpoints.insert().values(
            id=header.id, start_number=header.start_number, loaded_at=now, as_waiting=as_waiting, is_revived=False
        )
    )
    return _count_on(connection, counters, header)


def _count_on(connection: Connection, counters: Counters, header: CheckpointHeader) -> Counters:
    """Let every number go on above those of both servers."""
    row = connection.execute(select(meta)).one()
    revision = max(counters.revision, header.revision) + REVISIONS_AHEAD
    numbers = {
        "start_number": max(row.start_number, header.start_number) + STARTS_AHEAD,
        "control_ms": max(row.control_ms, header.control_ms),
        "revision": revision,
        "last_key": header.last_key,
        "commits": counters.commits + 1,
    }
    connection.execute(update(meta).values(**numbers))
    return Counters(
        revision=revision,
        last_key=header.last_key,
        commits=counters.commits + 1,
        audits=counters.audits,
        audit_hash=counters.audit_hash,
    )


class _Unreadable(Exception):
    """A line is not as lines are."""


def _insert(driver: sqlite3.Connection, line: Mapping[str, Any]) -> None:
    table, columns, rows = _parts(line)
    known, _ = columns_of(table)
    newer = sorted(set(columns) - set(known))
    if newer:
        raise CheckpointRefused(Defect.NEWER, f"only a newer NodeLink knows {table}.{newer[0]}")
    names, marks = ", ".join(f'"{column}"' for column in columns), ", ".join("?" * len(columns))
    verb = "INSERT OR IGNORE" if table in YIELDING else "INSERT OR REPLACE" if table in WHOLE else "INSERT"
    if table == "workspace_states":
        place = columns.index("workspace")
        driver.executemany(_OTHER_STATES, [(row[place],) for row in rows])
    binary = [columns.index(known[index]) for index in columns_of(table)[1] if known[index] in columns]
    values = [_bytes_of(row, binary) for row in rows]
    driver.executemany(f"{verb} INTO {table} ({names}) VALUES ({marks})", values)
    if table == "task_specs":
        driver.executemany(_LABEL, _labels(columns, rows))


def _parts(line: Mapping[str, Any]) -> tuple[str, Sequence[str], Sequence[Sequence[Any]]]:
    try:
        table, columns, rows = line["table"], line["columns"], line["rows"]
    except (KeyError, TypeError) as error:
        raise _Unreadable("a line lacks its table, columns or rows") from error
    if table not in BY_TASK and table not in WHOLE and table not in OF_BLOBS:
        raise CheckpointRefused(Defect.NEWER, f"only a newer NodeLink knows the table {str(table)[:64]!r}")
    return table, columns, rows


def _bytes_of(row: Sequence[Any], binary: Sequence[int]) -> Sequence[Any]:
    if not binary:
        return row
    cells = list(row)
    for index in binary:
        if cells[index] is not None:
            cells[index] = base64.b64decode(cells[index])
    return cells


def _labels(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> Iterable[tuple[str, str, int]]:
    """The entries of the metadata of tasks, by which they are found."""
    key, metadata = columns.index("task_key"), columns.index("metadata")
    for row in rows:
        if row[metadata] is not None:
            for name, said in json.loads(row[metadata]).items():
                yield name, said, row[key]
