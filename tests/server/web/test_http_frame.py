"""What every request leaves behind: its id, and a line in the log."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

import pytest
import structlog
from structlog.testing import LogCapture

from nodelink.errors import StoreUnavailable
from tests.support.http_door import app_door

TASKS = "/api/v1/tasks"


@pytest.fixture
def lines() -> list[MutableMapping[str, Any]]:
    """Every log line of the test, with what was bound to its context."""
    capture = LogCapture()
    structlog.configure(processors=[structlog.contextvars.merge_contextvars, capture])
    return capture.entries


def accesses(lines: list[MutableMapping[str, Any]]) -> list[tuple[Any, ...]]:
    """What the log says about requests."""
    return [
        (line["log_level"], line["method"], line["path"], line["status"])
        for line in lines
        if line["event"] == "http_request"
    ]


async def test_each_request_leaves_a_line_with_the_path_of_its_route(lines: list[MutableMapping[str, Any]]) -> None:
    async with app_door() as door:
        task_id = (await door.submit())["id"]
        await door.http.get(f"{TASKS}/{task_id}?secret=hunter2", headers={"X-Request-Id": "mine-1"})
        await door.http.head(f"{TASKS}/{task_id}")
        await door.http.get("/nonsense")
    assert accesses(lines) == [
        ("debug", "POST", "/api/v1/tasks", 201),
        ("debug", "GET", "/api/v1/tasks/{task_id}", 422),
        ("debug", "HEAD", "/api/v1/tasks/{task_id}", 200),
        ("debug", "GET", "", 404),
    ]
    [mine] = [line for line in lines if line.get("request_id") == "mine-1"]
    assert mine["seconds"] >= 0
    assert "hunter2" not in repr(lines)


async def test_what_machines_ask_all_the_time_leaves_no_line(lines: list[MutableMapping[str, Any]]) -> None:
    async with app_door() as door:
        for path in ("/healthz", "/readyz", "/metrics"):
            assert (await door.http.get(path)).status_code == 200
    assert accesses(lines) == []


async def test_a_failure_of_the_server_is_told_louder(lines: list[MutableMapping[str, Any]]) -> None:
    def fault(kind: str) -> None:
        if kind == "apply":
            raise StoreUnavailable

    async with app_door(fault=fault) as door:
        await door.http.post(TASKS, json={"type": "echo"})
    assert accesses(lines) == [("info", "POST", "/api/v1/tasks", 503)]


@pytest.mark.parametrize("length, kept", [(64, True), (65, False)])
async def test_the_name_of_a_request_has_a_limit(length: int, kept: bool) -> None:
    async with app_door() as door:
        given = "x" * length
        answer = await door.http.get("/healthz", headers={"X-Request-Id": given})
        assert (answer.headers["x-request-id"] == given) is kept
