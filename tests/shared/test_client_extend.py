"""Other limits for running tasks through the Python client."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import grpc
import pytest

from nodelink.client import Remark, Task
from nodelink.client.asking import ExtendOptions
from nodelink.errors import CannotExtend, InvalidTask
from nodelink.v1 import task_pb2
from tests.support.client_stage import WAIT_SECONDS, Stage, a_task, meet, playing, refused

GONE = (grpc.StatusCode.UNAVAILABLE, (), "gone")


@pytest.fixture
def stage() -> Iterator[Stage]:
    with playing() as stage:
        yield stage


def by_client(stage: Stage, limits: ExtendOptions) -> Callable[[], Task]:
    asked = stage.call(lambda client: client.extend("t1", **limits))
    return lambda: asked.result(WAIT_SECONDS)


def by_handle(stage: Stage, limits: ExtendOptions) -> Callable[[], Task]:
    handle = stage.client.submit("echo")
    stream = stage.submissions(credit=10)
    stream.frame()
    stream.answer(0, "t1")
    asked = stage.call(lambda _client: handle.extend(**limits))
    return lambda: asked.result(WAIT_SECONDS)


@pytest.mark.parametrize("extend", [by_client, by_handle])
def test_a_running_task_is_given_other_limits(stage: Stage, extend: Callable[..., Callable[[], Task]]) -> None:
    asked = extend(stage, {"timeout": "10m", "total_timeout": timedelta(hours=1)})
    shown = a_task(task_pb2.TASK_STATUS_IN_PROGRESS)
    shown.remarks.add(kind="extended", by="local", message="timeout 10m, total timeout 1h")
    request = stage.answer("ExtendTask", task_pb2.ExtendTaskResponse(task=shown))

    assert request.task_id == "t1"
    assert (request.timeout.ToSeconds(), request.total_timeout.ToSeconds()) == (600, 3_600)
    assert not request.HasField("heartbeat_timeout")
    assert asked().remarks == (Remark(kind="extended", at=0, by="local", message="timeout 10m, total timeout 1h"),)


def test_a_heartbeat_timeout_travels_alone(stage: Stage) -> None:
    asked = by_client(stage, {"heartbeat_timeout": "30s", "timeout": None})
    request = stage.answer("ExtendTask", task_pb2.ExtendTaskResponse(task=a_task()))

    assert request.heartbeat_timeout.ToSeconds() == 30
    assert [name for name in ("timeout", "total_timeout") if request.HasField(name)] == []
    assert asked().id == "t1"


@pytest.mark.parametrize("field", ["timeout", "total_timeout", "heartbeat_timeout"])
@pytest.mark.parametrize("given", ["soon", 60, ""])
def test_what_is_no_duration_is_refused_before_it_is_sent(stage: Stage, field: str, given: Any) -> None:
    with pytest.raises(InvalidTask) as refusal:
        stage.client.extend("t1", **{field: given})
    assert refusal.value.errors[0].field == field


def test_what_cannot_be_extended_says_why(stage: Stage) -> None:
    asked = by_client(stage, {"timeout": "10m"})
    stage.answer("ExtendTask", error=refused(grpc.StatusCode.FAILED_PRECONDITION, "CANNOT_EXTEND", "it is pending"))

    with pytest.raises(CannotExtend, match="it is pending"):
        asked()


def test_an_extension_without_an_answer_is_asked_for_again(stage: Stage) -> None:
    meet(stage)
    asked = by_client(stage, {"timeout": "10m"})
    stage.answer("ExtendTask", error=GONE)
    stage.answer("ExtendTask", task_pb2.ExtendTaskResponse(task=a_task()))

    assert asked().id == "t1"
