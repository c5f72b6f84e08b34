"""Acknowledgements ride with other frames, and do not wait long for one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from nodelink.task import AckDisposition, ResultAck
from nodelink_server.clock import SystemClock
from nodelink_server.core.delayed_acks import MOMENT_SECONDS, DelayedAcks
from nodelink_server.core.session import RESPONSE_WINDOW_FRAMES, AgentSession, Outgoing
from tests.support.core_parts import make_ref, make_session

ACKS = (ResultAck(make_ref("t0"), AckDisposition.COMMITTED),)


@pytest.fixture
async def delayed() -> AsyncIterator[DelayedAcks]:
    delayed = DelayedAcks(SystemClock())
    running = asyncio.ensure_future(delayed.run())
    yield delayed
    running.cancel()


def speaking(session: AgentSession) -> asyncio.Future[Outgoing]:
    return asyncio.ensure_future(session.outgoing())


async def test_an_acknowledgement_waits_a_moment_and_no_longer(delayed: DelayedAcks) -> None:
    session = make_session(on_owed=delayed.owe)
    frame = speaking(session)

    session.ack_results(ACKS)
    session.give_response_credit(1)
    await asyncio.sleep(MOMENT_SECONDS / 2)
    assert not frame.done()

    await asyncio.sleep(MOMENT_SECONDS)
    assert (await frame).result_acks == [*ACKS]


async def test_each_acknowledgement_has_a_moment_of_its_own(delayed: DelayedAcks) -> None:
    session = make_session(on_owed=delayed.owe)
    for _ in range(3):
        session.ack_results(ACKS)
        began = asyncio.get_running_loop().time()
        await session.outgoing()
        assert asyncio.get_running_loop().time() - began == pytest.approx(MOMENT_SECONDS)


async def test_it_rides_with_whatever_is_said_before(delayed: DelayedAcks) -> None:
    session = make_session(on_owed=delayed.owe)
    session.ack_results(ACKS)
    session.give_response_credit(1)
    session.heartbeat(1, load=0, draining=False)

    frame = await session.outgoing()
    assert frame.result_acks == [*ACKS]
    assert frame.response_credit == RESPONSE_WINDOW_FRAMES + 1

    again = speaking(session)
    await asyncio.sleep(2 * MOMENT_SECONDS)
    assert not again.done(), "nothing is owed any more"


async def test_an_agent_that_runs_out_of_credit_does_not_wait(delayed: DelayedAcks) -> None:
    session = make_session(on_owed=delayed.owe)
    began = asyncio.get_running_loop().time()
    for _ in range(RESPONSE_WINDOW_FRAMES // 2 + 1):
        session.count_response_frame()
        session.give_response_credit(1)

    assert (await session.outgoing()).response_credit == RESPONSE_WINDOW_FRAMES + RESPONSE_WINDOW_FRAMES // 2 + 1
    assert asyncio.get_running_loop().time() == began


async def test_an_agent_that_is_about_to_leave_does_not_wait(delayed: DelayedAcks) -> None:
    session = make_session(on_owed=delayed.owe)
    session.heartbeat(1, load=0, draining=True)
    await session.outgoing()
    began = asyncio.get_running_loop().time()

    session.ack_results(ACKS)

    assert (await session.outgoing()).result_acks == [*ACKS]
    assert asyncio.get_running_loop().time() == began
