"""What carries the submissions of a synchronous client: one stream, and one thread that reads its answers."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterator
from typing import Any

import grpc

from nodelink.client.channel import CLOSE_SECONDS, IDLE_SECONDS, MOST_UNANSWERED, MOST_UNANSWERED_BYTES
from nodelink.client.failures import error_of
from nodelink.client.outgoing import KeyMaker, Outgoing, Promise, frame_of, promise_of
from nodelink.client.sync_connection import Connection
from nodelink.errors import LinkLost, NodelinkError
from nodelink.task import Submission
from nodelink.v1 import task_pb2

Frames = Iterator[task_pb2.StreamSubmitTasksRequest]
OpenStream = Callable[[Frames], Any]


class Sender:
    """Sends submissions as they come, coalesced: whatever has gathered while a frame was written makes the next one.

    The thread starts with the first submission. gRPC writes the frames from a thread of its own.
    """

    def __init__(
        self,
        open_stream: OpenStream,
        connection: Connection,
        *,
        most: int = MOST_UNANSWERED,
        idle: float = IDLE_SECONDS,
    ) -> None:
        self.new_key = KeyMaker(secrets.token_urlsafe(12))
        self._open_stream = open_stream
        self._connection = connection
        self._peer = connection.peer
        self._most = most
        self._idle = idle
        self._outgoing = Outgoing()
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)
        self._settled = threading.Condition(self._lock)
        self._stream = 0
        self._is_resting = False
        self._call: Any = None
        self._thread: threading.Thread | None = None
        self._is_closed = False

    def submit(self, submission: Submission) -> Promise:
        """Promise to hand it in. Blocks while too many are unacknowledged. Raises `TooLarge`; `LinkLost` if closed."""
        self._connection.check()
        promise = promise_of(submission, self.new_key)
        with self._lock:
            while self._is_full and not self._is_closed:
                self._settled.wait()
            if self._is_closed:
                raise LinkLost("this client is closed")
            self._outgoing.add(promise)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="nodelink submissions", daemon=True)
                self._thread.start()
            self._work.notify_all()
        return promise

    def wait(self, promise: Promise, timeout: float | None = None) -> bool:
        """Wait until it is settled, or for so many seconds. Returns whether it is."""
        if promise.outcome is not None:
            return True
        self._connection.check_process()
        with self._lock:
            return self._settled.wait_for(lambda: promise.outcome is not None, timeout)

    def flush(self, timeout: float | None = None) -> bool:
        """Wait until all is settled that was promised so far, or for so many seconds. Returns whether it is."""
        self._connection.check_process()
        with self._lock:
            last = self._outgoing.last
            return self._settled.wait_for(lambda: last is None or last.outcome is not None, timeout)

    def unseen(self) -> NodelinkError | None:
        """The first refusal that nobody has looked at."""
        with self._lock:
            return self._outgoing.unseen()

    def close(self) -> None:
        """End the stream and the thread. What is not settled fails."""
        with self._lock:
            self._is_closed = True
            self._end_stream()
            self._fail(LinkLost("the client was closed before the server had accepted this"))
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(CLOSE_SECONDS)

    @property
    def _is_full(self) -> bool:
        return len(self._outgoing) >= self._most or self._outgoing.size >= MOST_UNANSWERED_BYTES

    # --- the thread -------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            self._run_on()
        except Exception as error:  # a bug: nobody shall wait for ever for what this thread would have done
            with self._lock:
                self._thread = None
                self._fail(NodelinkError(f"the client failed: {error!r}"))
            raise

    def _run_on(self) -> None:
        patience = self._peer.new_patience()
        while self._has_work():
            try:
                self._carry(patience.heard)
            except NodelinkError as error:
                if self._has_unsettled():  # a stream that breaks while it is idle is opened again when it is needed
                    self._after(error, patience.delay_after)

    def _has_work(self) -> bool:
        """Wait until there is something to send. False: the client is closed."""
        with self._lock:
            self._work.wait_for(lambda: self._is_closed or len(self._outgoing))
            return not self._is_closed

    def _has_unsettled(self) -> bool:
        with self._lock:
            return bool(len(self._outgoing))

    def _after(self, error: NodelinkError, delay_after: Callable[[NodelinkError], float]) -> None:
        """Wait until it is time to try again; or settle everything with the error, if there is no sense in it."""
        try:
            self._peer.heard(error)
            delay = delay_after(error)
        except NodelinkError:
            with self._lock:
                self._fail(error)
            return
        with self._lock:
            self._work.wait_for(lambda: self._is_closed, delay)

    def _carry(self, heard: Callable[[], None]) -> None:
        """One stream, to its end. Raises why it broke; one that has rested ends in peace."""
        with self._lock:
            if self._is_closed:
                raise LinkLost("this client is closed")
            self._outgoing.begin()
            self._stream += 1
            self._is_resting = False
            self._call = call = self._open_stream(self._frames(self._stream))
        try:
            for answer in call:
                heard()
                self._peer.heard()
                self._take(answer)
            if not self._is_resting:
                raise LinkLost(f"the server at {self._peer.address} ended the stream of submissions")
        except grpc.RpcError as error:
            raise error_of(error, self._peer.address) from error
        finally:
            with self._lock:
                self._end_stream()

    def _take(self, answer: task_pb2.StreamSubmitTasksResponse) -> None:
        with self._lock:
            self._outgoing.answered(answer)
            self._work.notify_all()
            self._settled.notify_all()

    def _frames(self, stream: int) -> Frames:
        """The frames of one stream, for as long as it is the present one."""
        while True:
            with self._lock:
                taken: list[Promise] = []
                number = 0
                while self._stream == stream and not taken:
                    number, taken = self._outgoing.take()
                    if not taken and not self._work.wait(self._idle) and not len(self._outgoing):
                        self._is_resting = True
                        return
                if not taken:
                    return
            yield frame_of(number, taken)

    def _fail(self, error: NodelinkError) -> None:
        """With the lock: settle everything with an error."""
        self._outgoing.fail(error)
        self._settled.notify_all()

    def _end_stream(self) -> None:
        """With the lock: let the frames end, and the call."""
        self._stream += 1
        self._work.notify_all()
        if self._call is not None:
            self._call.cancel()
            self._call = None
