"""Health and metrics."""

from __future__ import annotations

import re

from nodelink.errors import StoreUnavailable
from tests.support.http_door import VERSION, app_door


async def test_a_server_that_answers_is_alive() -> None:
    async with app_door() as door:
        answer = await door.http.get("/healthz")
        assert (answer.status_code, answer.json()) == (200, {"status": "ok", "version": VERSION, "insecure": False})


async def test_a_server_that_can_do_its_work_is_ready() -> None:
    async with app_door() as door:
        answer = await door.http.get("/readyz")
        assert answer.status_code == 200
        assert answer.json() | {"status": "ready", "database": True, "draining": False} == answer.json()


async def test_a_server_whose_database_is_away_is_alive_but_not_ready() -> None:
    away = False

    def fault(kind: str) -> None:
        if away and kind == "apply":
            raise StoreUnavailable("the disk is full")

    async with app_door(fault=fault) as door:
        away = True
        assert (await door.http.post("/api/v1/tasks", json={"type": "echo"})).status_code == 503
        answer = await door.http.get("/readyz")
        assert (answer.status_code, answer.json()["code"]) == (503, "UNAVAILABLE")
        assert re.fullmatch(
            r"the database cannot be written to since 20[0-9T:-]{17}Z: the disk is full", answer.json()["detail"]
        )
        assert answer.headers["retry-after"]
        assert (await door.http.get("/healthz")).status_code == 200


async def test_a_server_that_stops_is_not_ready() -> None:
    async with app_door() as door:
        await door.manager.drain()
        answer = await door.http.get("/readyz")
        assert (answer.status_code, answer.json()["detail"]) == (503, "the server is stopping")
