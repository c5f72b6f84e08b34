"""How long an attempt may run and be silent: in virtual time, without an attempt."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from nodelink.task import Reason
from nodelink_agent.deadlines import Deadlines
from tests.simulation.loop import VirtualLoop


class Stops:
    """When it was asked for which stops."""

    def __init__(self) -> None:
        self.heard: list[tuple[float, Reason]] = []
        self.deadlines = Deadlines(self._stop)

    def _stop(self, reason: Reason) -> None:
        self.heard.append((asyncio.get_running_loop().time(), reason))


def stops(course: Callable[[Deadlines], Awaitable[None]]) -> list[tuple[float, Reason]]:
    """The stops that are asked for during a course of things, and a minute after it. It begins at 0."""

    async def run() -> list[tuple[float, Reason]]:
        stops = Stops()
        await course(stops.deadlines)
        await asyncio.sleep(60)
        stops.deadlines.cancel()
        await asyncio.sleep(10_000)
        return stops.heard

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(run())


def test_without_limits_nothing_is_stopped() -> None:
    async def course(deadlines: Deadlines) -> None:
        assert (deadlines.run_until, deadlines.silent_seconds) == (None, 0)

    assert stops(course) == []


def test_a_run_is_stopped_when_its_time_is_up() -> None:
    async def course(deadlines: Deadlines) -> None:
        deadlines.run(5)
        assert deadlines.run_until == 5

    assert stops(course) == [(5, Reason.RUN_TIMEOUT)]


def test_a_run_may_be_made_longer_and_shorter() -> None:
    async def course(deadlines: Deadlines) -> None:
        deadlines.run(5)
        await asyncio.sleep(4)
        deadlines.run(50)
        await asyncio.sleep(6)
        deadlines.run(2)

    assert stops(course) == [(12, Reason.RUN_TIMEOUT)]


def test_silence_counts_from_the_last_sign_of_life() -> None:
    async def course(deadlines: Deadlines) -> None:
        deadlines.allow_silence(5)
        for _ in range(4):
            await asyncio.sleep(4)
            deadlines.sign()

    assert stops(course) == [(21, Reason.HEARTBEAT_TIMEOUT)]


def test_another_silence_counts_from_when_it_is_allowed() -> None:
    async def course(deadlines: Deadlines) -> None:
        deadlines.allow_silence(5)
        await asyncio.sleep(4)
        deadlines.allow_silence(30)
        assert deadlines.silent_seconds == 30

    assert stops(course) == [(34, Reason.HEARTBEAT_TIMEOUT)]


def test_a_shorter_silence_is_seen_to_in_time() -> None:
    async def course(deadlines: Deadlines) -> None:
        deadlines.allow_silence(50)
        await asyncio.sleep(4)
        deadlines.allow_silence(2)

    assert stops(course) == [(6, Reason.HEARTBEAT_TIMEOUT)]


def test_silence_passes_once() -> None:
    async def course(deadlines: Deadlines) -> None:
        deadlines.allow_silence(5)
        await asyncio.sleep(6)
        deadlines.allow_silence(5)

    assert stops(course) == [(5, Reason.HEARTBEAT_TIMEOUT)]


def test_what_is_cancelled_stops_nothing() -> None:
    async def course(deadlines: Deadlines) -> None:
        deadlines.run(100)
        deadlines.allow_silence(100)

    assert stops(course) == []
