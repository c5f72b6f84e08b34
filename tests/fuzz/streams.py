"""A target that is an agent, or several, of the worst kind: what it says is made of bytes, and so is when it says it.

The server's core, its edge and a store in memory are the real ones, in virtual time; only gRPC is left out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import count

import grpc
from google.protobuf.message import DecodeError

from nodelink import wire
from nodelink.errors import CallerError, LinkError, Overloaded, StoreError
from nodelink.task import (
    Accepted,
    AttemptRef,
    Declined,
    Execution,
    Finished,
    Gone,
    LogChunk,
    LogStream,
    Outcome,
    Progress,
    Started,
    Submission,
    TaskResponse,
    TaskSpec,
    TaskStatus,
    Update,
)
from nodelink.v1 import agent_pb2
from nodelink_server.core.assembly import Options
from nodelink_server.core.leases import Patience
from nodelink_server.core.manager import TaskManager
from nodelink_server.rpc.agents import AgentService
from nodelink_server.store.disk import Disk
from nodelink_server.store.memory import MemoryStore
from tests.fuzz.reader import Choices
from tests.simulation.loop import run_virtually
from tests.support.clock import LoopClock

MOST_STEPS = 60
MOST_BYTES = 4_096
QUIET_SECONDS = 6.0
SLOTS = 3
PAYLOAD = b'{"command": "true"}'
PATIENCE = Patience(lease=20_000, start_lease=10_000, lost_after=30_000, unknown_after=20_000, grace=5_000, brake=9_000)
"""Short, since every second of waiting costs a commit."""
AGENTS = ("0190f3a2-7c1e-7abc-8def-0123456789ab", "0190f3a2-7c1e-7abc-8def-0123456789ac")
UPDATES: Sequence[Update] = (
    Accepted(),
    Started(),
    Started(ago_ms=5_000, containment="cgroup"),
    Progress(fraction=0.5),
    Declined(),
    Declined(just_this=True),
    Gone(),
    Gone(agent_died=True),
    Finished(outcome=Outcome.COMPLETED, log_totals={LogStream.STDOUT: 8}),
    Finished(outcome=Outcome.FAILED, exit_code=1),
    Finished(outcome=Outcome.CANCELLED),
    Finished(outcome=Outcome.TIMEOUT, tree_gone=False),
)


class Context:
    """What gRPC would be to the service: frames that come in, frames that go out."""

    def __init__(self) -> None:
        self._frames: asyncio.Queue[object] = asyncio.Queue()
        self.sent: list[agent_pb2.ConnectResponse] = []

    def put(self, frame: object) -> None:
        """A frame has arrived."""
        self._frames.put_nowait(frame)

    async def read(self) -> object:
        """The next frame, or the end."""
        return await self._frames.get()

    async def write(self, frame: agent_pb2.ConnectResponse) -> None:
        """A frame goes out."""
        self.sent.append(frame)


class Stream:
    """One connection of an agent."""

    def __init__(self, service: AgentService, agent_id: str, session: int) -> None:
        self.agent_id = agent_id
        self.session = session
        self.context = Context()
        self._call = asyncio.create_task(service.Connect(None, self.context))  # type: ignore[arg-type]  # not gRPC's

    async def close(self) -> None:
        """End it. Raises what no agent may make of a server."""
        self.context.put(grpc.aio.EOF)  # type: ignore[attr-defined]  # unknown to the stubs
        try:
            async with asyncio.timeout(QUIET_SECONDS):
                await self._call
        except (LinkError, Overloaded, StoreError):
            pass


class Villain:
    """Does what the bytes say."""

    def __init__(self, manager: TaskManager, service: AgentService, choices: Choices) -> None:
        self._manager = manager
        self._service = service
        self._choices = choices
        self._session = 0
        self._streams: list[Stream] = []
        self._refs = [AttemptRef("nobody", 1, 1)]
        self.task_ids: list[str] = []
        self.completed: set[AttemptRef] = set()
        self._deeds = (
            self._say, self._say, self._say, self._print, self._beat, self._give_credit, self._wait, self._send_raw,
            self._say_hello, self._submit, self._cancel, self._hang_up,
        )  # fmt: skip

    async def run(self) -> None:
        """Do something until nothing is left to be read."""
        await self._submit()
        await self._say_hello()
        for _ in range(MOST_STEPS):
            if not self._choices.left:
                break
            await self._choices.choice(self._deeds)()
            await asyncio.sleep(self._choices.choice((0.0, 0.01, 1.0)))
            self._learn()
        for stream in self._streams:
            await stream.close()

    def _learn(self) -> None:
        """Hear which attempts there are."""
        for stream in self._streams:
            for frame in stream.context.sent:
                self._refs += [wire.ref_of(task.ref) for task in frame.tasks]
            stream.context.sent.clear()

    def _stream(self) -> Stream:
        return self._choices.choice(self._streams)

    def _ref(self) -> AttemptRef:
        ref = self._choices.choice(self._refs)
        return ref._replace(fence=ref.fence + 1) if self._choices.number(15) == 1 else ref

    async def _say(self) -> None:
        frame = agent_pb2.ConnectRequest()
        for _ in range(1 + self._choices.number(3)):
            response = TaskResponse(self._ref(), self._choices.choice(UPDATES))
            if isinstance(response.update, Finished) and response.update.outcome is Outcome.COMPLETED:
                self.completed.add(response.ref)
            wire.put_task_response(frame.responses.add(), response)
        self._stream().context.put(frame)

    async def _print(self) -> None:
        frame = agent_pb2.ConnectRequest()
        for _ in range(1 + self._choices.number(2)):
            gap = self._choices.number(20) if self._choices.chance() else 0
            data = b"" if gap else b"o" * self._choices.number(20)
            stream = self._choices.choice(list(LogStream))
            wire.put_log_chunk(frame.logs.add(), LogChunk(self._ref(), stream, self._choices.number(40), data, gap))
        self._stream().context.put(frame)

    async def _beat(self) -> None:
        frame = agent_pb2.ConnectRequest()
        frame.heartbeat.number = self._choices.number(10)
        frame.heartbeat.draining = self._choices.number(7) == 1
        for _ in range(self._choices.number(3)):
            wire.put_ref(frame.heartbeat.running.add(), self._ref())
        self._stream().context.put(frame)

    async def _give_credit(self) -> None:
        self._stream().context.put(agent_pb2.ConnectRequest(task_credit=self._choices.number(SLOTS * 4)))

    async def _wait(self) -> None:
        await asyncio.sleep(self._choices.choice((3.0, 6.0, 16.0, 35.0)))

    async def _send_raw(self) -> None:
        try:
            frame = agent_pb2.ConnectRequest.FromString(self._choices.some_bytes(200))
        except DecodeError:
            return
        for response in frame.responses:
            self.completed.add(wire.ref_of(response.ref))
        self._stream().context.put(frame)

    async def _say_hello(self) -> None:
        number = self._choices.number(3)
        if number == 1 and self._streams:
            session = self._stream().session
        else:
            self._session += 1
            session = self._session
        stream = Stream(self._service, self._choices.choice(AGENTS), session)
        self._streams.append(stream)
        stream.context.put(self._hello(stream, self._choices))
        stream.context.put(agent_pb2.ConnectRequest(task_credit=SLOTS))

    def _hello(self, stream: Stream, choices: Choices) -> agent_pb2.ConnectRequest:
        frame = agent_pb2.ConnectRequest()
        hello = frame.hello
        hello.protocol_min, hello.protocol_max = 1, choices.choice((2, 2, 1))
        hello.agent_id, hello.secret, hello.session = stream.agent_id, b"s" * 32, stream.session
        hello.remembers_since = choices.choice((1, stream.session))
        hello.process_since = choices.choice((1, stream.session))
        hello.host_id = choices.choice(("host", "other"))
        hello.instance_id = choices.choice(("one", "two"))
        hello.name, hello.pool, hello.slots, hello.software_version = "villain", "default", SLOTS, "0"
        hello.handlers.add(type="echo", execution=wire.EXECUTION_TO_PB[Execution.REPLAYABLE])
        hello.handlers.add(type="shell", execution=wire.EXECUTION_TO_PB[Execution.ONCE])
        for _ in range(choices.number(3)):
            held = hello.held.add()
            wire.put_ref(held.ref, self._ref())
            held.state = choices.number(7)  # type: ignore[assignment]  # also those that are none
        return frame

    async def _submit(self) -> None:
        lock = self._choices.choice(("", "lock"))
        specs = [
            TaskSpec(type="echo"),
            TaskSpec(type="shell", execution=Execution.ONCE, lock=lock),
            TaskSpec(type="shell", execution=Execution.EXCLUSIVE, lock=lock),
        ]
        outcomes = await self._manager.submit([Submission(spec=spec, payload=PAYLOAD) for spec in specs])
        self.task_ids += [outcome.task.id for outcome in outcomes if not isinstance(outcome, CallerError)]

    async def _cancel(self) -> None:
        task_id = self._choices.choice(self.task_ids)
        try:
            if self._choices.number(3) == 1:
                await self._manager.abandon(task_id, reason="given up")
            else:
                await self._manager.cancel(task_id)
        except CallerError:
            pass

    async def _hang_up(self) -> None:
        if len(self._streams) > 1:
            stream = self._stream()
            self._streams.remove(stream)
            await stream.close()


def agent_stream(data: bytes) -> None:
    """No agent, whatever it says, makes a server fail, forget, or believe in an end that nobody told."""
    run_virtually(_run(data[:MOST_BYTES]))


async def _run(data: bytes) -> None:
    clock, ids = LoopClock(), count(1)
    store = MemoryStore(Disk())
    manager = TaskManager(
        store=store, clock=clock, new_id=lambda: f"task-{next(ids)}", options=Options(patience=PATIENCE)
    )
    await manager.restore()
    async with manager.running():
        service = AgentService(manager, clock=clock, server_id="server", version="0")
        villain = Villain(manager, service, Choices(data))
        await villain.run()
        await asyncio.sleep(QUIET_SECONDS)
        assert manager.channel.depth == 0
        await _check_tasks(store, villain)


async def _check_tasks(store: MemoryStore, villain: Villain) -> None:
    events = await store.events(0, 1_000_000)
    revisions = [event.revision for event in events]
    assert revisions == sorted(set(revisions))
    for task_id in villain.task_ids:
        record = await store.read(task_id)
        assert record is not None
        task = record.task
        assert list(await store.history(task_id)) == [event for event in events if event.task_id == task_id]
        assert (task.finished_at is not None) == task.is_terminal
        assert task.status is not TaskStatus.COMPLETED or task.ref in villain.completed
        for attempt in range(1, task.grants + 1):
            rows = await store.read_logs(task.key, attempt, None, 0, 1 << 30)
            ends = [row.position + row.length for row in rows]
            assert [row.position for row in rows] == [0, *ends][: len(rows)]
