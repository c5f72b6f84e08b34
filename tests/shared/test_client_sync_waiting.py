"""Waiting for many tasks with the synchronous client, against a channel that the test plays."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from nodelink.errors import (
    InvalidTask,
)
from nodelink.v1 import task_pb2
from tests.support.client_stage import WAIT_SECONDS, Stage, a_result, accept, playing, results


@pytest.fixture
def stage() -> Iterator[Stage]:
    with playing() as stage:
        yield stage


def test_all_are_waited_for_a_thousand_at_a_time_and_told_in_order(stage: Stage) -> None:
    ids = [f"t{number}" for number in range(1_001)]
    waiting = stage.call(lambda client: client.wait_all([*ids, "t0"]))
    first = stage.answer("WaitTasks", task_pb2.WaitTasksResponse(results=[a_result(one) for one in ids[999::-1]]))
    second = stage.answer("WaitTasks", task_pb2.WaitTasksResponse(results=[a_result("t1000")]))

    assert (len(first.task_ids), first.all, list(second.task_ids)) == (1_000, True, ["t1000"])
    assert [result.task_id for result in waiting.result(WAIT_SECONDS)] == ids


def test_whoever_waits_for_any_gets_those_that_have_ended(stage: Stage) -> None:
    waiting = stage.call(lambda client: client.wait_any(["t1", "t2", "t3"], timeout=5))
    request = stage.answer("WaitTasks", task_pb2.WaitTasksResponse(results=[a_result("t2")]))

    assert (list(request.task_ids), request.all, request.timeout.seconds) == (["t1", "t2", "t3"], False, 5)
    assert [result.task_id for result in waiting.result(WAIT_SECONDS)] == ["t2"]


def test_nothing_to_wait_for_is_not_asked_for(stage: Stage) -> None:
    assert not stage.soon(lambda: stage.client.wait_all([]))


def test_the_first_of_too_many_cannot_be_waited_for(stage: Stage) -> None:
    with pytest.raises(InvalidTask):
        stage.soon(lambda: stage.client.wait_any(f"t{number}" for number in range(1_001)))


@pytest.mark.parametrize("ordered, expected", [(True, [0, 1, 2]), (False, [1, 0, 2])])
def test_a_map_keeps_its_window(stage: Stage, ordered: bool, expected: list[int]) -> None:
    taken: list[int] = []

    def inputs() -> Iterator[int]:
        for number in range(3):
            taken.append(number)
            yield number

    mapped = stage.call(lambda client: [r.value for r in client.map("echo", inputs(), ordered=ordered, window=2)])
    stream = stage.submissions(credit=10)
    accept(stream, 2)
    assert taken == [0, 1]
    stage.answer("WaitTasks", task_pb2.WaitTasksResponse(results=[a_result("t1", b"1")]))
    if ordered:
        assert list(stage.answer("WaitTasks", results("t0")).task_ids) == ["t0"]
        accept(stream, 1, after=2)
    else:
        accept(stream, 1, after=2)
        assert list(stage.answer("WaitTasks", results("t0")).task_ids) == ["t0", "t2"]
    stage.answer("WaitTasks", results("t2"))

    assert mapped.result(WAIT_SECONDS) == expected
