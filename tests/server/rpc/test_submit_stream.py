"""The stream of submissions: what rides together, what its credit allows, and what its end leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2

from nodelink.errors import CallerError, InvalidTask, Overloaded, StoreUnavailable
from nodelink.task import Execution, Submission
from nodelink.v1 import task_pb2
from nodelink_server.core.submissions import Accepted
from nodelink_server.core.task import Task
from nodelink_server.rpc.submit_stream import MOST_TOGETHER, MOST_WAITING_BYTES, WINDOW, SubmitStream
from tests.support.grpc_door import WAIT_SECONDS, GrpcDoor, detail, grpc_door, reason_of, refusal

EOF: Any = vars(grpc.aio)["EOF"]


class Desk:
    """Accepts submissions when the test lets it, and keeps how many came together."""

    def __init__(self) -> None:
        self.together: list[int] = []
        self.asked = asyncio.Event()
        self.go_on = asyncio.Event()
        self.error: Exception | None = None

    async def submit(self, submissions: Sequence[Submission]) -> Sequence[Accepted | CallerError]:
        """Accept them all."""
        self.together.append(len(submissions))
        self.asked.set()
        await self.go_on.wait()
        if self.error is not None:
            raise self.error
        return [
            Accepted(Task(id=f"t{number}", spec=one.spec, execution=Execution.ONCE, created_at=0), replayed=False)
            for number, one in enumerate(submissions)
        ]


def frame(first: int, length: int, *, payload: bytes = b"null") -> task_pb2.StreamSubmitTasksRequest:
    request = task_pb2.SubmitTaskRequest(spec=task_pb2.TaskSpec(type="echo", payload=payload))
    return task_pb2.StreamSubmitTasksRequest(requests=[request] * length, first_number=first)


async def answers_to(
    stream: SubmitStream, frames: AsyncIterator[task_pb2.StreamSubmitTasksRequest]
) -> list[task_pb2.StreamSubmitTasksResponse]:
    """The answers behind the first one, which carries the credit alone."""
    async with asyncio.timeout(WAIT_SECONDS):
        first, *answers = [answer async for answer in stream.answers(frames)]
    assert not first.outcomes
    return answers


async def test_what_comes_while_a_commit_runs_is_submitted_together_next() -> None:
    desk = Desk()

    async def frames() -> AsyncIterator[task_pb2.StreamSubmitTasksRequest]:
        yield frame(0, 3)
        await desk.asked.wait()
        for number in range(1, 6):
            yield frame(number * 3, 3)
        desk.go_on.set()

    answers = await answers_to(SubmitStream(desk.submit, stopping=asyncio.Event()), frames())

    assert desk.together == [3, 15]
    assert [answer.first_number for answer in answers] == [0, 3, 6, 9, 12, 15]
    assert {len(answer.outcomes) for answer in answers} == {3}


async def test_no_more_than_a_few_milliseconds_of_work_are_submitted_together_but_for_a_larger_frame() -> None:
    desk = Desk()

    async def frames() -> AsyncIterator[task_pb2.StreamSubmitTasksRequest]:
        yield frame(0, 1)
        await desk.asked.wait()
        for number, requests in enumerate((64, 64, 1, MOST_TOGETHER, MOST_TOGETHER + 1, 1)):
            yield frame(number, requests)
        desk.go_on.set()

    await answers_to(SubmitStream(desk.submit, stopping=asyncio.Event()), frames())

    assert desk.together == [1, MOST_TOGETHER, 1, MOST_TOGETHER, MOST_TOGETHER + 1, 1]


async def test_more_than_the_credit_is_refused_but_what_came_within_it_is_answered() -> None:
    desk = Desk()
    answered: list[int] = []

    async def frames() -> AsyncIterator[task_pb2.StreamSubmitTasksRequest]:
        yield frame(0, 5)
        yield frame(5, 5)
        desk.go_on.set()
        yield frame(10, 1)

    async def read() -> None:
        async for answer in SubmitStream(desk.submit, stopping=asyncio.Event(), window=10).answers(frames()):
            answered[:] = [*answered, len(answer.outcomes)]

    with pytest.raises(Overloaded):
        await asyncio.wait_for(read(), WAIT_SECONDS)
    assert sum(answered) == 10


async def test_credit_comes_back_with_the_answers() -> None:
    desk = Desk()
    desk.go_on.set()
    heard = asyncio.Event()

    async def frames() -> AsyncIterator[task_pb2.StreamSubmitTasksRequest]:
        yield frame(0, 10)
        await heard.wait()
        yield frame(10, 10)

    credits = []
    async with asyncio.timeout(WAIT_SECONDS):
        async for answer in SubmitStream(desk.submit, stopping=asyncio.Event(), window=10).answers(frames()):
            credits.append(answer.submit_credit)
            if len(answer.outcomes) == 10:
                heard.set()

    assert credits == [10, 20, 30]


async def test_an_empty_frame_is_refused() -> None:
    async def frames() -> AsyncIterator[task_pb2.StreamSubmitTasksRequest]:
        yield frame(0, 0)

    with pytest.raises(InvalidTask):
        await answers_to(SubmitStream(Desk().submit, stopping=asyncio.Event()), frames())


async def test_what_cannot_be_made_durable_ends_the_stream_and_its_reader() -> None:
    desk = Desk()
    desk.error = StoreUnavailable()
    desk.go_on.set()
    left = asyncio.Event()

    async def frames() -> AsyncIterator[task_pb2.StreamSubmitTasksRequest]:
        try:
            yield frame(0, 1)
            await asyncio.Event().wait()
        finally:
            left.set()

    with pytest.raises(StoreUnavailable):
        await answers_to(SubmitStream(desk.submit, stopping=asyncio.Event()), frames())
    assert left.is_set()


async def test_a_stream_whose_commits_hang_is_read_no_further_than_memory_allows() -> None:
    desk, large = Desk(), frame(0, 16, payload=b"1" * (1 << 16))
    sent = 0

    async def frames() -> AsyncIterator[task_pb2.StreamSubmitTasksRequest]:
        nonlocal sent
        for _ in range(100):
            sent += 1
            yield large
            await asyncio.sleep(0)

    reading = asyncio.ensure_future(answers_to(SubmitStream(desk.submit, stopping=asyncio.Event()), frames()))
    await desk.asked.wait()
    for _ in range(1_000):  # many times more turns of the loop than there are frames
        await asyncio.sleep(0)
    held = sent
    desk.go_on.set()
    answers = await reading

    assert held * large.ByteSize() <= MOST_WAITING_BYTES + 3 * large.ByteSize()
    assert len(answers) == sent == 100


async def test_a_caller_that_reads_nothing_is_given_nothing_more_to_send() -> None:
    desk = Desk()
    desk.go_on.set()

    async def frames() -> AsyncIterator[task_pb2.StreamSubmitTasksRequest]:
        for number in range(3):
            yield frame(number * 5, 5)
            await asyncio.sleep(0)

    answers = SubmitStream(desk.submit, stopping=asyncio.Event(), window=10).answers(frames())
    async with asyncio.timeout(WAIT_SECONDS):
        credit = (await anext(answers)).submit_credit
        for _ in range(100):
            await asyncio.sleep(0)
        within = [await anext(answers) for _ in range(2)]
        with pytest.raises(Overloaded):  # the third frame is more than the ten that it was told of
            await anext(answers)

    assert desk.together == [10]
    assert (credit, within[-1].submit_credit) == (10, 20)


async def test_a_stopping_server_answers_what_is_under_way_and_then_ends_the_stream() -> None:
    desk, stopping = Desk(), asyncio.Event()

    async def frames() -> AsyncIterator[task_pb2.StreamSubmitTasksRequest]:
        yield frame(0, 3)
        await asyncio.get_running_loop().create_future()  # it stays open, and nothing more comes

    answers = SubmitStream(desk.submit, stopping=stopping).answers(frames())
    async with asyncio.timeout(WAIT_SECONDS):
        await anext(answers)
        under_way = asyncio.ensure_future(anext(answers))
        await desk.asked.wait()
        stopping.set()
        desk.go_on.set()
        assert len((await under_way).outcomes) == 3
        with pytest.raises(StoreUnavailable, match="stopping") as caught:
            await anext(answers)

    assert caught.value.retry_after


# --- over a real server -----------------------------------------------------------------------------------------------


@pytest.fixture
async def door() -> AsyncIterator[GrpcDoor]:
    async with grpc_door() as door:
        yield door


async def read(stream: Any) -> Any:
    """The next answer."""
    async with asyncio.timeout(WAIT_SECONDS):
        return await stream.read()


async def opened(door: GrpcDoor) -> Any:
    """A stream, and the credit that it begins with."""
    stream = door.tasks.StreamSubmitTasks()
    assert (await read(stream)).submit_credit == WINDOW
    return stream


def reading() -> Any:
    """The one stream that the server reads now; None: none."""
    for task in asyncio.all_tasks():
        if task.get_name() == "submit stream reader":
            coroutine: Any = task.get_coro()
            return coroutine.cr_frame.f_locals["self"]
    return None


async def settled(is_so: Callable[[], bool]) -> None:
    """Wait until the server has come so far, which it tells nobody."""
    async with asyncio.timeout(WAIT_SECONDS):
        while not is_so():  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(0)


async def test_frames_that_come_while_a_commit_runs_share_the_next_one(door: GrpcDoor) -> None:
    stream = await opened(door)
    door.switch.hold()
    await stream.write(frame(0, 1))
    await door.switch.held.wait()
    before = door.switch.deeds.count("apply")
    for number in range(1, 21):
        await stream.write(frame(number, 1))
    await settled(lambda: reading()._received == 21)
    door.switch.release()
    answers = [await read(stream) for _ in range(21)]
    stream.cancel()

    assert [answer.first_number for answer in answers] == list(range(21))
    assert door.switch.deeds.count("apply") - before < 10


async def test_no_answer_comes_before_its_commit(door: GrpcDoor) -> None:
    stream = await opened(door)
    door.switch.hold()
    await stream.write(frame(0, 1))
    await door.switch.held.wait()
    answer = asyncio.ensure_future(stream.read())
    done, _ = await asyncio.wait({answer}, timeout=0.1)
    door.switch.release()

    assert not done
    assert (await answer).outcomes[0].task_id
    stream.cancel()


async def test_a_stream_that_is_closed_is_answered_to_its_last_frame(door: GrpcDoor) -> None:
    stream = await opened(door)
    for number in range(5):
        await stream.write(frame(number * 100, 100))
    await stream.done_writing()
    answers = []
    while (answer := await read(stream)) is not EOF:
        answers.append(answer)

    assert await stream.code() is grpc.StatusCode.OK
    assert sum(len(answer.outcomes) for answer in answers) == 500


async def test_what_was_acknowledged_is_there_after_the_caller_has_gone(door: GrpcDoor) -> None:
    stream = await opened(door)
    for number in range(10):
        await stream.write(frame(number * 50, 50))
    known = [outcome.task_id for _ in range(3) for outcome in (await read(stream)).outcomes]
    stream.cancel()
    page = await door.tasks.ListTasks(task_pb2.ListTasksRequest(page_size=1_000))

    assert len(known) == 150
    assert set(known) <= {task.id for task in page.tasks}


async def test_a_wrong_item_harms_none_of_its_neighbours(door: GrpcDoor) -> None:
    stream = await opened(door)
    mixed = frame(0, 3)
    mixed.requests[1].spec.type = "nosuch"
    await stream.write(mixed)
    await stream.write(frame(3, 1))
    first, second = await read(stream), await read(stream)
    stream.cancel()

    assert [outcome.refusal.code for outcome in first.outcomes] == ["", "INVALID", ""]
    assert second.outcomes[0].task_id


async def test_more_than_the_credit_ends_the_stream_with_its_reason(door: GrpcDoor) -> None:
    stream = await opened(door)
    door.switch.hold()
    for number in range(WINDOW // 1_000 + 1):
        await stream.write(frame(number * 1_000, 1_000))
    await settled(lambda: reading() is None)
    door.switch.release()
    answered = [len((await read(stream)).outcomes) for _ in range(WINDOW // 1_000)]
    code, status = await refusal(read(stream))

    assert sum(answered) == 8_000
    assert (code, reason_of(status)) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED")


async def test_a_database_that_is_away_ends_the_stream_with_a_time_to_come_again(door: GrpcDoor) -> None:
    stream = await opened(door)
    door.switch.error = StoreUnavailable(retry_after=2.0)
    await stream.write(frame(0, 1))
    code, status = await refusal(read(stream))
    door.switch.error = None

    assert (code, reason_of(status)) == (grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE")


async def test_an_open_stream_does_not_hold_up_a_server_that_stops() -> None:
    async with grpc_door() as door:
        idle, busy = door.tasks.StreamSubmitTasks(), door.tasks.StreamSubmitTasks()
        await read(idle)
        await read(busy)
        door.switch.hold()
        await busy.write(frame(0, 2))
        await door.switch.held.wait()
        await door.manager.drain()

        refusals = [await refusal(idle.read())]
        door.switch.release()
        answered = await read(busy)
        refusals.append(await refusal(busy.read()))

    assert len(answered.outcomes) == 2
    for code, status in refusals:
        assert (code, reason_of(status)) == (grpc.StatusCode.UNAVAILABLE, "UNAVAILABLE")
        assert detail(status, error_details_pb2.RetryInfo).retry_delay.seconds == 1
