"""The agent's side of a simulated link: one session, from its hello to its end."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Collection, Coroutine, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nodelink.task import Execution
from nodelink_server.core.handshake import Hello
from nodelink_server.core.session import Outgoing
from tests.checking.history import Ack
from tests.simulation.frames import Frame, Refusal, Said, Welcome
from tests.simulation.pipes import PipeEnded, Wire

if TYPE_CHECKING:
    from tests.simulation.agents import AgentLife

HANDSHAKE_SECONDS = 15.0
SILENT_PERIODS = 3


class LinkDown(Exception):
    """The link has ended; `last_session` is what a refusal told."""

    def __init__(self, last_session: int | None = None) -> None:
        super().__init__()
        self.last_session = last_session


@dataclass(frozen=True, slots=True, kw_only=True)
class Introduction:
    """Who says hello."""

    agent_id: str
    host_id: str
    session: int
    slots: int
    handlers: Mapping[str, Execution]
    labels: Mapping[str, str]
    resources: Mapping[str, int]
    features: Collection[str]
    plan_limit: int


class AgentLink:
    """One session. Fails as a whole."""

    def __init__(self, life: AgentLife, wire: Wire[Frame], who: Introduction, *, chance: random.Random) -> None:
        self._life = life
        self._machine = life.execution.machine
        self._wire = wire
        self._who = who
        self._chance = chance
        self._loop = asyncio.get_running_loop()
        self._welcomed = asyncio.Event()
        self._interval = 0.0
        self._retimed = asyncio.Event()
        self._heard_at = 0.0
        self._beat_due = False
        self._speech_timer: asyncio.TimerHandle | None = None
        self._beats: dict[int, float] = {}
        """When each heartbeat was sent."""

    async def run(self, goodbye: asyncio.Event) -> None:
        """Carry the session. Returns after a goodbye of ours. Raises `LinkDown` or `ProtocolViolation`."""
        pumps = [self._pump(pump) for pump in (self._read(), self._write(goodbye), self._beat(), self._watch())]
        try:
            done, _ = await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
        errors = [error for pump in done if (error := pump.exception()) is not None]
        if errors:
            raise min(errors, key=lambda error: isinstance(error, LinkDown))

    def _pump(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return self._loop.create_task(coroutine)

    async def _read(self) -> None:
        try:
            while True:
                self._take(await self._wire.down.read())
        except PipeEnded:
            raise LinkDown from None

    async def _write(self, goodbye: asyncio.Event) -> None:
        self._wire.up.send(self._hello())
        await self._welcomed.wait()
        wake, chance = self._life.wake, self._chance
        while True:
            await wake.wait()
            wake.clear()
            said = self._gather()
            if said is not None:
                self._wire.up.send(said)
                wake.set()
                if chance.random() < 0.1:
                    await asyncio.sleep(chance.uniform(0, 0.5))
            elif goodbye.is_set():
                self._wire.up.send(Said(goodbye=True))
                return

    async def _beat(self) -> None:
        await self._welcomed.wait()
        while True:
            try:
                async with asyncio.timeout(self._interval * self._chance.uniform(0.9, 1.1)):
                    await self._retimed.wait()
                self._retimed.clear()
            except TimeoutError:
                self._beat_due = True
                self._life.wake.set()

    async def _watch(self) -> None:
        timer = self._loop.call_later(HANDSHAKE_SECONDS, self._welcomed.set)
        await self._welcomed.wait()
        timer.cancel()
        while self._interval:
            silence = self._loop.time() - self._heard_at
            if silence >= self._interval * SILENT_PERIODS:
                break
            await asyncio.sleep(self._interval * SILENT_PERIODS - silence + 0.001)
        raise LinkDown

    # -- what is said -------------------------------------------------------------------------------------------------

    def _hello(self) -> Hello:
        who, life = self._who, self._life
        return Hello(
            agent_id=who.agent_id,
            secret=who.agent_id.encode().ljust(32, b"."),
            session=who.session,
            remembers_since=life.remembers_since,
            process_since=life.process_since,
            host_id=who.host_id,
            instance_id=life.instance_id,
            name=who.agent_id,
            pool="default",
            slots=who.slots,
            handlers=who.handlers,
            labels=who.labels,
            resources=who.resources,
            features=who.features,
            plan_limit=who.plan_limit,
            held=life.core.hello_held(now=self._machine.now()),
        )

    def _gather(self) -> Said | None:
        life, now = self._life, self._machine.now()
        if not self._interval:
            return None
        outgoing = life.core.outgoing(now=now)
        chunks, reads = [], outgoing.reads
        while reads:
            for read in reads:
                chunk = life.execution.read(read)
                life.core.log_sent(chunk)
                chunks.append(chunk)
            reads = life.core.more_reads()
        self._speak_in_time(now)
        if not (outgoing.responses or chunks or outgoing.task_credit or self._beat_due):
            return None
        beat = life.core.heartbeat(now=now) if self._beat_due else None
        if beat is not None:
            self._beats[beat.number] = self._loop.time()
        self._beat_due = False
        return Said(
            task_credit=outgoing.task_credit,
            responses=outgoing.responses,
            chunks=chunks,
            heartbeat=beat.number if beat is not None else 0,
            interval_ms=round(self._interval * 1000),
            running=beat.refs if beat is not None else (),
            counted=beat.taken if beat is not None else None,
            draining=life.draining,
        )

    def _speak_in_time(self, now: float) -> None:
        """Have what waits for its moment said then."""
        speak_by = self._life.core.speak_by
        if speak_by is not None and self._speech_timer is None:
            left = self._machine.clock.real(speak_by - now)
            self._speech_timer = self._loop.call_later(left + 0.001, self._speak)

    def _speak(self) -> None:
        self._speech_timer = None
        self._life.wake.set()

    # -- what is heard ------------------------------------------------------------------------------------------------

    def _take(self, frame: Frame) -> None:
        if self._life.is_over:
            raise LinkDown
        self._heard_at = self._loop.time()
        if isinstance(frame, Refusal):
            raise LinkDown(frame.last_session)
        if isinstance(frame, Welcome):
            self._take_welcome(frame)
        else:
            assert isinstance(frame, Outgoing)
            self._take_outgoing(frame)

    def _take_welcome(self, welcome: Welcome) -> None:
        life = self._life
        self._interval = welcome.heartbeat
        work = life.core.welcomed(
            welcome.verdicts, response_credit=welcome.response_credit, log_credit=welcome.log_credit
        )
        life.execution.perform(work)
        self._beat_due = life.draining
        life.wake.set()
        self._welcomed.set()

    def _take_outgoing(self, frame: Outgoing) -> None:
        """Act on a frame, its items in the order that the link gives them."""
        core, perform, now = self._life.core, self._life.execution.perform, self._machine.now()
        if frame.result_acks:
            perform(core.result_acked(frame.result_acks))
        if frame.log_acks:
            perform(core.log_acked(frame.log_acks.values()))
        if frame.response_credit or frame.log_credit:
            core.credit(response_credit=frame.response_credit, log_credit=frame.log_credit)
        if frame.tasks:
            perform(core.received(frame.tasks, now=now))
        if frame.starts:
            perform(core.start(frame.starts, now=now))
        if frame.extends:
            perform(core.extend(frame.extends, now=now))
        if frame.cancels:
            perform(core.cancel(frame.cancels))
        if frame.heartbeat:
            self._acknowledged(frame.heartbeat)
            perform(core.heartbeat_acked(frame.heartbeat, frame.unknown))
            self._retime(frame.heartbeat_interval_ms)
        if frame.goodbye is not None:
            raise LinkDown

    def _retime(self, interval_ms: int) -> None:
        if interval_ms:
            self._interval = interval_ms / 1000
            self._retimed.set()

    def _acknowledged(self, number: int) -> None:
        machine, sent_at = self._machine, self._beats.get(number)
        if sent_at is not None:
            machine.history.acks.append(Ack(sent_at, self._loop.time(), machine.name))
