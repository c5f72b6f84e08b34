"""The virtual loop: time that jumps, an order that a seed decides, and errors that nobody can miss."""

from __future__ import annotations

import asyncio

import pytest

from tests.simulation.loop import Deadlock, VirtualLoop, process_context, run_virtually, virtual_loop


async def _sleepers(count: int) -> list[int]:
    order: list[int] = []

    async def sleeper(number: int) -> None:
        await asyncio.sleep(1)
        order.append(number)

    async with asyncio.TaskGroup() as group:
        for number in range(count):
            group.create_task(sleeper(number))
    return order


def test_an_hour_passes_at_once_and_is_seen_by_the_clock() -> None:
    async def main() -> float:
        await asyncio.sleep(3600)
        return asyncio.get_running_loop().time()

    assert run_virtually(main()) == 3600


def test_timers_fire_in_the_order_of_their_times() -> None:
    async def main() -> list[float]:
        fired: list[float] = []
        for delay in (3.0, 1.0, 2.0):
            asyncio.get_running_loop().call_later(delay, fired.append, delay)
        await asyncio.sleep(5)
        return fired

    assert run_virtually(main(), seed=1) == [1.0, 2.0, 3.0]


def test_what_is_ready_at_one_time_runs_in_an_order_that_the_seed_decides() -> None:
    orders = [tuple(run_virtually(_sleepers(10), seed=seed)) for seed in range(5)]

    assert len(set(orders)) == 5
    assert orders[3] == tuple(run_virtually(_sleepers(10), seed=3))


def test_without_a_seed_what_is_ready_runs_in_turn() -> None:
    async def main() -> list[int]:
        ran: list[int] = []
        for number in range(10):
            asyncio.get_running_loop().call_soon(ran.append, number)
        await asyncio.sleep(1)
        return ran

    assert run_virtually(main()) == list(range(10))


def test_a_run_that_can_never_end_is_an_error() -> None:
    with pytest.raises(Deadlock):
        run_virtually(_waiting_for_nothing())


async def _waiting_for_nothing() -> None:
    await asyncio.Event().wait()


def test_an_error_in_a_callback_fails_the_run() -> None:
    async def main() -> None:
        asyncio.get_running_loop().call_soon(int, "no number")
        await asyncio.sleep(1)

    with pytest.raises(ValueError, match="no number"):
        run_virtually(main())


def test_a_timeout_is_virtual_as_well() -> None:
    async def main() -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(50):
                await _waiting_for_nothing()
        return asyncio.get_running_loop().time()

    assert run_virtually(main()) == 50


def test_a_cancelled_timer_does_not_move_the_clock() -> None:
    async def main() -> float:
        asyncio.get_running_loop().call_later(100, int).cancel()
        await asyncio.sleep(1)
        return asyncio.get_running_loop().time()

    loop = VirtualLoop()
    assert loop.run_until_complete(main()) == 1
    loop.close()


async def _tick(ticks: list[float]) -> None:
    while True:
        await asyncio.sleep(1)
        ticks.append(asyncio.get_running_loop().time())


def test_nothing_of_a_stalled_process_runs_until_it_goes_on() -> None:
    async def main() -> tuple[list[float], list[float]]:
        loop = virtual_loop()
        stalled: list[float] = []
        free: list[float] = []
        tasks = [
            loop.create_task(_tick(stalled), context=process_context("one")),
            loop.create_task(_tick(free), context=process_context("other")),
        ]
        await asyncio.sleep(2.5)
        loop.stall("one")
        await asyncio.sleep(3)
        loop.go_on("one")
        await asyncio.sleep(1.2)
        for task in tasks:
            task.cancel()
        return stalled, free

    stalled, free = run_virtually(main())

    assert stalled == [1, 2, 5.5, 6.5]
    assert free == [1, 2, 3, 4, 5, 6]


def test_a_run_may_end_while_a_process_is_stalled() -> None:
    async def main() -> str:
        loop = virtual_loop()
        loop.create_task(_tick([]), context=process_context("one"))
        loop.stall("one")
        await asyncio.sleep(5)
        return "over"

    assert run_virtually(main()) == "over"
