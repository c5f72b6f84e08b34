"""One call of StreamSubmitTasks: frames of submissions whose answers follow their commits, within a credit."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Sequence

from nodelink.errors import Overloaded, StoreUnavailable
from nodelink.v1 import task_pb2
from nodelink_server.core.validation import check_batch
from nodelink_server.core.vitals import STOPPING
from nodelink_server.rpc.submissions import Submit, put_outcomes, submit_all

WINDOW = 8_192
"""How many requests a stream may have under way."""

MOST_TOGETHER = 128
"""How many requests of a stream are submitted at once; a larger frame goes alone.

Nothing else is done meanwhile, and the rest waits here, where nobody but the stream's own caller waits behind it: with
2,000, a stream that never ended held up everybody else's urgent tasks and cancels for seconds.
"""

MOST_WAITING_BYTES = 16 << 20
"""How much of a stream may wait for a commit in memory; beyond it, the stream is not read."""

STOPPED_SECONDS = 1.0
"""When a caller whose stream has ended because the server stops may try again."""


class SubmitStream:
    """One call of StreamSubmitTasks. Whatever came while one commit ran is submitted together next.

    Each frame has its answer. The caller's credit is cumulative, and grows with each answer.
    """

    def __init__(self, submit: Submit, *, stopping: asyncio.Event, window: int = WINDOW, traceparent: str = "") -> None:
        """`traceparent`: the trace context of requests that name none."""
        self._submit = submit
        self._stopping = stopping
        self._traceparent = traceparent
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

        Raises `Overloaded` for more than the credit, and `StoreUnavailable` when the server stops: no sooner than what
        is under way is answered, and no later, or a caller that keeps the stream open would hold up the stop.
        """
        reader = asyncio.create_task(self._read(frames), name="submit stream reader")
        stopper = asyncio.create_task(self._stop(), name="submit stream stopper")
        try:
            yield task_pb2.StreamSubmitTasksResponse(submit_credit=self._window)
            while together := await self._take():
                for answer in await self._answer(together):
                    yield answer
            if not self._ended:
                raise StoreUnavailable(STOPPING, retry_after=STOPPED_SECONDS)
            await reader
        finally:
            reader.cancel()
            stopper.cancel()
            await asyncio.wait({reader, stopper})

    async def _stop(self) -> None:
        await self._stopping.wait()
        self._arrived.set()

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
        check_batch(len(frame.requests), "requests")
        self._received += len(frame.requests)
        if self._received > self._answered + self._window:
            raise Overloaded("more requests were sent than submit_credit allows")
        self._frames.append(frame)
        self._waiting_bytes += frame.ByteSize()
        self._arrived.set()

    async def _take(self) -> list[task_pb2.StreamSubmitTasksRequest]:
        """The frames to be submitted together next. Empty: there will be none."""
        if not self._frames and not self._ended and not self._stopping.is_set():
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
        requests = [request for frame in together for request in frame.requests]
        outcomes = iter(await submit_all(self._submit, requests, self._traceparent))
        answers = []
        for frame in together:
            self._answered += len(frame.requests)
            answer = task_pb2.StreamSubmitTasksResponse(
                first_number=frame.first_number, submit_credit=self._answered + self._window
            )
            put_outcomes(answer, [next(outcomes) for _ in frame.requests])
            answers.append(answer)
        return answers
