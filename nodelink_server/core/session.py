"""One connected agent: what it has been given, what it may be given, and what is to be said to it.

A session ends as a whole and is never repaired. Its slots are derived from the agent's own cumulative credit.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from nodelink.errors import CreditExceeded, LinkError, ProtocolViolation
from nodelink.task import AttemptRef, CancelCommand, LogAck, LogStream, ResultAck, TaskRequest

MOST_TASKS_PER_FRAME = 256
MOST_BYTES_PER_FRAME = 256 * 1024
RESPONSE_WINDOW_FRAMES = 8
LOG_WINDOW_BYTES = 4 * 1024 * 1024
BYTES_PER_TASK = 336
"""More than a task takes on its way beside its payload and its metadata."""
BYTES_PER_ENTRY = 12
"""More than an entry of the metadata takes beside its characters."""
BYTES_PER_CHARACTER = 4


@dataclass(slots=True)
class Outgoing:
    """What one frame to the agent carries."""

    tasks: list[TaskRequest] = field(default_factory=list)
    cancels: list[CancelCommand] = field(default_factory=list)
    result_acks: list[ResultAck] = field(default_factory=list)
    log_acks: dict[tuple[AttemptRef, LogStream], LogAck] = field(default_factory=dict)
    heartbeat: int = 0
    response_credit: int = 0
    log_credit: int = 0
    goodbye: str | None = None


class AgentSession:
    """The server's side of one connection. Lives on the loop."""

    def __init__(
        self,
        *,
        agent_id: str,
        pool: str,
        number: int,
        types: Iterable[str],
        slots: int,
        remembers_since: int,
        host_id: str,
        now: float,
        on_room: Callable[[AgentSession], None],
    ) -> None:
        self.agent_id = agent_id
        self.pool = pool
        self.number = number
        self.types = set(types)
        self.slots = slots
        self.remembers_since = remembers_since
        self.host_id = host_id
        self.last_heard = now
        self.draining = False
        self.load = 0.0
        self.is_open = True
        self.end: LinkError | None = None
        self._on_room = on_room
        self._credit = 0
        self._sent = 0
        self._reserved = 0
        self._tasks: deque[TaskRequest] = deque()
        self._stops: dict[AttemptRef, CancelCommand] = {}
        self._next = Outgoing()
        self._wake = asyncio.Event()
        self._ended = asyncio.Event()
        self._response_frames = 0
        self._response_credit = RESPONSE_WINDOW_FRAMES
        self._log_bytes = 0
        self._log_credit = LOG_WINDOW_BYTES

    # -- room ---------------------------------------------------------------------------------------------------------

    @property
    def room(self) -> int:
        """How many more tasks it may be given now."""
        if not self.is_open or self.draining:
            return 0
        return self._credit - self._sent - len(self._tasks) - self._reserved

    @property
    def busy(self) -> int:
        """How many of its slots are taken or promised."""
        return self.slots - self.room

    def reserve(self, count: int) -> None:
        """Promise so many slots to tasks whose grants are being committed."""
        self._reserved += count

    def release(self, count: int) -> None:
        """Take back promises that came to nothing."""
        self._reserved -= count
        self._on_room(self)

    def credit_given(self, credit: int) -> None:
        """The agent lets itself be given more. Cumulative; less than before changes nothing."""
        if credit <= self._credit:
            return
        if credit > self._sent + self.slots:
            raise ProtocolViolation(f"task credit {credit} is more than {self.slots} slots allow")
        self._credit = credit
        self._on_room(self)

    # -- what is said to the agent ------------------------------------------------------------------------------------

    def deliver(self, request: TaskRequest) -> None:
        """Hand over a task whose grant is committed and whose slot was reserved."""
        self._reserved -= 1
        self._tasks.append(request)
        self._wake.set()

    def stop(self, command: CancelCommand) -> None:
        """Ask the agent to stop an attempt, now and with every heartbeat until `answered`."""
        self._stops[command.ref] = command
        self._next.cancels.append(command)
        self._wake.set()

    def answered(self, refs: Iterable[AttemptRef]) -> None:
        """These attempts have ended: their stops need not be repeated."""
        if self._stops:
            for ref in refs:
                self._stops.pop(ref, None)

    def ack_results(self, acks: Iterable[ResultAck]) -> None:
        """Tell the agent that it may forget these results."""
        self._next.result_acks.extend(acks)
        self._wake.set()

    def ack_logs(self, acks: Iterable[LogAck]) -> None:
        """Tell the agent where to go on with its output. The latest word about a stream counts."""
        for ack in acks:
            self._next.log_acks[ack.ref, ack.stream] = ack
        self._wake.set()

    def give_response_credit(self, frames: int) -> None:
        """Let the agent send so many more frames with responses."""
        self._response_credit += frames
        self._next.response_credit = self._response_credit
        self._wake.set()

    def give_log_credit(self, size: int) -> None:
        """Let the agent send so many more bytes of output."""
        self._log_credit += size
        self._next.log_credit = self._log_credit
        self._wake.set()

    def say_goodbye(self, reason: str) -> None:
        """End the session on purpose, after what is to be said has been said."""
        self._next.goodbye = reason
        self._wake.set()

    async def outgoing(self) -> Outgoing:
        """The next frame: everything that gathered while the last one was being written.

        Raises what ended the session.
        """
        await self._wake.wait()
        if self.end is not None:
            raise self.end
        frame, self._next = self._next, Outgoing()
        self._fill(frame)
        if self._tasks:
            frame.cancels, self._next.cancels = self._split_cancels(frame.cancels)
        else:
            self._wake.clear()
        return frame

    def _fill(self, frame: Outgoing) -> None:
        """Let the frame carry tasks up to its bounds; one task that is larger travels alone."""
        size = 0
        while self._tasks and len(frame.tasks) < MOST_TASKS_PER_FRAME:
            size += _most_bytes(self._tasks[0])
            if frame.tasks and size > MOST_BYTES_PER_FRAME:
                break
            frame.tasks.append(self._tasks.popleft())
        self._sent += len(frame.tasks)

    def _split_cancels(self, cancels: list[CancelCommand]) -> tuple[list[CancelCommand], list[CancelCommand]]:
        """A stop must not overtake the task that it is about."""
        unsent = {request.ref for request in self._tasks}
        return [c for c in cancels if c.ref not in unsent], [c for c in cancels if c.ref in unsent]

    # -- what the agent says ------------------------------------------------------------------------------------------

    def heard(self, now: float) -> None:
        """A frame has come."""
        self.last_heard = now

    def heartbeat(self, number: int, *, load: float, draining: bool) -> None:
        """The agent lives. Answered with what it has not answered yet."""
        self.load = load
        self.draining = draining
        self._next.heartbeat = number
        said = {command.ref for command in self._next.cancels}
        self._next.cancels.extend(command for ref, command in self._stops.items() if ref not in said)
        self._wake.set()
        if not draining:
            self._on_room(self)

    def count_response_frame(self) -> None:
        """A frame with responses has come. Raises `CreditExceeded` past the credit."""
        self._response_frames += 1
        if self._response_frames > self._response_credit:
            raise CreditExceeded("more frames with responses than the credit allows")

    def count_log_bytes(self, size: int) -> None:
        """Output has come. Raises `CreditExceeded` past the credit."""
        self._log_bytes += size
        if self._log_bytes > self._log_credit:
            raise CreditExceeded("more output than the credit allows")

    # -- the end ------------------------------------------------------------------------------------------------------

    def close(self, end: LinkError) -> Sequence[TaskRequest]:
        """End it. Returns the tasks that were never handed to the stream: they provably never began."""
        if not self.is_open:
            return ()
        self.is_open = False
        self.end = end
        unsent = list(self._tasks)
        self._tasks.clear()
        self._wake.set()
        self._ended.set()
        return unsent

    async def ended(self) -> LinkError:
        """Wait for its end, and return what ended it."""
        await self._ended.wait()
        assert self.end is not None
        return self.end


def _most_bytes(request: TaskRequest) -> int:
    """A bound on the size of a task on its way."""
    metadata = request.spec.metadata
    characters = sum(len(name) + len(value) for name, value in metadata.items())
    small = BYTES_PER_TASK + BYTES_PER_ENTRY * len(metadata)
    return small + len(request.payload) + BYTES_PER_CHARACTER * characters
