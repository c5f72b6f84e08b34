"""Deeds done one after the other, to their end, whoever has gone meanwhile."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from nodelink.errors import InvalidTask, Overloaded, StoreUnavailable
from nodelink_server.core.errands import MOST_WAITING, Errands


async def test_they_are_done_in_order_and_one_at_a_time() -> None:
    errands, done = Errands(), list[int]()

    async def deed(number: int) -> int:
        done.append(number)
        await asyncio.sleep(10 - number)
        done.append(number)
        return number

    async with asyncio.TaskGroup() as group:
        loop = group.create_task(errands.run())
        assert await asyncio.gather(*[errands.do(partial(deed, number)) for number in range(3)]) == [0, 1, 2]
        loop.cancel()
    assert done == [0, 0, 1, 1, 2, 2]


async def test_one_is_done_to_its_end_even_if_who_wanted_it_has_gone() -> None:
    errands, done = Errands(), list[str]()

    async def deed() -> None:
        await asyncio.sleep(5)
        done.append("done")

    async with asyncio.TaskGroup() as group:
        loop = group.create_task(errands.run())
        caller = group.create_task(errands.do(deed))
        await asyncio.sleep(1)
        caller.cancel()
        await asyncio.sleep(5)
        loop.cancel()
    assert done == ["done"]


async def test_what_one_refuses_harms_none_of_the_others() -> None:
    errands = Errands()

    async def refuse() -> None:
        raise InvalidTask(message="no")

    async def agree() -> str:
        return "yes"

    async with asyncio.TaskGroup() as group:
        loop = group.create_task(errands.run())
        outcomes = await asyncio.gather(errands.do(refuse), errands.do(agree), return_exceptions=True)
        loop.cancel()
    assert [type(outcome) for outcome in outcomes] == [InvalidTask, str]


async def test_whoever_waits_when_they_end_is_told() -> None:
    errands = Errands()

    async def deed() -> None:
        await asyncio.sleep(60)

    async with asyncio.TaskGroup() as group:
        loop = group.create_task(errands.run())
        waiting = [asyncio.ensure_future(errands.do(deed)) for _ in range(2)]
        await asyncio.sleep(1)
        loop.cancel()
    outcomes = await asyncio.gather(*waiting, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [StoreUnavailable, StoreUnavailable]
    with pytest.raises(StoreUnavailable):
        await errands.do(deed)


async def test_too_many_that_wait_are_refused() -> None:
    errands = Errands()

    async def deed() -> None:
        pass

    waiting = [asyncio.ensure_future(errands.do(deed)) for _ in range(MOST_WAITING)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded) as refused:
        await errands.do(deed)
    assert refused.value.retry_after is not None

    async with asyncio.TaskGroup() as group:
        loop = group.create_task(errands.run())
        await asyncio.gather(*waiting)
        loop.cancel()
