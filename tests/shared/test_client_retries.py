"""What the clients know of automatic retries: a policy that is sent, and what a task tells of its attempts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from nodelink.client import Attempt, RetryPolicy, Task, new_task
from nodelink.errors import InvalidTask
from nodelink.v1 import task_pb2
from tests.support.client_stage import WAIT_SECONDS, Stage, a_task, playing


@pytest.fixture
def stage() -> Iterator[Stage]:
    with playing() as stage:
        yield stage


def test_a_submission_carries_its_policy(stage: Stage) -> None:
    policy = RetryPolicy(max_attempts=5, initial_ms=0, max_ms=60_000, multiplier=3, on=("exit_code:75",))
    handle = stage.client.submit("echo", retry=policy)
    stream = stage.submissions(credit=10)
    [request] = stream.frame().requests
    stream.answer(0, "t1")
    sent = request.spec.retry

    assert (sent.max_attempts, sent.multiplier, [*sent.on]) == (5, 3.0, ["exit_code:75"])
    assert (sent.HasField("initial"), sent.initial.ToMilliseconds(), sent.max.ToMilliseconds()) == (True, 0, 60_000)
    assert stage.soon(lambda: handle.id) == "t1"


def test_without_a_policy_there_is_none() -> None:
    assert new_task("echo").spec.retry is None
    assert new_task("echo", retry=None) == new_task("echo")
    assert new_task("echo", retry=RetryPolicy()).spec.retry == RetryPolicy()


@pytest.mark.parametrize(
    "policy, wrong",
    [
        (3, "retry: must be a RetryPolicy"),
        ({"max_attempts": 3}, "retry: must be a RetryPolicy"),
        (RetryPolicy(max_attempts=0), "retry.max_attempts: must be a whole number from 1 on"),
        (RetryPolicy(max_attempts=1 << 32), "retry.max_attempts: must be a whole number from 1 on"),
        (RetryPolicy(max_attempts=True), "retry.max_attempts: must be a whole number from 1 on"),
        (RetryPolicy(multiplier=0), "retry.multiplier: must be a number from 1 on"),
        (RetryPolicy(multiplier="2"), "retry.multiplier: must be a number from 1 on"),  # type: ignore[arg-type]
        (RetryPolicy(initial_ms=-1), "retry.initial_ms: must be a whole number from 0 on"),
        (RetryPolicy(max_ms=1.5), "retry.max_ms: must be a whole number from 0 on"),  # type: ignore[arg-type]
        (RetryPolicy(on="timeout"), "retry.on: must be several, in a list"),  # type: ignore[arg-type]
        (RetryPolicy(on=(75,)), "retry.on: must be text"),  # type: ignore[arg-type]
    ],
)
def test_a_policy_that_cannot_be_sent_is_refused_by_its_field(policy: Any, wrong: str) -> None:
    with pytest.raises(InvalidTask, match=wrong):
        new_task("echo", retry=policy)


def test_a_task_tells_how_each_attempt_ended_and_when_the_next_one_is(stage: Stage) -> None:
    told = a_task(task_pb2.TASK_STATUS_SCHEDULED)
    told.failures = 1
    told.retry_at.CopyFrom(Timestamp(seconds=70))
    told.attempts.add(
        number=1, agent_id="a1", state="failed", reason="exit_code", message="no disk", exit_code=0, signal=9
    )
    told.attempts.add(number=2, agent_id="a1", state="void")
    asked = stage.call(lambda client: client.get("t1"))
    stage.answer("GetTask", task_pb2.GetTaskResponse(task=told))
    task: Task = asked.result(WAIT_SECONDS)

    assert (task.failures, task.retry_at) == (1, 70_000)
    assert task.attempts == (
        Attempt(number=1, agent_id="a1", state="failed", reason="exit_code", message="no disk", exit_code=0, signal=9),
        Attempt(number=2, agent_id="a1", state="void"),
    )


def test_a_task_of_an_older_server_has_never_failed(stage: Stage) -> None:
    asked = stage.call(lambda client: client.get("t1"))
    stage.answer("GetTask", task_pb2.GetTaskResponse(task=a_task()))
    task: Task = asked.result(WAIT_SECONDS)

    assert (task.spec.retry, task.failures, task.retry_at) == (None, 0, None)
