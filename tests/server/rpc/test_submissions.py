"""The stream of submissions: what rides together, what its credit allows, and what its end leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest

from nodelink.errors import CallerError, InvalidTask, Overloaded, StoreUnavailable
from nodelink.task import Execution, Submission
from nodelink.v1 import task_pb2
from nodelink_server.core.submissions import Accepted
from nodelink_server.core.task import Task
from nodelink_server.rpc.submissions import SubmitStream

WAIT_SECONDS = 30.0


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


def frame(first: int, length: int) -> task_pb2.StreamSubmitTasksRequest:
    request = task_pb2.SubmitTaskRequest(spec=task_pb2.TaskSpec(type="echo", payload=b"null"))
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

    answers = await answers_to(SubmitStream(desk.submit), frames())

    assert desk.together == [3, 15]
    assert [answer.first_number for answer in answers] == [0, 3, 6, 9, 12, 15]
    assert {len(answer.outcomes) for answer in answers} == {3}


async def test_no_more_than_two_thousand_are_submitted_together() -> None:
    desk = Desk()

    async def frames() -> AsyncIterator[task_pb2.StreamSubmitTasksRequest]:
        yield frame(0, 1)
        await desk.asked.wait()
        for number in range(4):
            yield frame(number, 800)
        desk.go_on.set()

    await answers_to(SubmitStream(desk.submit), frames())

    assert desk.together == [1, 1600, 1600]


async def test_more_than_the_credit_is_refused_but_what_came_within_it_is_answered() -> None:
    desk = Desk()
    answered: list[int] = []

    async def frames() -> AsyncIterator[task_pb2.StreamSubmitTasksRequest]:
        yield frame(0, 5)
        yield frame(5, 5)
        desk.go_on.set()
        yield frame(10, 1)

    async def read() -> None:
        async for answer in SubmitStream(desk.submit, window=10).answers(frames()):
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
        async for answer in SubmitStream(desk.submit, window=10).answers(frames()):
            credits.append(answer.submit_credit)
            if len(answer.outcomes) == 10:
                heard.set()

    assert credits == [10, 20, 30]


async def test_an_empty_frame_is_refused() -> None:
    async def frames() -> AsyncIterator[task_pb2.StreamSubmitTasksRequest]:
        yield frame(0, 0)

    with pytest.raises(InvalidTask):
        await answers_to(SubmitStream(Desk().submit), frames())


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
        await answers_to(SubmitStream(desk.submit), frames())
    assert left.is_set()
