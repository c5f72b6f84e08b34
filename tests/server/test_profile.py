"""Profiles: what they show, what they cost, and how they end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from nodelink.errors import Overloaded
from nodelink_server.profile import MOST_FRAMES, Profiler

SECONDS = 0.3


def spin(stop: threading.Event) -> None:
    """Be busy until told to stop."""
    while not stop.is_set():
        sum(range(1_000))


def dive(depth: int, stop: threading.Event) -> None:
    """Wait deep down."""
    if depth:
        dive(depth - 1, stop)
    else:
        stop.wait()


@contextmanager
def thread(name: str, target: object, *arguments: object) -> Iterator[None]:
    """A thread that lives as long as this."""
    stop = threading.Event()
    running = threading.Thread(name=name, target=target, args=(*arguments, stop))  # type: ignore[arg-type]
    running.start()
    try:
        yield
    finally:
        stop.set()
        running.join()


def read(folded: str) -> dict[tuple[str, ...], int]:
    """Stacks and how often each was seen."""
    lines = (line.rpartition(" ") for line in folded.splitlines())
    return {tuple(stack.split(";")): int(count) for stack, _, count in lines}


async def test_a_busy_function_shows_below_the_name_of_its_thread() -> None:
    with thread("busy one", spin):
        stacks = read(await Profiler().record(SECONDS))

    seen = {stack: count for stack, count in stacks.items() if stack[0] == "busy one"}
    assert sum(seen.values()) >= 3
    assert max(seen, key=seen.__getitem__)[-1].endswith(".spin")  # it may have been seen once while it was starting


async def test_idle_threads_show_where_they_wait_and_the_sampler_does_not_show_itself() -> None:
    stacks = read(await Profiler().record(SECONDS))

    assert any(stack[0] == "MainThread" and "select" in stack[-1] for stack in stacks)
    assert not [stack for stack in stacks if any("_Sampler" in name for name in stack)]


async def test_the_most_frequent_stack_comes_first() -> None:
    with thread("busy one", spin):
        counts = list(read(await Profiler().record(SECONDS)).values())

    assert counts == sorted(counts, reverse=True)


async def test_of_a_deep_stack_the_innermost_frames_are_kept() -> None:
    with thread("diver", dive, 2 * MOST_FRAMES):
        stacks = read(await Profiler().record(SECONDS))

    [stack] = [stack for stack in stacks if stack[0] == "diver"]
    assert len(stack) == MOST_FRAMES + 1
    assert stack[-1].endswith("wait")


async def test_one_profile_at_a_time_and_the_next_after_it() -> None:
    profiler = Profiler()
    first = asyncio.create_task(profiler.record(SECONDS))
    await asyncio.sleep(0)
    with pytest.raises(Overloaded) as refused:
        await profiler.record(SECONDS)
    assert refused.value.retry_after

    await first
    assert await profiler.record(SECONDS)


async def test_a_profile_that_nobody_wants_any_more_makes_room_at_once() -> None:
    profiler = Profiler()
    given_up = asyncio.create_task(profiler.record(50.0))
    await asyncio.sleep(0)
    given_up.cancel()
    await asyncio.gather(given_up, return_exceptions=True)

    async with asyncio.timeout(20):
        assert await profiler.record(SECONDS)
        assert "_Sampler" not in await profiler.record(SECONDS)  # the one that was given up has ended
