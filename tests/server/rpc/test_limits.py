"""Messages that are just too large: what comes is refused by name, and what is answered always fits."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import chain
from typing import Any

import grpc
import pytest

from nodelink.errors import TooLarge
from nodelink.task import LogStream, Outcome
from nodelink.v1 import admin_pb2, task_pb2
from nodelink_server.rpc.messages import MAX_MESSAGE_BYTES, READABLE_BYTES, writer
from tests.support.grpc_door import WAIT_SECONDS, GrpcDoor, grpc_door, reason_of, refusal

EOF: Any = vars(grpc.aio)["EOF"]
RAW: Any = {"request_serializer": None, "response_deserializer": None}
METADATA = {f"{number:02}" + "\U0001f600" * 1_000: "\U0001f600" * 1_000 for number in range(64)}
"""As much as a task may carry, and more bytes than its payload."""


@pytest.fixture
async def door() -> AsyncIterator[GrpcDoor]:
    async with grpc_door() as door:
        yield door


def request_of(size: int) -> bytes:
    """A request to get a task, made exactly so large by its id."""
    length = size - len(task_pb2.GetTaskRequest(task_id="x" * size).SerializeToString()) + size
    raw = task_pb2.GetTaskRequest(task_id="x" * length).SerializeToString()
    assert len(raw) == size
    return raw


async def test_the_largest_request_is_read(door: GrpcDoor) -> None:
    call = door.channel.unary_unary("/nodelink.v1.TaskService/GetTask", **RAW)
    code, _ = await refusal(call(request_of(MAX_MESSAGE_BYTES), timeout=WAIT_SECONDS))

    assert code is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("size", [MAX_MESSAGE_BYTES + 1, READABLE_BYTES])
async def test_a_request_that_is_too_large_is_refused_by_name(door: GrpcDoor, size: int) -> None:
    call = door.channel.unary_unary("/nodelink.v1.TaskService/GetTask", **RAW)
    code, status = await refusal(call(request_of(size), timeout=WAIT_SECONDS))

    assert (code, reason_of(status)) == (grpc.StatusCode.INVALID_ARGUMENT, "TOO_LARGE")
    assert f"{MAX_MESSAGE_BYTES:,}" in status.message


async def test_a_request_beyond_all_measure_is_refused_by_grpc_itself(door: GrpcDoor) -> None:
    call = door.channel.unary_unary("/nodelink.v1.TaskService/GetTask", **RAW)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call(request_of(READABLE_BYTES + 1), timeout=WAIT_SECONDS)

    assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_frame_of_submissions_that_is_too_large_ends_its_stream_by_name(door: GrpcDoor) -> None:
    large = task_pb2.SubmitTaskRequest(spec=task_pb2.TaskSpec(type="echo", payload=b"1" * 250_000))
    stream = door.tasks.StreamSubmitTasks(timeout=WAIT_SECONDS)
    await stream.read()
    await stream.write(task_pb2.StreamSubmitTasksRequest(requests=[large] * 17))
    code, status = await refusal(stream.read())

    assert (code, reason_of(status)) == (grpc.StatusCode.INVALID_ARGUMENT, "TOO_LARGE")


def test_an_answer_that_nobody_could_read_is_not_sent() -> None:
    write = writer(bytes)

    assert len(write(MAX_MESSAGE_BYTES)) == MAX_MESSAGE_BYTES
    with pytest.raises(TooLarge, match="ask for less"):
        write(MAX_MESSAGE_BYTES + 1)


async def test_more_agents_than_a_message_can_hold_are_refused_by_name(door: GrpcDoor) -> None:
    for number in range(20):
        async with door.agent(agent_id=f"a{number}", labels=METADATA):
            pass
    code, status = await refusal(door.agents.ListAgents(admin_pb2.ListAgentsRequest()))
    some = await door.agents.ListAgents(admin_pb2.ListAgentsRequest(pool="other"))

    assert (code, reason_of(status)) == (grpc.StatusCode.INVALID_ARGUMENT, "TOO_LARGE")
    assert not some.agents


async def test_a_page_of_tasks_ends_before_its_metadata_makes_it_too_large(door: GrpcDoor) -> None:
    ids = [await door.submit(metadata=METADATA) for _ in range(20)]
    pages: list[list[str]] = []
    token = "first"
    while token:
        request = task_pb2.ListTasksRequest(page_size=100, page_token=token if pages else "")
        page = await door.tasks.ListTasks(request, timeout=WAIT_SECONDS)
        pages.append([task.id for task in page.tasks])
        token = page.next_page_token

    assert [*chain.from_iterable(pages)] == ids[::-1]
    assert len(pages) > 1


async def test_results_come_as_many_as_fit_and_the_others_when_asked_again(door: GrpcDoor) -> None:
    output = b'"' + b"x" * 900_000 + b'"'
    async with door.agent() as agent:
        ids = [await door.submit() for _ in range(8)]
        for _ in ids:
            agent.finish((await agent.take()).ref, output=output)
        await door.tasks.WaitTask(task_pb2.WaitTaskRequest(task_id=ids[-1]), timeout=WAIT_SECONDS)
    rounds: list[list[str]] = []
    while left := ids[sum(map(len, rounds)) :]:
        request = task_pb2.WaitTasksRequest(task_ids=left, all=True)
        answer = await door.tasks.WaitTasks(request, timeout=WAIT_SECONDS)
        rounds.append([result.task_id for result in answer.results if result.output == output])

    assert [*chain.from_iterable(rounds)] == ids
    assert len(rounds) > 1


async def test_output_that_no_text_can_hold_reaches_those_who_watch(door: GrpcDoor) -> None:
    async with door.agent() as agent:
        task_id = await door.submit("shell", b'{"command":["true"]}')
        ref = (await agent.take()).ref
        agent.start(ref)
        call = door.tasks.WatchTasks(task_pb2.WatchTasksRequest(task_id=task_id), timeout=WAIT_SECONDS)
        await call.read()
        for _ in range(32):
            agent.write(ref, LogStream.STDOUT, b"\xff" * (64 * 1024))
        agent.finish(ref, outcome=Outcome.COMPLETED)
        names: list[str] = []
        while "task.completed" not in names:
            frame = await call.read()
            assert frame is not EOF
            assert frame.ByteSize() < MAX_MESSAGE_BYTES
            names += [event.name for event in frame.events]
        call.cancel()

    assert names.count("task.output") == 32


async def test_output_of_many_tiny_pieces_comes_in_messages_that_fit(door: GrpcDoor) -> None:
    async with door.agent() as agent:
        task_id = await door.submit("shell", b'{"command":["true"]}')
        ref = (await agent.take()).ref
        agent.start(ref)
        for number in range(3_000):
            agent.write(ref, LogStream.STDOUT, b"", gap=1) if number % 2 else agent.write(ref, LogStream.STDERR, b"x")
        agent.finish(ref)
        request = task_pb2.ReadTaskLogsRequest(task_id=task_id, follow=True)
        total = 0
        async with asyncio.timeout(WAIT_SECONDS):
            async for page in door.tasks.ReadTaskLogs(request):
                total += len(page.parts)

    assert (total, page.complete) == (3_000, True)


async def test_a_thousand_long_refusals_fit_into_one_answer(door: GrpcDoor) -> None:
    odd = "\U0001f600" * 63
    wrong = task_pb2.SubmitTaskRequest(spec=task_pb2.TaskSpec(type=odd, pool=odd, payload=b"{", metadata={"": odd}))
    batch = task_pb2.BatchSubmitTasksRequest(requests=[wrong] * 1_000)
    answer = await door.tasks.BatchSubmitTasks(batch, timeout=WAIT_SECONDS)

    assert {outcome.refusal.code for outcome in answer.outcomes} == {"INVALID"}
