"""The clients do one thing to many tasks: page after page until there is no more, and never to all by a slip."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest

from nodelink.client import AsyncClient, BulkResult, TaskFilter
from nodelink.client.bulk import ACTIONS, MOST_IDS, MOST_KEY_CHARS
from nodelink.errors import IdempotencyConflict, InvalidTask, TooLarge
from nodelink.task import TaskStatus
from nodelink.v1 import task_pb2
from nodelink_server.core import bulk
from nodelink_server.core.bulk import BulkAction
from tests.support.client_stage import meet, playing
from tests.support.grpc_door import WAIT_SECONDS, GrpcDoor, grpc_door


@pytest.fixture
async def door() -> AsyncIterator[GrpcDoor]:
    async with grpc_door() as door:
        yield door


@pytest.fixture
async def client(door: GrpcDoor) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(str(door.address), timeout=WAIT_SECONDS) as client:
        yield client


def test_every_action_is_known() -> None:
    assert set(ACTIONS) == set(BulkAction)


async def test_tasks_are_prioritized_stopped_and_run_again(door: GrpcDoor, client: AsyncClient) -> None:
    wanted = TaskFilter(type="echo", labels={"team": "red"})
    red = await door.submit(metadata={"team": "red"})
    blue = await door.submit()

    tried = await client.bulk("set_priority", wanted, priority="high", dry_run=True)
    assert (await client.get(red)).spec.priority == 50
    raised = await client.bulk("set_priority", wanted, priority="high", reason="a release")
    assert ((await client.get(red)).spec.priority, (await client.get(blue)).spec.priority) == (75, 50)
    stopped = await client.bulk("cancel", wanted, reason="enough", grace="1s")
    again = await client.bulk("retry", TaskFilter(statuses=[TaskStatus.CANCELLED]))

    assert tried == raised == stopped == BulkResult(matched=1, done=1, skipped={}, ids=(red,))
    [remark] = (await client.get(red)).remarks
    assert (remark.kind, remark.message) == ("reprioritized", "from 50 to 75: a release")
    assert (await client.get(red)).message == "enough"
    assert [(await client.get(task_id)).retry_of for task_id in again.ids] == [red]


async def test_named_tasks_are_told_of_if_they_are_left_alone(door: GrpcDoor, client: AsyncClient) -> None:
    ended, waiting = await door.submit(), await door.submit()
    await client.cancel(ended)
    result = await client.bulk("cancel", ids=[ended, waiting])
    assert result == BulkResult(matched=2, done=1, skipped={"already finished": 1}, ids=(waiting,))


async def test_it_goes_on_until_there_is_no_more(
    door: GrpcDoor, client: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "MOST_TASKS", 2)
    monkeypatch.setattr(bulk, "MOST_PER_COMMIT", 1)
    ids = [await door.submit() for _ in range(5)]
    await client.cancel(ids[0])
    result = await client.bulk("cancel", TaskFilter(type="echo", statuses=["pending", "cancelled"]))
    assert result == BulkResult(matched=5, done=4, skipped={"already finished": 1}, ids=tuple(ids[:0:-1]))


async def test_the_longest_key_is_good_for_every_page(
    door: GrpcDoor, client: AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk, "MOST_TASKS", 1)
    monkeypatch.setattr(bulk, "MOST_PER_COMMIT", 1)
    ids = [await door.submit() for _ in range(3)]
    longest = "k" * MOST_KEY_CHARS
    result = await client.bulk("cancel", TaskFilter(type="echo"), idempotency_key=longest)
    assert result == await client.bulk("cancel", TaskFilter(type="echo"), idempotency_key=longest)
    assert result.ids == tuple(ids[::-1])


@pytest.mark.parametrize(
    "action, wanted, how, field",
    [
        ("cancel", None, {}, "filter"),
        ("cancel", TaskFilter(), {}, "filter"),
        ("cancel", TaskFilter(type="echo"), {"ids": []}, "ids"),
        ("cancel", None, {"ids": "0190a1b2"}, "ids"),
        ("cancel", TaskFilter(statuses=["done"]), {}, "statuses"),
        ("cancel", TaskFilter(type="echo"), {"grace": "soon"}, "grace"),
        ("cancel", TaskFilter(type="echo"), {"reason": "x" * 1_001}, "reason"),
        ("retry", TaskFilter(type="echo"), {"reason": "x"}, "reason"),
        ("set_priority", TaskFilter(type="echo"), {}, "priority"),
        ("set_priority", TaskFilter(type="echo"), {"priority": 101}, "priority"),
        ("delete", TaskFilter(type="echo"), {}, "action"),
    ],
)
async def test_a_wrong_order_is_refused_by_name(
    door: GrpcDoor, client: AsyncClient, action: str, wanted: TaskFilter | None, how: dict[str, Any], field: str
) -> None:
    task_id = await door.submit()
    with pytest.raises(InvalidTask) as refused:
        await client.bulk(action, wanted, **how)
    assert [error.field for error in refused.value.errors] == [field]
    assert (await client.get(task_id)).status is TaskStatus.PENDING


async def test_so_many_are_named_at_most(client: AsyncClient) -> None:
    with pytest.raises(TooLarge, match="1,001"):
        await client.bulk("cancel", ids=[str(number) for number in range(MOST_IDS + 1)])


def test_the_synchronous_client_goes_on_too_and_adds_up() -> None:
    with playing() as stage:
        meet(stage)
        doing = stage.call(lambda client: client.bulk("cancel", TaskFilter(workspace="site"), reason="enough"))
        first = task_pb2.BulkTasksResponse(matched=3, done=1, ids=["t3"], more=True, next_page_token="next")
        first.skipped["already finished"] = 2
        last = task_pb2.BulkTasksResponse(matched=2, done=1, ids=["t1"])
        last.skipped["already finished"] = 1
        begun = stage.answer("BulkTasks", first)
        assert (begun.filter.workspace, begun.reason, begun.page_token) == ("site", "enough", "")
        assert stage.answer("BulkTasks", last).page_token == "next"
        result = doing.result(WAIT_SECONDS)
    assert result == BulkResult(matched=5, done=2, skipped={"already finished": 3}, ids=("t3", "t1"))


def test_each_call_has_a_key_under_which_it_is_asked_again() -> None:
    with playing() as stage:
        meet(stage)
        doing = stage.call(lambda client: client.bulk("retry", TaskFilter(type="echo")))
        lost = stage.answer("BulkTasks", error=(grpc.StatusCode.UNAVAILABLE, (), "gone"))
        keys = [lost.idempotency_key]
        more = task_pb2.BulkTasksResponse(matched=1, done=1, more=True, next_page_token="next")
        answers = (more, task_pb2.BulkTasksResponse(matched=1, done=1))
        keys += [stage.answer("BulkTasks", answer).idempotency_key for answer in answers]
        assert doing.result(WAIT_SECONDS).done == 2
        assert (keys[1], keys[2]) == (keys[0], f"{keys[0]}#1")

        named = stage.call(lambda client: client.bulk("retry", TaskFilter(type="echo"), idempotency_key="mine"))
        assert stage.answer("BulkTasks", task_pb2.BulkTasksResponse()).idempotency_key == "mine"
        named.result(WAIT_SECONDS)
        assert keys[0] not in {"", "mine"}


async def test_under_the_same_key_it_is_done_once(door: GrpcDoor, client: AsyncClient) -> None:
    wanted = TaskFilter(type="echo")
    await door.submit()
    first = await client.bulk("cancel", wanted, idempotency_key="release 7")
    later = await door.submit()
    assert (await client.bulk("cancel", wanted, idempotency_key="release 7"), first.done) == (first, 1)
    with pytest.raises(IdempotencyConflict):
        await client.bulk("cancel", wanted, reason="other", idempotency_key="release 7")
    assert (await client.get(later)).status is TaskStatus.PENDING
    assert (await client.bulk("cancel", wanted)).ids == (later,)
