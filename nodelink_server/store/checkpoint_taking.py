"""Writes what is kept of a database into the body of a checkpoint: all of it as of one moment, a few rows at a time.

It runs in a thread of its own over a reader's snapshot, so neither the loop nor the writer waits for it.
"""

from __future__ import annotations

import base64
import hashlib
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from sqlalchemy import Connection, LargeBinary, select

from nodelink.checkpoint import CheckpointHeader
from nodelink.checkpoint_file import BodyWriter
from nodelink.task import LIVE
from nodelink_server.core.pauses import SCHEDULER
from nodelink_server.core.states import GRANTED
from nodelink_server.store.blob_files import BlobFiles
from nodelink_server.store.checkpoint_blobs import ROWS, Bounds, Choice, choose, write_bytes
from nodelink_server.store.checkpoint_tables import BY_TASK, OF_BLOBS, WHOLE
from nodelink_server.store.tables import UNCOMPLETED, meta, tasks_metadata

KEYS_AT_ONCE = 100
MOST_ENDED = 100_000
"""So many tasks that have ended are kept for their idempotency keys, the newest: or those would run twice."""
MOST_LINE_CHARS = 64_000
"""A line is made without a pause: the loop must not wait long for it."""

_STATUSES = ", ".join(f"'{status}'" for status in sorted(LIVE))
_LIVE = f"SELECT status, key FROM tasks WHERE {UNCOMPLETED} AND status IN ({_STATUSES})"  # noqa: S608 - names of ours
_ENDED = (
    "SELECT key FROM tasks WHERE idempotency_key IS NOT NULL AND finished_at IS NOT NULL"
    " ORDER BY created_at DESC, key DESC LIMIT ?"
)
_COUNT_ENDED = "SELECT count(*) FROM tasks WHERE idempotency_key IS NOT NULL AND finished_at IS NOT NULL"
_AGENTS = 'SELECT id, session, pool, slots, handlers, labels, cordon, drained_at, drain_deadline, "left" FROM agents'
_MARKED = ("limits", "workspaces", "pauses")
_OF_BLOBS = (
    "SELECT count(*), max(created_at) FROM artifacts",
    "SELECT workspace, max(version), sha256 FROM workspace_states GROUP BY workspace",
    "SELECT count(*), max(used_at) FROM blobs",  # bytes that come late make what needs them whole
)


class Snapshot(NamedTuple):
    """What a moment of a database comes to, before it is written down."""

    header: CheckpointHeader
    keys: Sequence[int]
    blobs: Choice


def look(connection: Connection, header: CheckpointHeader, files: BlobFiles, bounds: Bounds) -> Snapshot:
    """Find what is to be kept. `header` says who asks; the rest of it is filled in."""
    row = connection.execute(select(meta)).one()
    driver = driver_of(connection)
    live = driver.execute(_LIVE).fetchall()
    ended = [key for (key,) in driver.execute(_ENDED, (MOST_ENDED,))]
    running = sum(status in GRANTED for status, _ in live)
    blobs = choose(driver, files, bounds)
    is_paused = driver.execute("SELECT 1 FROM pauses WHERE scope = ?", (SCHEDULER,)).fetchone() is not None
    seen = {
        "cluster_id": row.cluster_id,
        "start_number": row.start_number,
        "control_ms": row.control_ms,
        "revision": row.revision,
        "last_key": row.last_key,
        "complete": is_paused and not running,
        "waiting": len(live) - running,
        "running": running,
        "tasks": len(live),
        "ended_left_out": int(driver.execute(_COUNT_ENDED).fetchone()[0]) - len(ended),
        "schema": driver.execute("SELECT version_num FROM alembic_version").fetchone()[0],
        "fingerprint": fingerprint(connection),
        "blobs": len(blobs.chosen),
        "blob_bytes": blobs.bytes,
        "blobs_left_out": blobs.left_out_count,
        "left_out": tuple(blobs.left_out),
    }
    return Snapshot(replace(header, **seen), sorted([*(key for _, key in live), *ended]), blobs)


def fingerprint(connection: Connection) -> str:
    """What changes with anything that a checkpoint would hold."""
    driver = driver_of(connection)
    digest = hashlib.sha256(str(connection.execute(select(meta.c.revision)).scalar_one()).encode())
    for query in (*(f"SELECT * FROM {table}" for table in _MARKED), _AGENTS, *_OF_BLOBS):  # noqa: S608 - names of ours
        digest.update(repr(driver.execute(query).fetchall()).encode())
    return digest.hexdigest()


def write(connection: Connection, snapshot: Snapshot, files: BlobFiles, body: BodyWriter) -> None:
    """Write the bytes of blobs, and the rows, a portion after the other. Raises `StoreUnavailable`."""
    driver, keys = driver_of(connection), snapshot.keys
    write_bytes(snapshot.blobs, files, body)
    for table in OF_BLOBS:
        columns, binary = columns_of(table)
        names = ", ".join(f'"{column}"' for column in columns)
        query = f"SELECT {names} FROM ({ROWS[table]})"  # noqa: S608 - names of ours
        _put(body, table, columns, binary, driver.execute(query, snapshot.blobs.parameters))
    for table in WHOLE:
        columns, binary = columns_of(table)
        names = ", ".join(f'"{column}"' for column in columns)
        _put(body, table, columns, binary, driver.execute(f"SELECT {names} FROM {table}"))  # noqa: S608
    for first in range(0, len(keys), KEYS_AT_ONCE):
        some = keys[first : first + KEYS_AT_ONCE]
        marks = ", ".join("?" * len(some))
        for table, key in BY_TASK.items():
            columns, binary = columns_of(table)
            names = ", ".join(f'"{column}"' for column in columns)
            query = f"SELECT {names} FROM {table} WHERE {key} IN ({marks})"  # noqa: S608 - names of ours
            _put(body, table, columns, binary, driver.execute(query, some))


def _put(
    body: BodyWriter, table: str, columns: Sequence[str], binary: Sequence[int], rows: Iterator[tuple[Any, ...]]
) -> None:
    """Write rows of a table, in lines that are not too long."""
    gathered: list[Sequence[object]] = []
    chars = 0
    for row in rows:
        line = _text_of(row, binary)
        gathered.append(line)
        chars += sum(len(cell) for cell in line if isinstance(cell, str))
        if chars > MOST_LINE_CHARS:
            body.rows(table, columns, gathered)
            gathered, chars = [], 0
    if gathered:
        body.rows(table, columns, gathered)


def _text_of(row: tuple[Any, ...], binary: Sequence[int]) -> Sequence[object]:
    if not binary:
        return row
    cells = list(row)
    for index in binary:
        if cells[index] is not None:
            cells[index] = base64.b64encode(cells[index]).decode("ascii")
    return cells


def columns_of(table: str) -> tuple[Sequence[str], Sequence[int]]:
    """The names of a table's columns, and which of them hold bytes."""
    columns = list(tasks_metadata.tables[table].columns)
    return [c.name for c in columns], [i for i, c in enumerate(columns) if isinstance(c.type, LargeBinary)]


def driver_of(connection: Connection) -> sqlite3.Connection:
    """The driver's own connection: of many rows nothing but their values is wanted."""
    driver = connection.connection.driver_connection
    assert isinstance(driver, sqlite3.Connection)
    return driver
