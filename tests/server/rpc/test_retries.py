"""Automatic retries over gRPC: what a policy means, how each attempt ended, and the output of all of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2

from nodelink.task import AttemptRef, ErrorCategory, LogStream, Outcome, Reason, TaskError
from nodelink.v1 import task_pb2
from tests.support.doubts import until_told
from tests.support.grpc_door import WAIT_SECONDS, GrpcDoor, detail, grpc_door, reason_of, refusal
from tests.support.http_door import ManualAgent

AT_ONCE = task_pb2.RetryPolicy(initial=Duration())
IN_AN_HOUR = task_pb2.RetryPolicy(initial=Duration(seconds=3600), max=Duration(seconds=3600))


@pytest.fixture
async def door() -> AsyncIterator[GrpcDoor]:
    async with grpc_door() as door:
        yield door


async def shown(door: GrpcDoor, task_id: str) -> task_pb2.Task:
    """A task as it stands."""
    response = await door.tasks.GetTask(task_pb2.GetTaskRequest(task_id=task_id), timeout=WAIT_SECONDS)
    task: task_pb2.Task = response.task
    return task


async def begin(agent: ManualAgent) -> AttemptRef:
    """Let the next attempt begin, and say which one it is."""
    ref = (await agent.take()).ref
    agent.start(ref)
    agent.write(ref, LogStream.STDOUT, f"try {ref.attempt}\n".encode())
    return ref


def fail(agent: ManualAgent, ref: AttemptRef) -> None:
    """Let an attempt fail."""
    error = TaskError(ErrorCategory.EXIT_CODE, "exit code 75")
    agent.finish(ref, outcome=Outcome.FAILED, reason=Reason.EXIT_CODE, exit_code=75, error=error)


async def test_a_policy_is_shown_with_its_defaults(door: GrpcDoor) -> None:
    task = await shown(door, await door.submit(retry=task_pb2.RetryPolicy()))
    without = await shown(door, await door.submit())

    assert (task.spec.retry.max_attempts, task.spec.retry.multiplier, [*task.spec.retry.on]) == (3, 2.0, [])
    assert (task.spec.retry.initial.ToMilliseconds(), task.spec.retry.max.ToMilliseconds()) == (1_000, 300_000)
    assert not without.spec.HasField("retry")
    assert (without.failures, without.HasField("retry_at")) == (0, False)


@pytest.mark.parametrize(
    "policy, field",
    [
        (task_pb2.RetryPolicy(max_attempts=101), "retry.max_attempts"),
        (task_pb2.RetryPolicy(initial=Duration(nanos=-1_000_000)), "retry.initial"),
        (task_pb2.RetryPolicy(max=Duration(nanos=999_000_000)), "retry.max"),
        (task_pb2.RetryPolicy(multiplier=float("nan")), "retry.multiplier"),
        (task_pb2.RetryPolicy(on=["timeout", "boredom"]), "retry.on[1]"),
    ],
)
async def test_a_policy_that_cannot_be_is_refused_by_its_field(
    door: GrpcDoor, policy: task_pb2.RetryPolicy, field: str
) -> None:
    spec = task_pb2.TaskSpec(type="echo", payload=b"1", retry=policy)
    code, status = await refusal(door.tasks.SubmitTask(task_pb2.SubmitTaskRequest(spec=spec)))
    [wrong] = detail(status, error_details_pb2.BadRequest).field_violations

    assert (code, reason_of(status), wrong.field) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID", field)


async def test_a_task_that_waits_for_its_next_try_says_how_it_failed_and_when_that_is(door: GrpcDoor) -> None:
    async with door.agent() as agent:
        task_id = await door.submit(retry=IN_AN_HOUR)
        fail(agent, await begin(agent))
        await until_told(door.manager, task_id, "task.retrying")
        task = await shown(door, task_id)

    assert (task.status, task.reason, task.failures) == (task_pb2.TASK_STATUS_SCHEDULED, "retry", 1)
    assert task.retry_at.ToMilliseconds() >= task.attempts[0].finished_at.ToMilliseconds()
    [attempt] = task.attempts
    assert (attempt.state, attempt.reason, attempt.message) == ("failed", "exit_code", "exit code 75")
    assert (attempt.exit_code, attempt.HasField("signal")) == (75, False)


async def test_who_follows_the_output_reads_every_attempt_and_which_it_is(door: GrpcDoor) -> None:
    def output(**which: Any) -> Any:
        return door.tasks.ReadTaskLogs(task_pb2.ReadTaskLogsRequest(task_id=task_id, **which), timeout=WAIT_SECONDS)

    async with door.agent() as agent:
        task_id = await door.submit(retry=AT_ONCE)
        first = await begin(agent)
        following = aiter(output(follow=True))
        pages = [await anext(following)]
        fail(agent, first)
        fail(agent, await begin(agent))
        agent.finish(await begin(agent), exit_code=0)
        pages += [page async for page in following]
        alone = [part.data async for page in output(attempt=1, follow=True) for part in page.parts]

    printed = [(page.attempt, part.data) for page in pages for part in page.parts]
    assert printed == [(1, b"try 1\n"), (2, b"try 2\n"), (3, b"try 3\n")]
    assert [page.complete for page in pages] == [False] * (len(pages) - 1) + [True]
    assert alone == [b"try 1\n"]
