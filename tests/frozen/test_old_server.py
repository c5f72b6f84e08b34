"""Today's agent at a server of protocol 1, which knows no offers, leases or instances: it does its work as before."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from nodelink.errors import LinkLost
from nodelink_agent.pool import Pool
from tests.support.agent_parts import Manual, make_link, open_pool
from tests.support.frozen import Protocol
from tests.support.old_server import OldServer, OldSession, old_server

ONE = Protocol(1)
A, B = ("a", 1, 11), ("b", 1, 12)
RUNNING, ENDED = (ONE.type("HeldAttempt")(state=f"HELD_STATE_{name}").state for name in ("RUNNING", "ENDED"))


@pytest.fixture
async def server() -> AsyncIterator[OldServer]:
    async with old_server(ONE) as server:
        yield server


@asynccontextmanager
async def linked(server: OldServer, pool: Pool, *, session: int = 1) -> AsyncIterator[OldSession]:
    """A link of today's agent, and the server's side of it. It may end as the test wishes."""
    link = make_link(server.address, pool, session=session)
    carrying = asyncio.create_task(link.run())
    try:
        yield await server.session()
    finally:
        carrying.cancel()
        await asyncio.gather(carrying, return_exceptions=True)


async def test_its_hello_is_understood_and_offers_protocol_1(server: OldServer, tmp_path: Path) -> None:
    async with open_pool(tmp_path) as pool, linked(server, pool) as session:
        assert session.hello.protocol_min <= 1 <= session.hello.protocol_max
        assert (session.hello.name, session.hello.session, session.hello.slots) == ("agent", 1, 5)


@pytest.mark.parametrize("execution", ["EXECUTION_REPLAYABLE", "EXECUTION_ONCE"])
async def test_a_granted_task_is_run_and_its_result_is_sent(server: OldServer, tmp_path: Path, execution: str) -> None:
    async with open_pool(tmp_path) as pool, linked(server, pool) as session:
        await session.welcome()
        await session.when(lambda: next((frame for frame in session.frames if frame.task_credit), None))
        await session.give(A, type="echo", payload=b'{"n": 1}', execution=execution)
        finished = await session.response(A, "finished")
        await session.acknowledge(A)
        async with asyncio.timeout(10):
            await pool.until(lambda: pool.core.is_idle)

    assert finished.output == b'{"n": 1}'


async def test_work_without_a_lease_goes_on_and_nothing_new_is_said(server: OldServer, tmp_path: Path) -> None:
    manual = Manual()
    async with open_pool(tmp_path, manual.entry) as pool, linked(server, pool) as session:
        await session.welcome(interval_ms=20)
        await session.when(lambda: next((frame for frame in session.frames if frame.task_credit), None))
        await session.give(A, type="manual", execution="EXECUTION_REPLAYABLE")
        await session.response(A, "started")
        beats = [(await session.beat()).number]
        await session.when(lambda: next((f for f in session.frames if f.heartbeat.number > beats[0] + 3), None))
        manual.end("a")
        await session.response(A, "finished")

        assert [response.WhichOneof("update") for response in session.responses()] == ["started", "finished"]


async def test_what_runs_and_what_has_ended_is_told_to_it_again(server: OldServer, tmp_path: Path) -> None:
    manual = Manual()
    async with open_pool(tmp_path, manual.entry) as pool:
        async with linked(server, pool) as session:
            await session.welcome()
            await session.when(lambda: next((frame for frame in session.frames if frame.task_credit), None))
            await session.give(A, type="manual")
            await session.give(B, type="echo", execution="EXECUTION_REPLAYABLE")
            await session.response(A, "started")
            await session.response(B, "finished")
            session.cut()
        async with linked(server, pool, session=2) as session:
            held = {attempt.ref.task_id: attempt.state for attempt in session.hello.held}
            assert held == {"a": RUNNING, "b": ENDED}
            await session.welcome((A, "VERDICT_ACTION_KEEP"), (B, "VERDICT_ACTION_KEEP"))
            await session.response(B, "finished")
            manual.end("a")
            await session.response(A, "finished")


async def test_a_stop_is_obeyed(server: OldServer, tmp_path: Path) -> None:
    manual = Manual()
    async with open_pool(tmp_path, manual.entry) as pool, linked(server, pool) as session:
        await session.welcome()
        await session.when(lambda: next((frame for frame in session.frames if frame.task_credit), None))
        await session.give(A, type="manual")
        await session.response(A, "started")
        ref = dict(zip(("task_id", "attempt", "fence"), A, strict=True))
        await session.send(cancels=[{"ref": ref, "reason": "cancelled_by_caller"}])
        finished = await session.response(A, "finished")

    assert finished.reason == "cancelled_by_caller"


async def test_the_servers_goodbye_ends_the_link(server: OldServer, tmp_path: Path) -> None:
    async with open_pool(tmp_path) as pool:
        link = make_link(server.address, pool)
        carrying = asyncio.create_task(link.run())
        session = await server.session()
        await session.welcome()
        await session.send(goodbye={"reason": "the server stops"})
        with pytest.raises(LinkLost, match="the server stops"):
            await carrying
