"""Plans through the Python client: looked at, approved, rejected; and what is said of approvals on submission."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import grpc
import pytest

from nodelink.client import TaskHandle, TaskPlan, new_task
from nodelink.errors import InvalidTask, NodelinkError, PlanChanged, PlanNotWaiting
from nodelink.v1 import task_pb2
from tests.support.client_stage import WAIT_SECONDS, Stage, a_task, playing, refused
from tests.support.planning import PLAN_A


@pytest.fixture
def stage() -> Iterator[Stage]:
    with playing() as stage:
        yield stage


def test_a_plan_is_approved_by_its_digest(stage: Stage) -> None:
    asked = stage.call(lambda client: client.approve("t1", plan_sha256=PLAN_A.sha256, target="site", message="fine"))
    request = stage.answer("ApproveTask", task_pb2.ApproveTaskResponse(task=a_task()))

    assert (request.task_id, request.plan_sha256) == ("t1", PLAN_A.sha256)
    assert (request.inputs_sha256, request.target, request.message) == ("", "site", "fine")
    assert asked.result(WAIT_SECONDS).id == "t1"


def test_a_plan_is_rejected(stage: Stage) -> None:
    asked = stage.call(lambda client: client.reject("t1", message="no"))
    request = stage.answer("RejectTask", task_pb2.RejectTaskResponse(task=a_task()))

    assert (request.task_id, request.plan_sha256, request.message) == ("t1", "", "no")
    assert asked.result(WAIT_SECONDS).id == "t1"


def submitted(stage: Stage) -> TaskHandle:
    handle = stage.client.submit("plan_and_apply")
    stream = stage.submissions(credit=10)
    stream.frame()
    stream.answer(0, "t1")
    return handle


def test_a_handle_approves_the_plan_of_its_task(stage: Stage) -> None:
    handle = submitted(stage)
    asked = stage.call(lambda _client: handle.approve(plan_sha256=PLAN_A.sha256, target="site", message="fine"))
    request = stage.answer("ApproveTask", task_pb2.ApproveTaskResponse(task=a_task()))

    assert (request.task_id, request.plan_sha256) == ("t1", PLAN_A.sha256)
    assert (request.inputs_sha256, request.target, request.message) == ("", "site", "fine")
    assert asked.result(WAIT_SECONDS).id == "t1"


def test_a_handle_rejects_the_plan_of_its_task(stage: Stage) -> None:
    handle = submitted(stage)
    asked = stage.call(lambda _client: handle.reject(plan_sha256=PLAN_A.sha256, message="no"))
    request = stage.answer("RejectTask", task_pb2.RejectTaskResponse(task=a_task()))

    assert (request.task_id, request.plan_sha256, request.message) == ("t1", PLAN_A.sha256, "no")
    assert asked.result(WAIT_SECONDS).id == "t1"


def test_a_handle_reads_the_plan_of_its_task(stage: Stage) -> None:
    handle = submitted(stage)
    asked = stage.call(lambda _client: handle.plan())
    request = stage.answer("GetPlan", task_pb2.GetPlanResponse(plan=task_pb2.TaskPlan(task_id="t1")))

    assert request.task_id == "t1"
    assert asked.result(WAIT_SECONDS).task_id == "t1"


@pytest.mark.parametrize("code, error", [("PLAN_CHANGED", PlanChanged), ("PLAN_NOT_WAITING", PlanNotWaiting)], ids=str)
def test_a_refusal_is_an_error_of_its_own(stage: Stage, code: str, error: type[NodelinkError]) -> None:
    asked = stage.call(lambda client: client.approve("t1", plan_sha256=PLAN_A.sha256))
    stage.answer("ApproveTask", error=refused(grpc.StatusCode.FAILED_PRECONDITION, code, "another one"))

    with pytest.raises(error, match="another one"):
        asked.result(WAIT_SECONDS)


def test_plans_are_read(stage: Stage) -> None:
    shown = task_pb2.TaskPlan(task_id="t1", status=task_pb2.TASK_STATUS_PLAN_COMPLETED, attempt=1)
    shown.plan.sha256, shown.plan.size, shown.plan.target, shown.plan.summary = PLAN_A.sha256, 5, "site", "one"
    shown.planned_at.seconds, shown.expires_at.seconds = 1, 2
    plan = TaskPlan(
        task_id="t1",
        status="plan_completed",
        attempt=1,
        sha256=PLAN_A.sha256,
        size=5,
        inputs_sha256="",
        target="site",
        summary="one",
        planned_at=1_000,
        expires_at=2_000,
    )
    one = stage.call(lambda client: client.plan("t1"))
    stage.answer("GetPlan", task_pb2.GetPlanResponse(plan=shown))
    assert one.result(WAIT_SECONDS) == plan

    some = stage.call(lambda client: client.plans(statuses=["plan_completed"], workspace="site", limit=7))
    request = stage.answer("ListPlans", task_pb2.ListPlansResponse(plans=[shown]))
    assert (list(request.statuses), request.workspace, request.page_size) == ([8], "site", 7)
    assert some.result(WAIT_SECONDS) == [plan]


def test_a_status_that_is_none_is_refused(stage: Stage) -> None:
    with pytest.raises(InvalidTask, match="'done' is not known"):
        stage.client.plans(statuses=["done"])


def test_a_submission_says_who_may_approve_and_until_when() -> None:
    spec = new_task("plan_and_apply", approval_timeout=timedelta(hours=4), approval_by_other=True).spec

    assert (spec.approval_timeout_ms, spec.approval_by_other) == (4 * 3600 * 1000, True)
