"""Submitting with the asynchronous client, against a real server: promises, refusals, bounds, and restarts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc
import pytest

from nodelink.client import AsyncClient, AsyncTaskHandle
from nodelink.errors import InvalidTask, LinkLost, Overloaded, StoreUnavailable
from nodelink.task import Outcome
from nodelink.v1 import task_pb2
from nodelink_server.store.disk import Disk
from tests.support.grpc_door import WAIT_SECONDS, GrpcDoor, grpc_door
from tests.support.http_door import ManualAgent


@pytest.fixture
async def door() -> AsyncIterator[GrpcDoor]:
    async with grpc_door() as door:
        yield door


@pytest.fixture
async def client(door: GrpcDoor) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(str(door.address), timeout=WAIT_SECONDS) as client:
        yield client


async def test_a_handle_is_a_promise_until_it_is_awaited(client: AsyncClient) -> None:
    handle = client.submit("echo", 1)
    with pytest.raises(asyncio.InvalidStateError, match="await the handle first"):
        _ = handle.id

    assert repr(handle) == "<TaskHandle echo, not accepted yet>"
    assert not handle.accepted()
    assert await handle is handle
    assert handle.accepted()
    assert (await client.get(handle.id)).payload == b"1"


async def test_it_may_be_awaited_by_many_and_giving_up_harms_none(client: AsyncClient) -> None:
    handle = client.submit("echo")
    waiters = [asyncio.create_task(handle.get()) for _ in range(3)]
    await asyncio.sleep(0)
    waiters[0].cancel()

    assert {task.id for task in await asyncio.gather(*waiters[1:])} == {(await handle).id}


async def test_a_loop_of_submits_rides_in_few_commits(door: GrpcDoor, client: AsyncClient) -> None:
    await client.submit("echo")
    before = door.switch.deeds.count("apply")
    handles = [client.submit("echo", number) for number in range(2_000)]
    await client.flush()

    assert len({handle.id for handle in handles}) == 2_000
    assert door.switch.deeds.count("apply") - before < 50
    assert [(await handles[n].get()).payload for n in (0, 1_999)] == [b"0", b"1999"]


async def test_an_idle_stream_is_ended_and_the_next_submission_opens_another(client: AsyncClient) -> None:
    calls: list[Any] = []
    open_stream = client._sender._open_stream

    def opened() -> Any:
        calls.append(open_stream())
        return calls[-1]

    client._sender._open_stream = opened
    await client.submit("echo")
    async with asyncio.timeout(WAIT_SECONDS):
        ended = await calls[0].code()

    assert ended is grpc.StatusCode.OK
    assert (await client.submit("echo")).accepted()
    assert len(calls) == 2


class BreaksAtTheFirstWrite:
    """A stream that ends while it is being written to: gRPC calls it an internal error of its own."""

    def __init__(self, call: Any) -> None:
        self._call = call
        self._broken = asyncio.Event()
        self._error = grpc.aio.AioRpcError(
            grpc.StatusCode.INTERNAL, grpc.aio.Metadata(), grpc.aio.Metadata(), "Internal error from Core", "debug"
        )
        self._answers = iter([task_pb2.StreamSubmitTasksResponse(submit_credit=10)])

    async def read(self) -> Any:
        """The credit, and then the error."""
        for answer in self._answers:
            return answer
        await self._broken.wait()
        raise self._error

    async def write(self, _frame: object) -> None:
        """Break."""
        self._broken.set()
        raise self._error

    def cancel(self) -> None:
        """End it."""
        self._call.cancel()


async def test_a_stream_that_ends_while_it_is_written_to_is_opened_again(client: AsyncClient) -> None:
    await client.agents()
    open_stream = client._sender._open_stream
    broken: list[Any] = []

    def opened() -> Any:
        if broken:
            return open_stream()
        broken.append(BreaksAtTheFirstWrite(open_stream()))
        return broken[0]

    client._sender._open_stream = opened
    async with asyncio.timeout(WAIT_SECONDS):
        assert (await client.submit("echo")).accepted()
    assert broken


async def test_one_refused_among_many_is_told_to_its_own_handle(client: AsyncClient) -> None:
    handles = [client.submit("nosuch" if number == 5 else "echo") for number in range(10)]
    outcomes: Sequence[AsyncTaskHandle | BaseException] = await asyncio.gather(*handles, return_exceptions=True)

    assert [number for number, outcome in enumerate(outcomes) if isinstance(outcome, InvalidTask)] == [5]
    assert sum(isinstance(outcome, AsyncTaskHandle) for outcome in outcomes) == 9
    await client.flush()


async def test_leaving_the_context_waits_for_all(door: GrpcDoor) -> None:
    async with AsyncClient(str(door.address)) as client:
        handles = [client.submit("echo") for _ in range(100)]

    assert all(handle.accepted() for handle in handles)


async def test_leaving_the_context_raises_a_refusal_that_nobody_has_looked_at(door: GrpcDoor) -> None:
    with pytest.raises(InvalidTask):
        async with AsyncClient(str(door.address)) as client:
            client.submit("nosuch")


async def test_an_error_on_the_way_out_is_not_hidden_by_a_refusal(door: GrpcDoor) -> None:
    accepted: list[AsyncTaskHandle] = []

    async def fail() -> None:
        async with AsyncClient(str(door.address)) as client:
            accepted.append(client.submit("echo"))
            client.submit("nosuch")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert accepted[0].accepted()


async def test_a_client_that_is_closed_says_so(door: GrpcDoor) -> None:
    client = AsyncClient(str(door.address))
    door.switch.hold()
    handle = client.submit("echo")
    waiting = asyncio.create_task(handle.get())
    await door.switch.held.wait()
    await client.close()
    door.switch.release()

    with pytest.raises(LinkLost, match="closed before"):
        await waiting
    with pytest.raises(LinkLost, match="this client is closed"):
        client.submit("echo")


async def test_whoever_waits_while_the_client_is_closed_is_told_so_and_not_cancelled(door: GrpcDoor) -> None:
    client = AsyncClient(str(door.address))
    handle = await client.submit("echo")
    waiting = [
        asyncio.ensure_future(handle.result()),
        asyncio.ensure_future(client.wait(handle.id)),
        asyncio.ensure_future(anext(client.watch(pool="empty"))),
    ]
    async with asyncio.timeout(WAIT_SECONDS):
        while door.manager.events.listeners < 1:  # noqa: ASYNC110 - nobody is told that somebody listens
            await asyncio.sleep(0.01)
        await client.close()
        told = await asyncio.gather(*waiting, return_exceptions=True)

    assert [(type(error), str(error)) for error in told] == [(LinkLost, "this client is closed")] * 3


async def test_a_closed_client_does_not_try_again(door: GrpcDoor) -> None:
    client = AsyncClient(str(door.address), timeout=10 * WAIT_SECONDS, patience=10 * WAIT_SECONDS)
    handle = await client.submit("echo")
    await client.close()

    async with asyncio.timeout(WAIT_SECONDS):
        for call in (client.get(handle.id), client.wait(handle.id), handle.result(), anext(client.watch())):
            with pytest.raises(LinkLost, match="this client is closed"):
                await call


async def test_being_cancelled_while_waiting_stays_what_it_is(client: AsyncClient) -> None:
    handle = await client.submit("echo")
    waiting = asyncio.create_task(handle.result())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_a_client_of_another_loop_says_so(client: AsyncClient) -> None:
    def elsewhere() -> None:
        asyncio.run(client.agents())

    await client.agents()
    with pytest.raises(RuntimeError, match="made in another event loop"):
        await asyncio.to_thread(elsewhere)


async def test_a_loop_that_never_waits_is_stopped_and_told_what_to_do(door: GrpcDoor) -> None:
    async with AsyncClient(str(door.address), most_unacknowledged=10) as client:
        for _ in range(10):
            client.submit("echo")
        with pytest.raises(Overloaded, match=r"await a handle now and then, or flush\(\)"):
            client.submit("echo")
        await client.flush()

        assert (await client.submit("echo")).accepted()


async def test_a_database_that_is_away_for_a_while_is_waited_for(door: GrpcDoor, client: AsyncClient) -> None:
    await client.submit("echo")
    door.switch.error = StoreUnavailable(retry_after=0.0)
    handle = client.submit("echo")
    deeds = len(door.switch.deeds)
    async with asyncio.timeout(WAIT_SECONDS):
        while len(door.switch.deeds) < deeds + 2:  # noqa: ASYNC110 - the store tells nobody that it was asked
            await asyncio.sleep(0.01)
    assert not handle.accepted()
    door.switch.error = None

    async with asyncio.timeout(WAIT_SECONDS):
        await handle


async def test_patience_ends_for_each_handle() -> None:
    async with grpc_door() as door:
        client = AsyncClient(str(door.address), patience=0.0)
        await client.submit("echo")
    handles = [client.submit("echo") for _ in range(3)]
    async with asyncio.timeout(WAIT_SECONDS):
        failures = await asyncio.gather(*handles, return_exceptions=True)
    await client.close()

    assert len(failures) == 3
    assert all(isinstance(failure, LinkLost | StoreUnavailable) for failure in failures)  # the latter: its last word


async def test_a_server_that_never_answered_is_not_waited_for() -> None:
    async with AsyncClient("127.0.0.1:1") as client:
        with pytest.raises(LinkLost, match=r"cannot reach the server at 127\.0\.0\.1:1"):
            await client.submit("echo")


async def test_over_a_restart_nothing_is_lost_and_nothing_doubled() -> None:
    disk = Disk()
    handles: list[AsyncTaskHandle] = []
    async with grpc_door(disk=disk) as door:
        address = door.address
        client = AsyncClient(str(address), timeout=WAIT_SECONDS)
        for number in range(100):
            handles.append(client.submit("echo", number))
            await asyncio.sleep(0)
        await handles[50]
        door.switch.hold()  # whatever comes now is unanswered when the server goes
        handles += [client.submit("echo", number) for number in range(100, 200)]
        await door.switch.held.wait()
        door.switch.release()
    handles += [client.submit("echo", number) for number in range(200, 300)]
    async with client, grpc_door(disk=disk, address=address), asyncio.timeout(3 * WAIT_SECONDS):
        await client.flush()
        tasks = [task async for task in client.iterate()]

    assert {task.id for task in tasks} == {handle.id for handle in handles}
    assert sorted(int(task.payload) for task in tasks) == list(range(300))


# --- waiting for many -----------------------------------------------------------------------------------------------


async def test_the_first_end_and_all_ends_are_told(door: GrpcDoor, client: AsyncClient) -> None:
    async with door.agent() as agent:
        first, second = client.submit("echo", 1), client.submit("echo", 2)
        await client.flush()
        refs = {(request := await agent.take()).ref.task_id: request.ref for _ in range(2)}
        agent.finish(refs[second.id], output=b"2")
        async with asyncio.timeout(WAIT_SECONDS):
            any_of_them = await client.wait_any([first, second])
        in_time = await client.wait_all([first, second], timeout=0)
        agent.finish(refs[first.id], outcome=Outcome.FAILED)
        async with asyncio.timeout(WAIT_SECONDS):
            both = await client.wait_all([first.id, second.id])

    assert [result.task_id for result in any_of_them] == [second.id]
    assert [result.task_id for result in in_time] == [second.id]
    assert [(result.task_id, result.succeeded) for result in both] == [(first.id, False), (second.id, True)]


@pytest.mark.parametrize("ordered", [True, False])
async def test_a_map_gives_a_result_for_each(door: GrpcDoor, client: AsyncClient, ordered: bool) -> None:
    async with door.agent(slots=4) as agent:
        working = asyncio.create_task(_echo(agent))
        async with asyncio.timeout(WAIT_SECONDS):
            results = client.map("echo", range(50), ordered=ordered, window=7, priority="HIGH")
            values = [result.value async for result in results]
        working.cancel()
        await asyncio.wait({working})

    assert (values if ordered else sorted(map(int, map(str, values)))) == list(range(50))


async def test_a_map_stops_at_what_is_refused(client: AsyncClient) -> None:
    with pytest.raises(InvalidTask):
        await anext(client.map("nosuch", [1]))


async def _echo(agent: ManualAgent) -> None:
    """Finish every task with its own payload."""
    while True:
        request = await agent.take()
        agent.finish(request.ref, output=request.payload)
