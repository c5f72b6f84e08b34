"""What stands still is told of within five seconds, with its name and since when, and so is that it goes on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest

from nodelink_server.core.vitals import Health, Vitals
from tests.support.clock import EPOCH_MS, LoopClock
from tests.support.core_parts import COMPLETED, Core, Database, make_ref, make_submission, running_core
from tests.support.fake_agent import FakeAgent

WELL = Health(database=True, dispatch=True, draining=False, message="")
BEGUN = datetime.fromtimestamp(EPOCH_MS / 1000, UTC).strftime("%Y-%m-%dT%H:%M")
"""What the tests' wall clock shows."""


class Wheel:
    """A loop that turns some seconds after it is nudged, one turn at a time, unless held. As a writer it can fail."""

    def __init__(self, seconds: float = 0.0) -> None:
        self._seconds = seconds
        self._is_turning = False
        self.rounds = 0
        self.held = False
        self.failing = ""
        self.failing_since = 0

    def nudge(self) -> None:
        """Have it turn."""
        if not self._is_turning:
            self._is_turning = True
            asyncio.get_running_loop().call_later(self._seconds, self._turn)

    def _turn(self) -> None:
        self._is_turning = False
        self.rounds += not self.held


class Suspended(LoopClock):
    """A clock that goes on while the process stands still."""

    def __init__(self) -> None:
        super().__init__()
        self.missed = 0.0

    def monotonic(self) -> float:
        """Seconds, with those that the process has missed."""
        return super().monotonic() + self.missed


@asynccontextmanager
async def _watching(writer: Wheel, scheduler: Wheel, clock: LoopClock | None = None) -> AsyncIterator[Vitals]:
    vitals = Vitals(
        clock=clock or LoopClock(), writer=writer, dispatch={"the scheduler": scheduler}, feeding_since=lambda: None
    )
    async with asyncio.TaskGroup() as group:
        watch = group.create_task(vitals.run())
        yield vitals
        watch.cancel()


async def _told(core: Core, seen: Health = WELL) -> Health:
    """The health as soon as it is another one, within five seconds."""
    async with asyncio.timeout(5):
        return await core.manager.vitals.changed(seen)


async def test_a_server_that_has_nothing_to_do_is_well() -> None:
    async with running_core() as core:
        await asyncio.sleep(60)
        assert core.manager.health() == WELL
        assert core.manager.health().is_ready


async def test_a_writer_that_hangs_is_told_of_and_so_is_that_it_goes_on() -> None:
    async with running_core() as core:
        core.database.hold("apply")
        health = await _told(core)
        assert (health.database, health.dispatch, health.is_ready) == (False, True, False)
        assert health.message.startswith(f"the writer stands still since {BEGUN}")

        core.database.let_go("apply")
        assert await _told(core, health) == WELL


async def test_a_response_processor_that_hangs_is_told_of_and_so_is_that_it_goes_on() -> None:
    async with running_core() as core:
        agent = FakeAgent(core)
        await agent.connect()
        core.database.hold("answer")
        agent.say(make_ref("never heard of"), COMPLETED)

        health = await _told(core)
        assert (health.database, health.dispatch) == (True, False)
        assert health.message.startswith(f"the response processor stands still since {BEGUN}")

        core.database.let_go("answer")
        assert await _told(core, health) == WELL


async def test_a_grant_that_cannot_be_prepared_is_told_of() -> None:
    database = Database()
    async with running_core(database) as core:
        await core.submit(make_submission(payload=b'"' + b"x" * 10_000 + b'"'))
    async with running_core(database) as core:
        await asyncio.sleep(2)  # the queues are filled; a payload as long as this one stays behind
        agent = FakeAgent(core)
        core.database.hold("answer")
        await agent.connect()

        health = await _told(core)
        assert (health.database, health.dispatch) == (True, False)
        assert health.message.startswith(f"the grants of waiting tasks stand still since {BEGUN}")

        core.database.let_go("answer")
        await agent.task()
        assert await _told(core, health) == WELL


async def test_queues_that_cannot_be_refilled_are_told_of() -> None:
    database = Database()
    async with running_core(database) as core:
        await core.submit()
    database.hold("answer")
    async with running_core(database) as core:
        health = await _told(core)
        assert not health.dispatch
        assert f"the scheduler stands still since {BEGUN}" in health.message

        database.let_go("answer")
        while health != WELL:
            health = await _told(core, health)


async def test_a_database_that_cannot_be_read_stops_what_needs_it() -> None:
    async with running_core() as core:
        agent = FakeAgent(core)
        await agent.connect()
        core.database.failing.add("read")
        agent.say(make_ref("never heard of"), COMPLETED)

        health = await _told(core)
        assert "the response processor stands still" in health.message


async def test_a_database_that_cannot_be_written_is_told_of_with_its_reason_and_since_when() -> None:
    async with running_core() as core:
        core.database.failing.add("apply")
        health = await _told(core)
        assert (health.database, health.dispatch) == (False, True)
        assert health.message.startswith(f"the database cannot be written to since {BEGUN}")
        assert health.message.endswith(": the database is away")

        await asyncio.sleep(600)
        assert core.manager.health() == health
        core.database.failing.clear()
        assert await _told(core, health) == WELL


async def test_a_server_that_drains_says_so_at_once() -> None:
    async with running_core() as core:
        told = asyncio.ensure_future(core.manager.vitals.changed(WELL))
        await asyncio.sleep(0)
        await core.manager.drain()
        await asyncio.sleep(0)
        assert told.done()
        assert (told.result().draining, told.result().message) == (True, "the server is stopping")
        assert not told.result().is_ready


async def test_a_change_that_has_happened_meanwhile_is_not_waited_for() -> None:
    async with running_core() as core:
        await core.manager.drain()
        assert (await _told(core)).draining


async def test_a_pause_of_less_than_three_seconds_is_not_told_of() -> None:
    async with running_core() as core:
        told = asyncio.ensure_future(core.manager.vitals.changed(WELL))
        for _ in range(20):
            core.database.hold("apply")
            await asyncio.sleep(2.5)
            core.database.let_go("apply")
            await asyncio.sleep(1.5)
        assert not told.done()
        told.cancel()


async def test_while_it_hangs_nothing_piles_up() -> None:
    async with running_core() as core:
        core.database.hold("apply")
        await core.database.until_held("apply")
        await asyncio.sleep(600)
        before = len(core.database.deeds)
        core.database.let_go("apply")
        await asyncio.sleep(0.5)
        assert core.database.deeds[before:].count("apply") <= 1


@pytest.mark.parametrize("part", ["writer", "scheduler"])
async def test_whoever_stands_still_is_named_with_the_moment_of_its_last_turn(part: str) -> None:
    writer, scheduler = Wheel(), Wheel()
    async with _watching(writer, scheduler) as vitals:
        await asyncio.sleep(10.5)
        (writer if part == "writer" else scheduler).held = True
        async with asyncio.timeout(5):
            health = await vitals.changed(WELL)
        assert health.message in {f"the {part} stands still since {BEGUN}:{second}Z" for second in (10, 11)}
        assert (health.database, health.dispatch) == (part != "writer", part != "scheduler")


async def test_a_process_that_stood_still_as_a_whole_is_well_when_it_goes_on() -> None:
    clock = Suspended()
    async with _watching(Wheel(1.5), Wheel(1.5), clock) as vitals:
        await asyncio.sleep(10.5)
        told = asyncio.ensure_future(vitals.changed(WELL))
        clock.missed = 3600.0
        await asyncio.sleep(60)
        assert not told.done()
        told.cancel()


async def test_a_failure_that_is_over_before_anybody_looked_is_told_to_be_over() -> None:
    writer = Wheel()
    async with _watching(writer, Wheel()) as vitals:
        await asyncio.sleep(1.5)
        writer.failing, writer.failing_since = "away", EPOCH_MS
        seen = vitals.health()
        told = asyncio.ensure_future(vitals.changed(seen))
        await asyncio.sleep(0.1)
        writer.failing = ""
        async with asyncio.timeout(5):
            assert await told == WELL
