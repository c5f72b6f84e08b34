"""Two hundred thousand tasks that wait: the server starts at once, stays small, and hands them out in order."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from nodelink_server.core.ranking import AGEING_MS
from tests.support.processes import Services
from tests.support.rest import Json, Rest

WAITING = 200_000
URGENT = 1_500
FIRST = 2_000
START_SECONDS = 60.0
MIB = 1 << 20
OWN = "RssAnon"
"""Memory of its own. The database's pages that it has mapped are the system's, to be taken back when it likes."""

pytestmark = pytest.mark.slow


async def test_a_great_backlog_is_taken_up_at_once_and_the_most_urgent_goes_first(services: Services) -> None:
    server = await services.server()
    async with Rest(server) as rest:
        template = await rest.submit("echo", "waited long")
    small = server.memory(OWN)
    server.terminate()
    await server.ended()
    await asyncio.to_thread(_multiply, server.data_dir / "nodelink.db", template)

    server = await services.server(again=server, seconds=START_SECONDS)
    async with Rest(server) as rest:
        assert (await rest.metrics())["nodelink_tasks_live"] == WAITING
        async with rest.events(type="echo") as events:
            await services.agent(server, slots=100)
            sent: list[Json] = []
            async with asyncio.timeout(90):
                while len(sent) < FIRST:
                    event = await anext(events)
                    if event.name == "task.sent":
                        sent.append(event.data)
        large = server.memory(OWN)

    assert [task["priority"] for task in sent] == [90] * URGENT + [50] * (FIRST - URGENT)
    assert len({task["task_id"] for task in sent}) == FIRST
    assert large - small < 64 * MIB


def _multiply(path: Path, template: str) -> None:
    """Let a waiting task that the server has accepted be many; the newest of them are the urgent ones."""
    with closing(sqlite3.connect(path)) as database, database:
        [first] = database.execute("SELECT key FROM tasks WHERE id = ?", (template,)).fetchone()
        last = first + WAITING - 1
        own = {
            "key": f"{first} + n",
            "id": "substr(t.id, 1, 24) || printf('%012x', n)",
            "priority": f"iif(n >= {WAITING - URGENT}, 90, 50)",
            "rank": f"rank - iif(n >= {WAITING - URGENT}, {40 * AGEING_MS}, 0)",
        }
        _copy(database, "tasks", f"t.key = {first}", own)
        _copy(database, "task_specs", f"t.task_key = {first}", {"task_key": f"{first} + n"})
        database.execute("UPDATE meta SET last_key = ?", (last,))


def _copy(database: sqlite3.Connection, table: str, template: str, own: dict[str, str]) -> None:
    """Copies of one row, each with its number `n` and columns of its own."""
    columns = [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
    values = [own.get(column, f"t.{column}") for column in columns]
    database.execute(
        f"INSERT INTO {table} ({', '.join(columns)}) "  # noqa: S608 - names of ours
        f"WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < {WAITING - 1}) "
        f"SELECT {', '.join(values)} FROM numbers, {table} AS t WHERE {template}"
    )
