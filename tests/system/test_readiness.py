"""A server whose writer stands still says so, and says which part and since when, until it goes on."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.processes import Server, Services, asked_until
from tests.support.rest import Rest

WAIT_SECONDS = 60.0

pytestmark = pytest.mark.slow


async def test_a_server_whose_database_is_locked_is_not_ready_until_the_lock_is_gone(services: Services) -> None:
    server = await services.server()
    async with Rest(server) as rest:
        before = (await _readiness(rest)).status_code
        with _write_lock(server):
            stuck = await asked_until(lambda: _complaint(rest, "the writer"), "it stands still", WAIT_SECONDS)
            failing = await asked_until(lambda: _complaint(rest, "the database"), "it fails", WAIT_SECONDS)
            alive = (await rest.http.get("/healthz")).status_code
        after = await asked_until(lambda: _ready(rest), "ready again", WAIT_SECONDS)
        task_id = await rest.submit("echo")

    assert (before, alive, after["status"]) == (200, 200, "ready")
    assert stuck["detail"].startswith("the writer stands still since 20")
    assert failing["detail"].startswith("the database cannot be written to since 20")
    assert "database is locked" in failing["detail"]
    assert (stuck["status"], stuck["code"]) == (503, "UNAVAILABLE")
    assert task_id


async def _readiness(rest: Rest) -> httpx.Response:
    return await rest.http.get("/readyz")


async def _complaint(rest: Rest, about: str) -> dict[str, Any] | None:
    """Why the server is not ready, once it speaks of this."""
    answer = await _readiness(rest)
    problem: dict[str, Any] = answer.json()
    return problem if answer.status_code == 503 and problem["detail"].startswith(about) else None


async def _ready(rest: Rest) -> dict[str, Any] | None:
    answer = await _readiness(rest)
    return dict(answer.json()) if answer.status_code == 200 else None


@contextmanager
def _write_lock(server: Server) -> Iterator[None]:
    """Hold the lock without which nobody can write to the server's database."""
    path: Path = server.data_dir / "nodelink.db"
    holder = sqlite3.connect(path, isolation_level=None)
    try:
        holder.execute("BEGIN IMMEDIATE")
        yield
    finally:
        holder.close()
