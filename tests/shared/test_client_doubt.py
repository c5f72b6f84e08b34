"""What the clients know of doubt: locks, what a task in doubt shows, and what a person decides about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2

from nodelink.client import Client, LateResult, Remark, Task, new_task
from nodelink.errors import (
    AgentNotFound,
    InvalidTask,
    LinkLost,
    StoreConflict,
    TaskAlreadyFinished,
    TaskNotInDoubt,
)
from nodelink.v1 import admin_pb2, task_pb2
from tests.support.client_stage import WAIT_SECONDS, Stage, a_task, meet, playing, refused

FAILED_PRECONDITION = grpc.StatusCode.FAILED_PRECONDITION
Steer = Callable[[Client], Any]
GONE = (grpc.StatusCode.UNAVAILABLE, (), "gone")


@pytest.fixture
def stage() -> Iterator[Stage]:
    with playing() as stage:
        yield stage


def abandon(client: Client) -> Task:
    return client.abandon("t1", reason="the machine burnt")


def resolve(client: Client) -> Task:
    return client.resolve("t1", as_="completed", reason="I looked")


def in_doubt() -> task_pb2.Task:
    """A task of which nobody knows how it goes."""
    task = a_task(task_pb2.TASK_STATUS_UNKNOWN)
    task.spec.lock = "deploy"
    task.spec.execution = task_pb2.EXECUTION_EXCLUSIVE
    task.contact = "lost"
    task.lease_until.CopyFrom(Timestamp(seconds=20))
    task.last_contact.CopyFrom(Timestamp(seconds=10))
    task.may_have_run = True
    task.late_results.add(
        attempt=1, agent_id="a1", received_at=Timestamp(seconds=30), outcome="failed", exit_code=0, message="late"
    )
    task.late_results.add(attempt=2, agent_id="a1", received_at=Timestamp(seconds=31), outcome="gone")
    task.remarks.add(kind="resolved", at=Timestamp(seconds=40), by="local", message="I looked")
    return task


def test_a_task_in_doubt_shows_all_that_is_known_of_it(stage: Stage) -> None:
    asked = stage.call(lambda client: client.get("t1"))
    stage.answer("GetTask", task_pb2.GetTaskResponse(task=in_doubt()))
    task: Task = asked.result(WAIT_SECONDS)

    assert (task.spec.lock, task.spec.execution) == ("deploy", "exclusive")
    assert (task.contact, task.last_contact, task.lease_until) == ("lost", 10_000, 20_000)
    assert task.may_have_run
    assert task.late_results == (
        LateResult(attempt=1, agent_id="a1", received_at=30_000, outcome="failed", exit_code=0, message="late"),
        LateResult(attempt=2, agent_id="a1", received_at=31_000, outcome="gone"),
    )
    assert task.remarks == (Remark(kind="resolved", at=40_000, by="local", message="I looked"),)


def test_a_task_without_doubts_shows_none(stage: Stage) -> None:
    asked = stage.call(lambda client: client.get("t1"))
    stage.answer("GetTask", task_pb2.GetTaskResponse(task=a_task()))
    task: Task = asked.result(WAIT_SECONDS)

    assert (task.spec.lock, task.contact, task.lease_until, task.last_contact) == ("", "", None, None)
    assert (task.may_have_run, task.late_results, task.remarks) == (False, (), ())


def test_a_submission_carries_its_lock_and_its_class(stage: Stage) -> None:
    handle = stage.client.submit("echo", lock="deploy", execution="exclusive")
    stream = stage.submissions(credit=10)
    [request] = stream.frame().requests
    stream.answer(0, "t1")

    assert (request.spec.lock, request.spec.execution) == ("deploy", task_pb2.EXECUTION_EXCLUSIVE)
    assert stage.soon(lambda: handle.id) == "t1"


def test_a_lock_that_got_lost_is_no_lock_that_was_left_out() -> None:
    with pytest.raises(InvalidTask, match="lock: must not be empty"):
        new_task("echo", lock="")
    assert new_task("echo", lock=None) == new_task("echo")


@pytest.mark.parametrize("by_handle", [False, True])
def test_a_task_is_given_up_for_a_reason(stage: Stage, by_handle: bool) -> None:
    failed = task_pb2.AbandonTaskResponse(task=a_task(task_pb2.TASK_STATUS_FAILED))
    asked = _steered(stage, by_handle, lambda on: on("abandon", reason="the machine burnt"))
    request = stage.answer("AbandonTask", failed)

    assert (request.task_id, request.reason) == ("t1", "the machine burnt")
    assert asked().is_terminal


@pytest.mark.parametrize("by_handle", [False, True])
@pytest.mark.parametrize(
    "name, number",
    [
        ("completed", task_pb2.RESOLUTION_COMPLETED),
        ("failed", task_pb2.RESOLUTION_FAILED),
        ("rerun", task_pb2.RESOLUTION_RERUN),
    ],
)
def test_a_person_says_what_became_of_a_task(stage: Stage, by_handle: bool, name: str, number: int) -> None:
    asked = _steered(stage, by_handle, lambda on: on("resolve", as_=name, reason="I looked"))
    request = stage.answer("ResolveTask", task_pb2.ResolveTaskResponse(task=a_task()))

    assert (request.task_id, request.resolution, request.reason) == ("t1", number, "I looked")
    assert asked().id == "t1"


@pytest.mark.parametrize("given", ["Completed", "lost", "", None])
def test_a_resolution_that_is_none_is_told_what_would_be_right(stage: Stage, given: Any) -> None:
    with pytest.raises(InvalidTask) as refusal:
        stage.client.resolve("t1", as_=given, reason="x")

    assert refusal.value.errors[0].field == "as_"
    if given is not None:
        assert "use one of completed, failed, rerun" in refusal.value.message


@pytest.mark.parametrize("steer, method", [(abandon, "AbandonTask"), (resolve, "ResolveTask")])
@pytest.mark.parametrize(
    "error, kind",
    [
        (refused(FAILED_PRECONDITION, "ALREADY_FINISHED", "the task has already finished"), TaskAlreadyFinished),
        (
            refused(FAILED_PRECONDITION, "CONFLICT", "it is pending", error_details_pb2.PreconditionFailure()),
            TaskNotInDoubt,
        ),
        (refused(FAILED_PRECONDITION, "CONFLICT", "it changes too fast"), StoreConflict),
        (refused(grpc.StatusCode.INVALID_ARGUMENT, "INVALID", "reason: must not be empty"), InvalidTask),
    ],
    ids=["finished", "not in doubt", "changing", "no reason"],
)
def test_a_decision_that_cannot_be_carried_out_says_why(
    stage: Stage, steer: Steer, method: str, error: Any, kind: type[Exception]
) -> None:
    asked = stage.call(steer)
    stage.answer(method, error=error)

    with pytest.raises(kind) as refusal:
        asked.result(WAIT_SECONDS)
    assert type(refusal.value) is kind


@pytest.mark.parametrize("steer, method", [(abandon, "AbandonTask"), (resolve, "ResolveTask")])
def test_a_decision_is_not_sent_twice_by_itself(stage: Stage, steer: Steer, method: str) -> None:
    meet(stage)
    asked = stage.call(steer)
    stage.answer(method, error=GONE)

    with pytest.raises(LinkLost):
        asked.result(WAIT_SECONDS)


def test_an_agent_says_why_it_gets_no_work_and_is_let_have_it_again(stage: Stage) -> None:
    meet(stage)
    asked = stage.call(lambda client: client.undrain_agent("a1"))
    stage.answer("UndrainAgent", error=GONE)
    shown = admin_pb2.Agent(id="a1", status=admin_pb2.AGENT_STATUS_CORDONED, cordon_reason="5 starts failed")
    request = stage.answer("UndrainAgent", admin_pb2.UndrainAgentResponse(agent=shown))

    agent = asked.result(WAIT_SECONDS)
    assert (request.agent_id, agent.status, agent.cordon_reason) == ("a1", "cordoned", "5 starts failed")


def test_an_agent_that_is_not_known_cannot_be_let_have_work(stage: Stage) -> None:
    asked = stage.call(lambda client: client.undrain_agent("nobody"))
    of_agent = error_details_pb2.ResourceInfo(resource_type="agent")
    stage.answer("UndrainAgent", error=refused(grpc.StatusCode.NOT_FOUND, "NOT_FOUND", "no agent nobody", of_agent))

    with pytest.raises(AgentNotFound):
        asked.result(WAIT_SECONDS)


def _steered(stage: Stage, by_handle: bool, steer: Callable[[Callable[..., Any]], Any]) -> Callable[[], Task]:
    """The client, or a handle of the task, does something. Returns how its answer is waited for."""
    if not by_handle:
        asked = stage.call(lambda client: steer(lambda verb, **how: getattr(client, verb)("t1", **how)))
        return lambda: asked.result(WAIT_SECONDS)
    handle = stage.client.submit("echo")
    stream = stage.submissions(credit=10)
    stream.frame()
    stream.answer(0, "t1")
    asked = stage.call(lambda _client: steer(lambda verb, **how: getattr(handle, verb)(**how)))
    return lambda: asked.result(WAIT_SECONDS)
