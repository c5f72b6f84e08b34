"""What carries the submissions of an asynchronous client: one stream, and one task that looks after it."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterable
from typing import Any

import grpc

from nodelink.client.aio_connection import Connection
from nodelink.client.channel import IDLE_SECONDS, MOST_UNANSWERED_AIO, MOST_UNANSWERED_BYTES
from nodelink.client.failures import error_of
from nodelink.client.outgoing import KeyMaker, Outgoing, Promise, frame_of, promise_of
from nodelink.errors import LinkLost, NodelinkError, Overloaded
from nodelink.task import Submission
from nodelink.v1 import task_pb2

OpenStream = Callable[[], Any]


class Sender:
    """Sends submissions as they come, coalesced: whatever has gathered while a frame was written makes the next one."""

    def __init__(
        self,
        open_stream: OpenStream,
        connection: Connection,
        *,
        most: int = MOST_UNANSWERED_AIO,
        idle: float = IDLE_SECONDS,
    ) -> None:
        self.new_key = KeyMaker(secrets.token_urlsafe(12))
        self._open_stream = open_stream
        self._connection = connection
        self._peer = connection.peer
        self._most = most
        self._idle = idle
        self._outgoing = Outgoing()
        self._work = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def submit(self, submission: Submission) -> Promise:
        """Promise to hand it in. Raises `Overloaded` beyond the bound, `TooLarge`, and `LinkLost` if closed."""
        self._connection.check()
        promise = promise_of(submission, self.new_key)
        if len(self._outgoing) >= self._most or self._outgoing.size >= MOST_UNANSWERED_BYTES:
            raise Overloaded(
                f"{len(self._outgoing):,} submissions are not accepted yet: await a handle now and then, or flush()"
            )
        self._outgoing.add(promise)
        self._work.set()
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run(), name="nodelink submissions")
        return promise

    async def settled(self, promise: Promise) -> None:
        """Wait until it is settled. Being cancelled does it no harm."""
        if promise.outcome is None:
            if promise.waiter is None:
                promise.waiter = asyncio.get_running_loop().create_future()
            await asyncio.shield(promise.waiter)

    async def flush(self) -> None:
        """Wait until all is settled that was promised so far."""
        last = self._outgoing.last
        if last is not None:
            await self.settled(last)

    def unseen(self) -> NodelinkError | None:
        """The first refusal that nobody has looked at."""
        return self._outgoing.unseen()

    async def close(self) -> None:
        """End the stream and the task. What is not settled fails."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})
        _wake(self._outgoing.fail(LinkLost("the client was closed before the server had accepted this")))

    # --- the task ---------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        try:
            await self._run_on()
        except Exception as error:  # a bug: nobody shall wait for ever for what this task would have done
            _wake(self._outgoing.fail(NodelinkError(f"the client failed: {error!r}")))
            raise

    async def _run_on(self) -> None:
        patience = self._peer.new_patience()
        while True:
            await self._has_work()
            try:
                await self._carry(patience.heard)
            except NodelinkError as error:
                if len(self._outgoing):  # a stream that breaks while it is idle is opened again when it is needed
                    await self._after(error, patience.delay_after)

    async def _has_work(self) -> None:
        while not len(self._outgoing):
            self._work.clear()
            await self._work.wait()

    async def _after(self, error: NodelinkError, delay_after: Callable[[NodelinkError], float]) -> None:
        """Wait until it is time to try again; or settle everything with the error, if there is no sense in it."""
        try:
            self._peer.heard(error)
            delay = delay_after(error)
        except NodelinkError:
            _wake(self._outgoing.fail(error))
            return
        await asyncio.sleep(delay)

    async def _carry(self, heard: Callable[[], None]) -> None:
        """One stream, to its end. Raises why it broke; one that has rested ends in peace."""
        self._outgoing.begin()
        call = self._open_stream()
        writer = asyncio.create_task(self._write(call))
        reader = asyncio.create_task(self._read(call, heard))
        try:
            await asyncio.wait({reader, writer}, return_when=asyncio.FIRST_COMPLETED)
            rested = writer.done() and writer.result()
            await asyncio.wait({reader})  # also after a write that failed: it is the reader who hears why
            reader.result()
            if not rested:
                raise LinkLost(f"the server at {self._peer.address} ended the stream of submissions")
        except grpc.aio.AioRpcError as error:
            raise self._why(error, has_failed_to_write=writer.done() and not writer.result()) from error
        finally:
            call.cancel()
            reader.cancel()
            writer.cancel()
            await asyncio.gather(reader, writer, return_exceptions=True)

    def _why(self, error: grpc.aio.AioRpcError, *, has_failed_to_write: bool) -> NodelinkError:
        """Why a stream broke. gRPC takes a write into one that has just ended for a failure of its own."""
        if has_failed_to_write and error.code() is grpc.StatusCode.INTERNAL:
            return LinkLost(f"the server at {self._peer.address} ended the stream of submissions")
        return error_of(error, self._peer.address)

    async def _read(self, call: Any, heard: Callable[[], None]) -> None:
        while isinstance(answer := await call.read(), task_pb2.StreamSubmitTasksResponse):
            heard()
            self._peer.heard()
            _wake(self._outgoing.answered(answer))
            self._work.set()

    async def _write(self, call: Any) -> bool:
        """Write what there is to be written, until there has been nothing for a while. False: the stream has ended."""
        while True:
            number, taken = self._outgoing.take()
            if taken:
                try:
                    await call.write(frame_of(number, taken))
                except (grpc.RpcError, asyncio.InvalidStateError):
                    return False
            elif not await self._has_more():
                await call.done_writing()
                return True

    async def _has_more(self) -> bool:
        """Wait for something to do. False: there was nothing for a while, and nothing is unanswered."""
        self._work.clear()
        try:
            async with asyncio.timeout(self._idle):
                await self._work.wait()
        except TimeoutError:
            return bool(len(self._outgoing))
        return True


def _wake(promises: Iterable[Promise]) -> None:
    for promise in promises:
        if promise.waiter is not None and not promise.waiter.done():
            promise.waiter.set_result(None)
