"""Submission over gRPC: single requests, frames of them, and the stream whose frames ride together into each commit."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Awaitable, Callable, Iterable, Sequence
from typing import TypeAlias

from nodelink.errors import CallerError, FieldError, InvalidTask, Overloaded, TooLarge
from nodelink.task import Submission
from nodelink.v1 import task_pb2
from nodelink.wire import spec_of
from nodelink_server.core.submissions import Accepted

MOST_REQUESTS = 1_000
"""In one frame, or one batch."""

WINDOW = 8_192
"""How many requests a stream may have under way."""

MOST_TOGETHER = 2_000
"""How many requests of a stream are submitted at once."""

MOST_WAITING_BYTES = 16 << 20
"""How much of a stream may wait for a commit in memory; beyond it, the stream is not read."""

Outcome: TypeAlias = Accepted | CallerError
Submit = Callable[[Sequence[Submission]], Awaitable[Sequence[Outcome]]]


def read_submission(request: task_pb2.SubmitTaskRequest) -> Submission:
    """One request as the core takes it. Raises `InvalidTask`."""
    spec, payload = spec_of(request.spec)
    return Submission(spec=spec, payload=payload, idempotency_key=request.idempotency_key or None)


def check_size(requests: Sequence[task_pb2.SubmitTaskRequest]) -> None:
    """Refuse a frame that is empty or too long."""
    if not requests:
        raise InvalidTask(FieldError("requests", "must not be empty"))
    if len(requests) > MOST_REQUESTS:
        raise TooLarge(
            FieldError("requests", f"{len(requests):,} are too many; send at most {MOST_REQUESTS:,} at a time")
        )


async def submit_all(submit: Submit, requests: Iterable[task_pb2.SubmitTaskRequest]) -> list[Outcome]:
    """Submit the requests that can be read. One outcome for each, in order."""
    read = [_read_one_of_many(request) for request in requests]
    submissions = [one for one in read if isinstance(one, Submission)]
    outcomes = iter(await submit(submissions) if submissions else ())
    return [next(outcomes) if isinstance(one, Submission) else one for one in read]


def _read_one_of_many(request: task_pb2.SubmitTaskRequest) -> Submission | CallerError:
    try:
        if request.HasField("wait"):
            raise InvalidTask(FieldError("wait", "is for a single submission; use WaitTask afterwards"))
        return read_submission(request)
    except CallerError as error:
        return error


def put_outcomes(
    pb: task_pb2.BatchSubmitTasksResponse | task_pb2.StreamSubmitTasksResponse, outcomes: Iterable[Outcome]
) -> None:
    """Write what became of each request."""
    for outcome in outcomes:
        if isinstance(outcome, CallerError):
            _put_refusal(pb.outcomes.add().refusal, outcome)
        elif outcome.replayed:
            pb.outcomes.add(task_id=outcome.task.id, replayed=True)
        else:
            pb.outcomes.add(task_id=outcome.task.id)


def _put_refusal(pb: task_pb2.Refusal, error: CallerError) -> None:
    pb.code = error.code
    pb.message = error.message
    if isinstance(error, InvalidTask) and error.errors:
        pb.field = error.errors[0].field


class SubmitStream:
    """One call of StreamSubmitTasks. Whatever came while one commit ran is submitted together next.

    Each frame has its answer. The caller's credit is cumulative, and grows with each answer.
    """

    def __init__(self, submit: Submit, *, window: int = WINDOW) -> None:
        self._submit = submit
        self._window = window
        self._frames: deque[task_pb2.StreamSubmitTasksRequest] = deque()
        self._waiting_bytes = 0
        self._received = 0
        self._answered = 0
        self._ended = False
        self._arrived = asyncio.Event()
        self._room = asyncio.Event()

    async def answers(
        self, frames: AsyncIterable[task_pb2.StreamSubmitTasksRequest]
    ) -> AsyncGenerator[task_pb2.StreamSubmitTasksResponse, None]:
        """First the credit alone, then an answer for each frame, behind its commit.

        Raises `Overloaded` for more than the credit.
        """
        reader = asyncio.create_task(self._read(frames), name="submit stream reader")
        try:
            yield task_pb2.StreamSubmitTasksResponse(submit_credit=self._window)
            while together := await self._take():
                for answer in await self._answer(together):
                    yield answer
            await reader
        finally:
            reader.cancel()
            await asyncio.wait({reader})

    async def _read(self, frames: AsyncIterable[task_pb2.StreamSubmitTasksRequest]) -> None:
        try:
            async for frame in frames:
                self._admit(frame)
                while self._waiting_bytes > MOST_WAITING_BYTES:
                    self._room.clear()
                    await self._room.wait()
        finally:
            self._ended = True
            self._arrived.set()

    def _admit(self, frame: task_pb2.StreamSubmitTasksRequest) -> None:
        check_size(frame.requests)
        self._received += len(frame.requests)
        if self._received > self._answered + self._window:
            raise Overloaded("more requests were sent than submit_credit allows")
        self._frames.append(frame)
        self._waiting_bytes += frame.ByteSize()
        self._arrived.set()

    async def _take(self) -> list[task_pb2.StreamSubmitTasksRequest]:
        """The frames to be submitted together next. Empty: there will be none."""
        if not self._frames and not self._ended:
            self._arrived.clear()
            await self._arrived.wait()
        together: list[task_pb2.StreamSubmitTasksRequest] = []
        count = 0
        while self._frames and (not together or count + len(self._frames[0].requests) <= MOST_TOGETHER):
            frame = self._frames.popleft()
            count += len(frame.requests)
            self._waiting_bytes -= frame.ByteSize()
            together.append(frame)
        self._room.set()
        return together

    async def _answer(
        self, together: Sequence[task_pb2.StreamSubmitTasksRequest]
    ) -> list[task_pb2.StreamSubmitTasksResponse]:
        outcomes = iter(await submit_all(self._submit, [request for frame in together for request in frame.requests]))
        answers = []
        for frame in together:
            self._answered += len(frame.requests)
            answer = task_pb2.StreamSubmitTasksResponse(
                first_number=frame.first_number, submit_credit=self._answered + self._window
            )
            put_outcomes(answer, [next(outcomes) for _ in frame.requests])
            answers.append(answer)
        return answers
