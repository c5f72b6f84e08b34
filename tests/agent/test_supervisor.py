"""How an agent stays linked, and how it leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest

from nodelink.task import AckDisposition, AttemptRef, Declined, Finished, Outcome, Reason, ResultAck
from nodelink_agent.pool import Pool
from nodelink_agent.supervisor import Supervisor
from tests.support.agent_parts import Manual, make_link, open_pool
from tests.support.fake_server import FakeServer, FakeSession, soon

A = AttemptRef("a", 1, 10)
B = AttemptRef("b", 1, 11)


class Numbers:
    """Session numbers that live in memory."""

    def __init__(self) -> None:
        self.last = 0

    def next_session(self) -> int:
        self.last += 1
        return self.last

    def raise_session(self, last: int) -> None:
        self.last = last


@pytest.fixture
async def server() -> AsyncIterator[FakeServer]:
    async with FakeServer().running() as running:
        yield running


@asynccontextmanager
async def supervised(
    server: FakeServer, pool: Pool, stop: asyncio.Event, *, shutdown_grace: float = 30.0, leave: bool = False
) -> AsyncIterator[asyncio.Task[None]]:
    """A supervisor under way, and broken off in the end if it has not ended by itself."""
    supervisor = Supervisor(
        pool=pool,
        sessions=Numbers(),
        dial=lambda number: make_link(server.address, pool, session=number),
        random=lambda: 0.0,
        shutdown_grace=shutdown_grace,
        leave=leave,
    )
    task = asyncio.create_task(supervisor.run(stop))
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def opened(server: FakeServer) -> FakeSession:
    session = await server.session()
    await session.welcome()
    return session


async def test_a_lost_link_is_replaced_under_a_greater_number(server: FakeServer, tmp_path: Path) -> None:
    async with open_pool(tmp_path) as pool, supervised(server, pool, asyncio.Event()):
        numbers = []
        for _ in range(3):
            session = await opened(server)
            numbers.append(session.hello.session)
            session.cut()
    assert numbers == [1, 2, 3]


async def test_a_refused_session_number_is_raised_beyond_the_servers(server: FakeServer, tmp_path: Path) -> None:
    async with open_pool(tmp_path) as pool, supervised(server, pool, asyncio.Event()):
        refused = await server.session()
        refused.refuse(grpc.StatusCode.FAILED_PRECONDITION, "too small", ("nodelink-last-session", "41"))
        session = await server.session()
    assert session.hello.session == 42


async def test_an_idle_agent_leaves_with_a_goodbye(server: FakeServer, tmp_path: Path) -> None:
    stop = asyncio.Event()
    async with open_pool(tmp_path) as pool, supervised(server, pool, stop) as task:
        session = await opened(server)
        await soon(session.credits.get())
        stop.set()
        assert (await soon(session.goodbyes.get())).idle
        await soon(task)
    assert not server.has_caller


async def test_a_draining_agent_finishes_what_it_has_and_declines_the_rest(server: FakeServer, tmp_path: Path) -> None:
    stop, manual = asyncio.Event(), Manual()
    async with open_pool(tmp_path, manual.entry) as pool, supervised(server, pool, stop) as task:
        session = await opened(server)
        await session.give(A, type="manual")
        await manual.begun("a")
        await session.response()
        stop.set()
        while not (await soon(session.heartbeats.get())).draining:
            pass
        await session.give(B, type="manual")
        declined = await session.response()
        assert declined.ref == B
        assert isinstance(declined.update, Declined)
        manual.end("a")
        finished = await session.response()
        assert isinstance(finished.update, Finished)
        assert finished.update.outcome is Outcome.COMPLETED
        await session.ack(*(ResultAck(ref, AckDisposition.COMMITTED) for ref in (A, B)))
        assert (await soon(session.goodbyes.get())).idle
        await soon(task)


async def test_work_that_outlasts_the_grace_is_stopped_and_blamed_on_the_agent(
    server: FakeServer, tmp_path: Path
) -> None:
    stop, manual = asyncio.Event(), Manual()
    async with open_pool(tmp_path, manual.entry) as pool, supervised(server, pool, stop, shutdown_grace=0) as task:
        session = await opened(server)
        await session.give(A, type="manual")
        await manual.begun("a")
        stop.set()
        while not isinstance(update := (await session.response()).update, Finished):
            pass
        assert (update.outcome, update.reason) == (Outcome.FAILED, Reason.INFRASTRUCTURE)
        await session.ack(ResultAck(A, AckDisposition.COMMITTED))
        await soon(task)


async def test_a_drain_goes_on_over_a_lost_link(server: FakeServer, tmp_path: Path) -> None:
    stop, manual = asyncio.Event(), Manual()
    async with open_pool(tmp_path, manual.entry) as pool, supervised(server, pool, stop) as task:
        session = await opened(server)
        await session.give(A, type="manual")
        await manual.begun("a")
        stop.set()
        await soon(session.heartbeats.get())
        session.cut()
        session = await opened(server)
        assert (await soon(session.heartbeats.get())).draining
        manual.end("a")
        await session.response()
        await session.ack(ResultAck(A, AckDisposition.COMMITTED))
        await soon(session.goodbyes.get())
        await soon(task)


async def test_what_goes_on_without_the_agent_is_not_waited_for_and_the_rest_is(
    server: FakeServer, tmp_path: Path
) -> None:
    stop, manual = asyncio.Event(), Manual()
    async with open_pool(tmp_path, manual.entry) as pool, supervised(server, pool, stop, leave=True) as task:
        session = await opened(server)
        await session.give(A, B, type="manual")
        (await manual.begun("a")).outlives(True)
        await manual.begun("b")
        stop.set()
        while not (await soon(session.heartbeats.get())).draining:
            pass
        assert session.goodbyes.empty()
        manual.end("b")
        while not isinstance((response := await session.response()).update, Finished):
            pass
        assert response.ref == B
        await session.ack(ResultAck(B, AckDisposition.COMMITTED))
        assert not (await soon(session.goodbyes.get())).idle
        await soon(task)
        assert not manual.contexts["a"].cancelled


async def test_after_the_grace_what_goes_on_without_the_agent_is_not_stopped(
    server: FakeServer, tmp_path: Path
) -> None:
    stop, manual = asyncio.Event(), Manual()
    async with (
        open_pool(tmp_path, manual.entry) as pool,
        supervised(server, pool, stop, shutdown_grace=0.0, leave=True) as task,
    ):
        session = await opened(server)
        await session.give(A, B, type="manual")
        (await manual.begun("a")).outlives(True)
        await manual.begun("b")
        stop.set()
        while not isinstance((response := await session.response()).update, Finished):
            pass
        assert (response.ref, response.update.reason) == (B, Reason.INFRASTRUCTURE)
        await session.ack(ResultAck(B, AckDisposition.COMMITTED))
        await soon(task)
        assert not manual.contexts["a"].cancelled


async def test_an_agent_comes_again_when_the_server_said(server: FakeServer, tmp_path: Path) -> None:
    async with open_pool(tmp_path) as pool, supervised(server, pool, asyncio.Event()):
        for code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.FAILED_PRECONDITION):
            session = await server.session()
            session.refuse(code, "not now", ("nodelink-retry-after-ms", "1"))
        assert (await server.session()).hello.session == 3
