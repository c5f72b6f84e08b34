"""The database is gone, and a new server goes on from the last checkpoint: what waited runs, and nothing runs twice."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from tests.support.latch import Latch, lines_of
from tests.support.processes import Services
from tests.support.rest import Rest

DONE, HELD, WAITING = 5, 2, 40

pytestmark = pytest.mark.slow


async def test_a_new_server_goes_on_from_a_checkpoint_and_nothing_runs_twice(
    services: Services, latch: Latch, tmp_path: Path
) -> None:
    effects, file = tmp_path / "effects", tmp_path / "queue.checkpoint"
    note = f"echo $NODELINK_TASK_ID >> {effects}"
    server = await services.server()
    await services.agent(server, slots=4)
    async with Rest(server) as rest:
        await rest.online()
        done = [await keyed(rest, note, f"key-{number}") for number in range(DONE)]
        await rest.results(done)
        held = [await rest.shell(f"{note}; read go < {latch.path}") for _ in range(HELD)]
        await lines_of(effects, DONE + HELD)
        await rest.post("/scheduler/pause", {}, 200)
        waiting = [await rest.shell(note) for _ in range(WAITING)]
        taken = await rest.post("/checkpoints", {}, 201)
        paused = await rest.post("/scheduler/pause", {"type": "echo"}, 200)
        file.write_bytes(base64.b64decode(paused["content"]))
    assert (taken["waiting"], taken["running"], taken["complete"]) == (WAITING, HELD, False)

    await server.kill()
    for path in server.data_dir.iterdir():
        if path.suffix != ".lock" and path.is_file():
            path.unlink()
    server = await services.server("--load-checkpoint", str(file), again=server)
    latch.release(HELD)

    async with Rest(server) as rest:
        await rest.online()
        assert [pause["scope"] for pause in (await rest.get("/scheduler/status"))["pauses"]] == [
            "scheduler",
            "type:echo",
        ]
        again = await keyed(rest, note, "key-0")
        await rest.results(held)  # they were in doubt, until their agent told how they ended
        await rest.post("/scheduler/resume", {}, 200)
        ended = [*await rest.results(held), *await rest.results(waiting)]
    assert {(result["status"], result["exit_code"], result["attempt"]) for result in ended} == {("completed", 0, 1)}
    assert again == done[0]
    assert sorted(effects.read_text().split()) == sorted([*done, *held, *waiting])


async def keyed(rest: Rest, command: str, key: str) -> str:
    """Submit a command under a key. Returns its id."""
    answer = await rest.http.post("/api/v1/tasks/shell", json={"command": command}, headers={"Idempotency-Key": key})
    assert answer.is_success, answer.text
    return str(answer.json()["id"])
