"""What a database holds, row by row, and whether its parts agree with one another."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from nodelink_server.core.task import rate_key, workspace_key
from nodelink_server.store.audit import audit_hash
from nodelink_server.store.opening import NO_AUDIT

Row = tuple[object, ...]

OF_A_START = frozenset({("meta", "start_number")})
"""What a start of the server writes by itself, without a commit."""


@dataclass(frozen=True, slots=True)
class State:
    """All rows of a database, by table."""

    tables: Mapping[str, Sequence[Row]]

    @property
    def digest(self) -> str:
        """A short name for exactly this."""
        return hashlib.sha256(repr(sorted(self.tables.items())).encode()).hexdigest()


def state_of(path: Path) -> State:
    """Read all rows, in the order of their keys."""
    with closing(_reading(path)) as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return State({name: _rows(connection, name) for name in names})


def check_agreement(path: Path) -> None:
    """See that the file is whole, and that events, tasks, places and the audit chain tell the same."""
    with closing(_reading(path)) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        revision, last_key = connection.execute("SELECT revision, last_key FROM meta").fetchone()
        _check_events(connection, revision)
        _check_audit(connection)
        stored = connection.execute("SELECT count(*), coalesce(max(key), 0), max(revision) FROM tasks").fetchone()
        assert stored[:2] == (last_key, last_key)
        assert (stored[2] or 0) <= revision
        orphans = "SELECT count(*) FROM tasks LEFT JOIN task_specs ON task_key = key WHERE task_key IS NULL"
        assert connection.execute(orphans).fetchone() == (0,)
        _check_holds(connection)
        _check_keys(connection)


def _reading(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{path}?mode=ro", uri=True)


def _rows(connection: sqlite3.Connection, table: str) -> Sequence[Row]:
    columns = [row[1] for row in connection.execute(f'PRAGMA table_info("{table}")')]
    kept = ", ".join(f'"{column}"' for column in columns if (table, column) not in OF_A_START)
    rows: list[Row] = connection.execute(f'SELECT {kept} FROM "{table}"').fetchall()  # noqa: S608 - names of our own
    return sorted(rows, key=repr)


def _check_events(connection: sqlite3.Connection, revision: int) -> None:
    """Blocks follow one another without a hole, up to the last revision that was given."""
    behind = 0
    for first, last in connection.execute("SELECT first_revision, last_revision FROM events ORDER BY last_revision"):
        assert first == behind + 1
        behind = last
    assert behind == revision


def _check_audit(connection: sqlite3.Connection) -> None:
    expected = NO_AUDIT
    query = "SELECT sequence, time, previous, hash, entries FROM audit ORDER BY sequence"
    for number, (sequence, time, previous, digest, entries) in enumerate(connection.execute(query), 1):
        assert (sequence, previous) == (number, expected)
        assert digest == audit_hash(previous=previous, sequence=sequence, time=time, entries=entries)
        expected = digest


def _check_holds(connection: sqlite3.Connection) -> None:
    """Those tasks hold the places of their attempts, their lock among them, that are with an agent."""
    holding = "status IN ('sent', 'in_progress', 'cancelling', 'unknown')"
    query = f"SELECT key, lock, holds FROM tasks WHERE {holding}"  # noqa: S608 - no foreign text
    wanted: list[Row] = []
    for task_key, lock, encoded in connection.execute(query):
        places = json.loads(encoded) if encoded else []
        assert not lock or [lock, 0] in places
        wanted.extend((key, place, task_key) for key, place in places)
    kept = connection.execute("SELECT key, place, task_key FROM holds").fetchall()
    assert sorted(kept) == sorted(wanted)


def _check_keys(connection: sqlite3.Connection) -> None:
    """Those tasks are found by the keys that they share, where they wait, that wait and name any."""
    query = (
        "SELECT pool, type, needs, rank, key, workspace, more FROM tasks JOIN task_specs ON task_key = key"
        " WHERE status = 'pending'"
    )
    wanted: list[Row] = []
    for *where, workspace, encoded in connection.execute(query):
        asked = json.loads(encoded or '{"limits": {}, "rates": {}}')
        keys = [*asked["limits"], *map(rate_key, asked["rates"]), *([workspace_key(workspace)] if workspace else [])]
        wanted.extend((key, *where) for key in keys)
    kept = connection.execute("SELECT key, pool, type, needs, rank, task_key FROM task_keys").fetchall()
    assert sorted(kept) == sorted(wanted)
