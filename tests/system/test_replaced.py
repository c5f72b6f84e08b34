"""Work that is replaced by newer work of its kind: with real processes, over a restart of the server as well."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.support.latch import Latch
from tests.support.processes import House, Services
from tests.support.rest import Rest

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

UNTIL_RELEASED = "echo up; read go < {latch}"


@pytest_asyncio.fixture(loop_scope="module")
async def rest(house: House) -> AsyncIterator[Rest]:
    async with Rest(house.server) as rest:
        yield rest


async def test_a_command_that_is_replaced_is_stopped_and_the_next_one_need_not_wait(rest: Rest, latch: Latch) -> None:
    command = UNTIL_RELEASED.format(latch=latch.path)
    first = await rest.shell(command, unique_key="report")
    await rest.printed(first, "up")
    refused = await rest.post("/tasks/shell", {"command": "true", "unique_key": "report"}, 409)

    second = await rest.shell("echo instead", unique_key="report", on_conflict="replace")
    results = await rest.results([first, second])

    assert (refused["code"], first in refused["detail"]) == ("UNIQUE_KEY_TAKEN", True)
    assert [(one["status"], one["reason"]) for one in results] == [("cancelled", "superseded"), ("completed", "")]
    assert results[0]["signal"] is not None
    third = await rest.shell("true", unique_key="report")
    assert (await rest.result(third))["status"] == "completed"


async def test_a_command_that_is_in_the_way_is_stopped_and_its_lock_is_waited_for(rest: Rest, latch: Latch) -> None:
    first = await rest.shell(UNTIL_RELEASED.format(latch=latch.path), lock="site")
    await rest.printed(first, "up")

    second = await rest.shell("echo instead", lock="site", when_taken="replace")
    results = await rest.results([first, second])

    assert [(one["status"], one["reason"]) for one in results] == [("cancelled", "superseded"), ("completed", "")]
    assert results[0]["completed_at"] <= results[1]["started_at"]


@pytest.mark.asyncio(loop_scope="function")
async def test_keys_workspaces_and_limits_hold_over_a_restart(services: Services) -> None:
    server = await services.server()
    async with Rest(server) as rest:
        await rest.post("/workspaces", {"name": "site", "pool": "nobody"})
        first = await rest.submit("echo", workspace="site", unique_key="report")
        await rest.http.put("/api/v1/limits/pool:nobody", json={"most": 3})
    await server.kill()

    server = await services.server()
    async with Rest(server) as rest:
        refused = await rest.post("/tasks", {"type": "echo", "unique_key": "report"}, 409)
        assert first in refused["detail"]
        assert (await rest.get("/workspaces/site"))["pool"] == "nobody"
        assert [(one["name"], one["most"]) for one in (await rest.get("/limits"))["limits"]] == [("pool:nobody", 3)]
        second = await rest.submit("echo", unique_key="report", on_conflict="replace")
        assert (await rest.get(f"/tasks/{first}"))["reason"] == "superseded"
        assert (await rest.get(f"/tasks/{second}"))["status"] == "pending"
