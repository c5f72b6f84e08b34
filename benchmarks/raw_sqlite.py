"""SQLite with nothing around it, doing what the store does: rows in and rows on, a commit for each batch, FULL.

Each task is a row that comes in with its spec, and a change of it with its result: four row writes in two commits, in
statements of many rows, with no index but that of the id.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROWS = 128
NOW = 1_700_000_000_000


@dataclass(frozen=True, slots=True)
class Measured:
    """How fast tasks were made durable."""

    name: str
    batch: int
    tasks_per_second: float
    cpu_microseconds: float


def measure_raw(directory: Path, tasks: int, batch: int) -> Measured:
    """SQLite alone."""
    connection = sqlite3.connect(directory / "raw.db", isolation_level=None, cached_statements=16)
    for setting in ("journal_mode = WAL", "synchronous = FULL", "wal_autocheckpoint = 4000", "cache_size = -65536"):
        connection.execute(f"PRAGMA {setting}").fetchall()
    width = 20
    columns = ", ".join(f"c{i}" for i in range(width))
    connection.execute(f"CREATE TABLE tasks (key INTEGER PRIMARY KEY, id TEXT UNIQUE, {columns})")
    for table in ("specs", "results"):
        connection.execute(f"CREATE TABLE {table} (key INTEGER PRIMARY KEY, a, b, c, d, e, body)")
    began, began_cpu = time.perf_counter(), time.process_time()
    for first in range(0, tasks, batch):
        for statements in (_raw_inserts(first, batch, width), _raw_updates(first, batch)):
            connection.execute("BEGIN IMMEDIATE")
            for statement, values in statements:
                connection.execute(statement, values)
            connection.execute("COMMIT")
    seconds, cpu = time.perf_counter() - began, time.process_time() - began_cpu
    connection.close()
    return Measured("raw", batch, tasks / seconds, cpu / tasks * 1e6)


def _rows(count: int, width: int) -> str:
    return ", ".join(["(" + ", ".join("?" * width) + ")"] * count)


def _raw_inserts(first: int, batch: int, width: int) -> Iterator[tuple[str, list[object]]]:
    filling = ["completed" if place % 3 == 0 else NOW + place for place in range(width)]
    tasks = f"INSERT INTO tasks VALUES {_rows(ROWS, width + 2)}"  # noqa: S608
    specs = f"INSERT INTO specs VALUES {_rows(ROWS, 7)}"  # noqa: S608
    for start in range(first, first + batch, ROWS):
        keys = range(start + 1, start + 1 + ROWS)
        yield tasks, [value for key in keys for value in (key, f"0190a000-0000-7000-8000-{key:012x}", *filling)]
        yield specs, [value for key in keys for value in (key, 1, 2, 3, 4, 5, b"x" * 64)]


def _raw_updates(first: int, batch: int) -> Iterator[tuple[str, list[object]]]:
    sets = ", ".join(f"c{i} = v.column{i + 2}" for i in range(9))
    update = f"UPDATE tasks SET {sets} FROM (VALUES {_rows(ROWS, 10)}) AS v WHERE tasks.key = v.column1"  # noqa: S608
    results = f"INSERT INTO results VALUES {_rows(ROWS, 7)}"  # noqa: S608
    for start in range(first, first + batch, ROWS):
        keys = range(start + 1, start + 1 + ROWS)
        yield update, [value for key in keys for value in (key, "completed", "", "", 1, 2, 3, NOW, NOW, key)]
        yield results, [value for key in keys for value in (key, 1, 2, 3, 4, 5, b"x" * 64)]
