"""When the brake is pulled: who counts as silent, for how long, and beside how many."""

from __future__ import annotations

import asyncio

from nodelink_server.core.brake import WINDOW_MS, Brake
from nodelink_server.core.clock import ControlTime
from tests.support.clock import LoopClock


def _brake() -> Brake:
    return Brake(control=ControlTime(LoopClock()), brake_ms=1_000)


def _lost(brake: Brake, *agents: str, connected: int = 0, pool: str = "default") -> list[bool]:
    return [brake.fell_silent(pool, agent, connected=connected) for agent in agents]


async def test_three_that_are_half_of_their_pool_pull_it_and_it_is_news_once() -> None:
    brake = _brake()
    assert _lost(brake, "a", "b", "c", "d", connected=3) == [False, False, True, False]
    assert brake.is_on("default")
    assert not brake.is_on("gpu")


async def test_fewer_than_half_pull_nothing() -> None:
    brake = _brake()
    assert _lost(brake, "a", "b", "c", connected=4) == [False, False, False]


async def test_one_that_is_lost_again_and_again_counts_once() -> None:
    brake = _brake()
    assert not any(_lost(brake, *["a", "b"] * 5))
    assert _lost(brake, "c") == [True]


async def test_who_has_come_back_counts_no_more() -> None:
    brake = _brake()
    _lost(brake, "a", "b")
    brake.came_back("default", "a")
    brake.came_back("default", "nobody")
    brake.came_back("elsewhere", "b")
    assert _lost(brake, "c") == [False]
    assert _lost(brake, "d") == [True]


async def test_after_a_minute_a_loss_counts_no_more_unless_it_was_repeated() -> None:
    clock = LoopClock()
    control = ControlTime(clock)
    brake = Brake(control=control, brake_ms=1_000)

    async def pass_by(ms: int) -> None:
        for _ in range(ms // 1_000):
            await asyncio.sleep(1)
            control.committed()

    _lost(brake, "a", "b")
    await pass_by(WINDOW_MS // 2)
    _lost(brake, "a")
    await pass_by(WINDOW_MS // 2)
    assert _lost(brake, "c") == [False]  # b is over, a is not
    assert _lost(brake, "d") == [True]
