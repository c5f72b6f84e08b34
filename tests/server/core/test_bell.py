"""What one task waits for."""

from __future__ import annotations

import asyncio

from nodelink_server.core.bell import Bell


async def test_who_waits_goes_on_when_it_is_rung() -> None:
    bell = Bell()
    waiting = asyncio.ensure_future(bell.wait())
    await asyncio.sleep(1)
    assert not waiting.done()

    bell.ring()
    bell.ring()
    await waiting


async def test_who_comes_after_it_was_rung_does_not_wait_until_it_is_stilled() -> None:
    bell = Bell()
    bell.ring()
    await bell.wait()
    await bell.wait()

    bell.still()
    waiting = asyncio.ensure_future(bell.wait())
    await asyncio.sleep(1)
    assert not waiting.done()
    waiting.cancel()


async def test_it_is_rung_for_the_next_one_if_the_one_that_waited_is_gone() -> None:
    bell = Bell()
    gone = asyncio.ensure_future(bell.wait())
    await asyncio.sleep(0)
    gone.cancel()
    bell.ring()
    await asyncio.gather(gone, return_exceptions=True)

    await bell.wait()
