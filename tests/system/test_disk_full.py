"""A full disk: what cannot be made durable is refused, what was acknowledged stays, and room makes all well again."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import httpx
import pytest

from tests.support.processes import ANY_PORT, Services, asked_until, refusal
from tests.support.rest import Rest

SIZE = "3m"
BALLAST = 3 * 512 * 1024
PAYLOAD = "x" * 50_000
TRY_LATER = 75

pytestmark = [pytest.mark.slow, pytest.mark.tmpfs]


@pytest.fixture
async def small_disk(tmp_path: Path) -> AsyncIterator[Path]:
    """A directory that takes no more than three mebibytes."""
    directory = tmp_path / "disk"
    directory.mkdir()
    await _run("mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(directory))
    yield directory
    await _run("umount", "--lazy", str(directory))


async def test_a_full_disk_refuses_loses_nothing_and_recovers(services: Services, small_disk: Path) -> None:
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(BALLAST))
    server = await services.server(data_dir=small_disk / "data")
    accepted: list[str] = []
    async with Rest(server) as rest:
        while (answer := await _submit(rest)).status_code == 201:
            accepted.append(answer.json()["id"])
        again = await _submit(rest)
        ready = await rest.http.get("/readyz")
        kept = [await rest.get(f"/tasks/{task_id}") for task_id in accepted]

        ballast.unlink()
        recovered = await asked_until(partial(_accepted, rest), "a task accepted again")
    await server.kill()
    server = await services.server(again=server)
    async with Rest(server) as rest:
        after = [await rest.get(f"/tasks/{task_id}") for task_id in accepted]
        listed = (await rest.get("/tasks", page_size=1000))["tasks"]

    assert accepted
    for refused in (answer, again):
        assert (refused.status_code, refused.json()["code"]) == (503, "UNAVAILABLE")
        assert int(refused.headers["retry-after"]) > 0
    assert ready.status_code == 503
    assert [task["payload"] for task in kept] == [PAYLOAD] * len(accepted)
    assert [task["id"] for task in after] == accepted
    assert {task["id"] for task in listed} == {*accepted, recovered}


async def test_a_server_cannot_begin_on_a_full_disk_and_begins_when_there_is_room(
    services: Services, small_disk: Path
) -> None:
    server = await services.server(data_dir=small_disk / "data")
    async with Rest(server) as rest:
        task_id = (await _submit(rest)).json()["id"]
    await server.kill()
    ballast = small_disk / "ballast"
    _fill(ballast)
    flags = ("--data-dir", str(server.data_dir), "--grpc-address", ANY_PORT, "--http-address", ANY_PORT)
    code, words = await refusal("nodelink_server", *flags, cwd=Path("/"))
    ballast.unlink()
    async with Rest(await services.server(again=server)) as rest:
        task = await rest.get(f"/tasks/{task_id}")

    assert code == TRY_LATER
    assert str(server.data_dir) in words
    assert "Traceback" not in words
    assert task["payload"] == PAYLOAD


def _fill(path: Path) -> None:
    """Leave no room on a disk."""
    path.write_bytes(bytes(shutil.disk_usage(path.parent).free))


async def _accepted(rest: Rest) -> str | None:
    answer = await _submit(rest)
    return str(answer.json()["id"]) if answer.status_code == 201 else None


async def _submit(rest: Rest) -> httpx.Response:
    return await rest.http.post("/api/v1/tasks", json={"type": "echo", "payload": PAYLOAD})


async def _run(*command: str) -> None:
    process = await asyncio.create_subprocess_exec(*command)
    async with asyncio.timeout(60):
        assert await process.wait() == 0
