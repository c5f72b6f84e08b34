"""Output on its way from an agent's cursors to a server's log book, over a link that loses its end at any moment.

However sessions, servers and databases come and go: what is stored is what was printed, in order, and where something
is missing there is a gap of its length.
"""

from __future__ import annotations

import asyncio
from collections import deque

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from nodelink.errors import StoreUnavailable
from nodelink.task import LogAck, LogChunk, LogStream
from nodelink_agent.core.logs import LogCursors
from nodelink_server.core.logbook import LogBook
from nodelink_server.core.ports import Batch, Change
from nodelink_server.core.registry import TaskRegistry
from nodelink_server.core.session import LOG_WINDOW_BYTES
from nodelink_server.core.task import stamp
from nodelink_server.store.disk import Disk
from nodelink_server.store.memory import MemoryStore
from tests.machines.effort import effort
from tests.machines.steps import START_MS, StillClock, grant, new_task, submit
from tests.support.core_parts import make_session

CHUNK_BYTES = 8
FRAME_BYTES = 20
STREAMS = st.sampled_from(LogStream)


class OutputMachine(RuleBasedStateMachine):
    """One attempt that prints, its agent, a link, and a server."""

    def __init__(self) -> None:
        super().__init__()
        self._runner = asyncio.Runner()
        self._failing = False
        self._store = MemoryStore(Disk(), fault=self._fault)
        self._task = new_task("t1", now=START_MS)
        self._apply(submit(self._task))
        granted = grant(self._task, agent_id="a1", fence=1, now=START_MS)
        self._apply(granted)
        self._task = granted.task
        self._cursors = LogCursors()
        self._printed = dict.fromkeys(LogStream, b"")
        self._dropped: dict[LogStream, set[int]] = {stream: set() for stream in LogStream}
        self._number = 0
        self._start_server()
        self._connect()

    def teardown(self) -> None:
        """Whatever happened, in the end all of it is stored."""
        self._failing = False
        for stream in LogStream:
            self._cursors.end(self._task.ref, {stream: len(self._printed[stream])})
        for _ in range(200):
            self._deliver_all()
            if self._cursors.is_complete(self._task.ref):
                break
            self._cursors.resend_still()
        assert self._cursors.is_complete(self._task.ref)
        self._runner.run(self._check(whole=True))
        self._runner.close()

    # -- the agent ----------------------------------------------------------------------------------------------------

    @rule(stream=STREAMS, size=st.integers(1, 60))
    def print_something(self, stream: LogStream, size: int) -> None:
        """The command prints."""
        before = self._printed[stream]
        self._printed[stream] = before + bytes(place % 251 for place in range(len(before), len(before) + size))
        self._cursors.grew(self._task.ref, stream, len(self._printed[stream]))

    @rule(stream=STREAMS, first=st.integers(0, 100), size=st.integers(1, 30))
    def drop(self, stream: LogStream, first: int, size: int) -> None:
        """The agent's spool is full: some of what was printed is there no more."""
        self._dropped[stream].update(range(first, min(first + size, len(self._printed[stream]))))

    @rule(frames=st.integers(1, 4))
    def send(self, frames: int) -> None:
        """The agent writes some frames."""
        for _ in range(frames):
            self._send_frame()

    def _send_frame(self) -> None:
        reads = self._cursors.next_reads(max_bytes=FRAME_BYTES, chunk_bytes=CHUNK_BYTES)
        chunks = [self._read(read.stream, read.offset, read.limit) for read in reads]
        for chunk in chunks:
            self._cursors.sent(chunk)
        if chunks:
            self._up.append(chunks)

    @rule()
    def beat(self) -> None:
        """A heartbeat goes by."""
        self._cursors.resend_still()

    # -- the link -----------------------------------------------------------------------------------------------------

    @rule()
    def deliver_to_server(self) -> None:
        """All that is under way arrives."""
        while self._up:
            self._book.receive(self._session, self._up.popleft())

    @precondition(lambda self: self._up)
    @rule()
    def lose_a_frame(self) -> None:
        """The server could make nothing of the oldest frame. What comes behind it would leave a hole."""
        self._up.popleft()

    @precondition(lambda self: self._down)
    @rule()
    def deliver_to_agent(self) -> None:
        """The oldest answer arrives."""
        acks, credit = self._down.popleft()
        for ack in acks:
            self._cursors.acknowledge(ack)
        self._cursors.allow(credit)

    @rule()
    def end_session(self) -> None:
        """The link breaks: what is under way is lost. The next session begins where the server says."""
        self._connect()

    # -- the server ---------------------------------------------------------------------------------------------------

    @rule(stream=STREAMS, size=st.integers(9, 60), lost=st.booleans())
    def print_and_lose(self, stream: LogStream, size: int, lost: bool) -> None:
        """It is printed, sent and stored, but for the first frame; or all of it, and the answer is lost."""
        self.print_something(stream, size)
        self.send(4)
        if self._up and lost:
            self._up.popleft()
        self.deliver_to_server()
        self.store()
        if not lost:
            self._down.clear()

    @rule()
    def store(self) -> None:
        """What has arrived is made durable, and acknowledged."""
        self._runner.run(self._store_all())
        self._answer()

    @rule()
    def fail_to_store(self) -> None:
        """The database is away at first."""
        self._failing = True
        self._runner.run(self._store_all())
        self._answer()

    @rule()
    def restart_server(self) -> None:
        """What was not durable is lost with it."""
        self._start_server()
        self._connect()

    @rule()
    def look(self) -> None:
        """What is stored so far is the beginning of what was printed."""
        self._runner.run(self._check(whole=False))

    # -- how ----------------------------------------------------------------------------------------------------------

    def _fault(self, kind: str) -> None:
        if kind == "append" and self._failing:
            self._failing = False
            raise StoreUnavailable("the database is away")

    def _apply(self, change: Change) -> None:
        receipt = self._runner.run(self._store.apply(Batch(now=START_MS, control_ms=0, changes=[change])))
        stamp(change.task, key=receipt.keys[0], revision=receipt.revisions[0])

    def _start_server(self) -> None:
        registry = TaskRegistry()
        registry.swap(put=[self._task])
        self._book = LogBook(
            store=self._store,
            registry=registry,
            clock=StillClock(),
            publish=lambda _events: None,
            is_heard=lambda _task_id: False,
        )

    def _connect(self) -> None:
        self._number += 1
        self._up: deque[list[LogChunk]] = deque()
        self._down: deque[tuple[list[LogAck], int]] = deque()
        self._session = make_session(number=self._number)
        ends = self._runner.run(self._book.ends(self._task, self._task.ref))
        assert ends is not None
        self._cursors.new_session()
        for stream, end in ((LogStream.STDOUT, ends.stdout), (LogStream.STDERR, ends.stderr)):
            if end:  # what begins at the start goes without saying
                self._cursors.resume(LogAck(self._task.ref, stream, end))
        self._cursors.allow(LOG_WINDOW_BYTES)

    def _read(self, stream: LogStream, offset: int, limit: int) -> LogChunk:
        """A run of what was printed, or the gap that stands there."""
        dropped, printed = self._dropped[stream], self._printed[stream]
        end, is_gap = offset, offset in dropped
        while end < len(printed) and (end in dropped) == is_gap and (is_gap or end < offset + limit):
            end += 1
        data = b"" if is_gap else printed[offset:end]
        return LogChunk(self._task.ref, stream, offset, data, end - offset if is_gap else 0)

    async def _store_all(self) -> None:
        while taken := self._book._take():
            try:
                await self._book._append(taken)
            except StoreUnavailable:
                self._book._intakes.clear()  # as its loop does before it tries again
                await self._book._append(taken)

    def _answer(self) -> None:
        if self._session._next is not None:
            frame = self._runner.run(self._session.outgoing())
            self._down.append((list(frame.log_acks.values()), frame.log_credit))

    def _deliver_all(self) -> None:
        self._send_frame()
        self.deliver_to_server()
        self.store()
        while self._down:
            self.deliver_to_agent()

    async def _check(self, *, whole: bool) -> None:
        for stream in LogStream:
            printed, end = self._printed[stream], 0
            for row in await self._store.read_logs(self._task.key, 1, stream, 0, 1 << 30):
                assert row.offset == end
                end += row.length
                assert end <= len(printed)
                if row.data:
                    assert row.data == printed[row.offset : end]
                else:
                    assert self._dropped[stream].issuperset(range(row.offset, end))
            assert end == len(printed) or not whole


TestOutput = OutputMachine.TestCase
TestOutput.settings = effort(200, 50)
