"""Agents are given no more than they have: slots and resources, as they say themselves."""

from __future__ import annotations

from pathlib import Path

import pytest

from nodelink_agent.resources import found
from tests.support.latch import Latch, lines_of
from tests.support.processes import Services
from tests.support.rest import Rest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


class Effects:
    """A file, in which each task says that it begins and that it ends."""

    def __init__(self, directory: Path, latch: Latch) -> None:
        self._path = directory / "effects"
        self._latch = latch

    def command(self, *, held: bool = False) -> str:
        """What a task does. `held`: it goes on only when the latch lets it."""
        wait = f"read go < {self._latch.path}; " if held else ""
        return f"echo start $NODELINK_TASK_ID >> {self._path}; {wait}echo end $NODELINK_TASK_ID >> {self._path}"

    async def history(self, count: int) -> list[tuple[str, ...]]:
        """What was done, in its order, as soon as it is so much: the word, and whose it is."""
        return [tuple(line.split()) for line in await lines_of(self._path, count)]


@pytest.fixture
def effects(tmp_path: Path, latch: Latch) -> Effects:
    """What the tasks of this test leave behind."""
    return Effects(tmp_path, latch)


@pytest.mark.parametrize("restart", [False, True], ids=["", "over a restart of the agent"])
async def test_two_tasks_of_three_slots_never_run_at_once_on_five(
    services: Services, effects: Effects, latch: Latch, restart: bool
) -> None:
    server = await services.server()
    agent = await services.agent(server, slots=5)
    async with Rest(server) as rest:
        await rest.online()
        first = await rest.shell(effects.command(held=True), slots=3)
        await effects.history(1)
        if restart:  # the command goes on meanwhile, and is taken up again with what it takes
            await agent.kill()
            await services.agent(server, slots=5)
        second = await rest.shell(effects.command(), slots=3)
        beside = await rest.shell(effects.command(), slots=2)
        assert (await rest.result(beside))["status"] == "completed"
        shown = (await rest.online())["used_slots"]
        latch.release(1)
        assert (await rest.result(second))["status"] == "completed"
        metrics = await rest.metrics()

    assert await effects.history(6) == [
        ("start", first),
        ("start", beside),
        ("end", beside),
        ("end", first),
        ("start", second),
        ("end", second),
    ]
    assert shown == 3
    assert not metrics.get("nodelink_agent_use_differs_total")


async def test_a_task_that_needs_a_card_waits_until_an_agent_comes_that_has_one(services: Services) -> None:
    server = await services.server()
    await services.agent(server, name="plain")
    async with Rest(server) as rest:
        plain = await rest.online("plain")
        wants_card = await rest.shell("true", resources={"gpu": 1, "cpu": "10m"})
        [beside] = await rest.echo(1)
        assert (await rest.result(beside))["status"] == "completed"
        assert (await rest.get(f"/tasks/{wants_card}"))["status"] == "pending"

        await services.agent(server, "--resources", "gpu=1,memory=0", "--type-limits", "shell=1", name="with a card")
        card = await rest.online("with a card")
        assert (await rest.result(wants_card))["status"] == "completed"
        ran_on = (await rest.get(f"/tasks/{wants_card}"))["agent_id"]

    has = {name: amount / 1000 for name, amount in found().items()}
    assert {name: one["total"] for name, one in plain["resources"].items()} == has
    assert {name: one["total"] for name, one in card["resources"].items()} == {"cpu": has["cpu"], "gpu": 1}
    assert (ran_on, card["type_limits"]) == (card["id"], {"shell": 1})
