"""A server and a few agents, each behind a proxy of its own, that can be killed and started again one by one."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

from nodelink_agent.settings import AgentSettings
from nodelink_server.settings import ServerSettings
from tests.faults.clocks import WallClock, faketime, sweep
from tests.faults.disks import SmallDisk, small_disks
from tests.faults.notes import Notes, now
from tests.support.effects import Effects
from tests.support.processes import Agent, EndedEarly, Server, Service, Services, is_alive, services_in
from tests.support.rest import Rest
from tests.support.tcp_proxy import TcpProxy

SERVER = "server"
SLOTS = 12
LEAVE_SECONDS = 20.0
AGAIN_SECONDS = 0.2
BEGINNING_SECONDS = 5.0
ROOM_SECONDS = 30.0
"""A disk has room again within this."""
EX_SOFTWARE, EX_TEMPFAIL = 70, 75
PATIENCE_SECONDS = 8.0
"""For so long agents are kept waiting for a server that is away: refused again and again, they would stay away."""
SERVER_SETTINGS: Mapping[str, str] = {
    "heartbeat": "500ms",
    "lease": "20s",
    "lost_after": "40s",
    "unknown_after": "30s",
    "outage_grace": "5s",
    "silence_brake": "5s",
}
"""What makes a run short. What this version has no setting for is left at its default."""
LASTING: Mapping[str, str] = {"retention": "3650d", "cleanup_interval": "24h"}
"""What a jump of the wall clock would be entitled to end: the days of tasks and of their keys are the calendar's."""
SMALL: Mapping[str, str] = {"result_reserve": "1"}

Started = TypeVar("Started", bound=Service)


class Station:
    """The place of one agent."""

    def __init__(self, name: str, proxy: TcpProxy) -> None:
        self.name = name
        self.proxy = proxy
        self.agent: Agent | None = None
        self.lives = 0
        self.spawners = 0
        self.began_at = 0.0
        """When its agent was last started."""


class Stage:
    """The processes of one run."""

    def __init__(
        self,
        services: Services,
        directory: Path,
        notes: Notes,
        stations: Sequence[Station],
        *,
        disks: Mapping[str, SmallDisk],
        clocks: Mapping[str, WallClock],
    ) -> None:
        self.directory = directory
        self.disks = disks
        """Of the server and the stations, by name; none: they live on the disk of the machine."""
        self.clocks = clocks
        self.notes = notes
        self.effects = Effects(directory / "effects")
        self.stations = stations
        self.services = services
        self.address: Server | None = None
        """The server that runs, or ran last."""
        self._server_lives = 0
        self.flags: tuple[str, ...] = flags_of(ServerSettings, {**SERVER_SETTINGS, **(LASTING if clocks else {})})

    @property
    def server(self) -> Server:
        """The server that runs, or ran last."""
        assert self.address is not None
        return self.address

    def target(self) -> tuple[str, int]:
        """Where the server listens for agents."""
        host, port = self.server.grpc.rsplit(":", 1)
        return host, int(port)

    # --- the server

    async def start_server(self, failpoint: str = "") -> None:
        """Start it, where it was before. On a full disk it does not begin, and is started again until there is room."""
        server = await self._begun(
            SERVER,
            EX_TEMPFAIL,
            lambda env: self.services.server(*self.flags, again=self.address, failpoint=failpoint, env=env),
        )
        self._server_lives += 1
        self.address = server
        self._life(SERVER, "server", self._server_lives, "began", server.pid)

    async def start_server_to_die(self, failpoint: str) -> None:
        """Start it with a failpoint that it may come to before it is ready."""
        try:
            await self.start_server(failpoint)
        except EndedEarly as end:
            if end.code != -signal.SIGKILL:
                raise

    async def kill_server(self) -> None:
        """kill -9."""
        await self.server.kill()
        self.server_died()

    def server_died(self) -> None:
        """Write down that it is dead."""
        self._life(SERVER, "server", self._server_lives, "ended", self.server.pid)

    # --- agents

    async def start_agent(self, station: Station, failpoint: str = "") -> None:
        """Start a station's agent. On a full disk it does not begin, and is started again until there is room."""
        station.lives += 1
        began = station.began_at = now()
        settings = {"on_stop": "leave", "shutdown_grace": "2s", **(SMALL if self.disks else {})}
        words = {"name": station.name, "address": station.proxy.address, "failpoint": failpoint}
        agent = await self._begun(
            station.name,
            EX_SOFTWARE,
            lambda env: self.services.agent(
                self.server, *flags_of(AgentSettings, settings), slots=SLOTS, env=env, **words
            ),
        )
        station.agent = agent
        self._life(station.name, "agent", station.lives, "began", agent.pid, began)

    def could_not_begin(self, station: Station) -> bool:
        """Whether the disk of an agent was full when it began: then its spawner cannot begin, and it ends."""
        disk, began = self.disks.get(station.name), station.began_at
        return disk is not None and disk.was_full(began, began + BEGINNING_SECONDS)

    async def start_agent_to_die(self, station: Station, failpoint: str) -> None:
        """Start it with a failpoint that it may come to before its spawner is seen."""
        try:
            await self.start_agent(station, failpoint)
        except EndedEarly as end:
            if end.code != -signal.SIGKILL:
                raise

    async def kill_agent(self, station: Station) -> None:
        """kill -9, of the agent alone."""
        assert station.agent is not None
        await station.agent.kill()
        self.agent_died(station)

    def agent_died(self, station: Station) -> None:
        """Write down that it is dead."""
        assert station.agent is not None
        self._life(station.name, "agent", station.lives, "ended", station.agent.pid)

    async def leave_agent(self, station: Station) -> int:
        """SIGTERM, and the end in good order."""
        assert station.agent is not None
        station.agent.terminate()
        code = await station.agent.ended(LEAVE_SECONDS)
        self._life(station.name, "agent", station.lives, "left", station.agent.pid)
        return code

    def spawners(self, station: Station) -> list[int]:
        """The living spawners of a station: its agent's own, and those that earlier ones have left."""
        return [pid for pid in self.services.living() if is_spawner_of(pid, station.agent)]

    def kill_spawner(self, station: Station, pid: int) -> None:
        """kill -9, of a spawner alone."""
        os.kill(pid, signal.SIGKILL)
        self.spawner_died(station, pid)

    def spawner_died(self, station: Station, pid: int) -> None:
        """Write down that a spawner is dead."""
        station.spawners += 1
        self._life(station.name, "spawner", station.spawners, "ended", pid)

    async def mend_agent(self, station: Station) -> None:
        """See that a station's agent runs: one whose spawner has died may have gone, or may live on."""
        if station.agent is None or station.agent.has_ended or not is_alive(station.agent.pid):
            await self.start_agent(station)

    # --- all

    async def _begun(self, name: str, full: int, start: Callable[[Mapping[str, str]], Awaitable[Started]]) -> Started:
        """Start something on its machine. `full`: what it ends with if its disk has no room to begin."""
        clock, disk = self.clocks.get(name), self.disks.get(name)
        until = now() + (ROOM_SECONDS if disk is not None else 0)
        while True:
            try:
                return await start(clock.environment if clock is not None else {})
            except EndedEarly as end:
                if end.code != full or now() >= until:
                    raise
            await asyncio.sleep(AGAIN_SECONDS)

    async def online(self) -> None:
        """Wait until the server knows all agents to be there."""
        async with Rest(self.server) as rest:
            for station in self.stations:
                await rest.online(station.name)

    async def idle(self, seconds: float) -> None:
        """Wait until no task is live but what is in doubt; what is live then is for the checker to name."""
        async with Rest(self.server) as rest, asyncio.timeout(seconds):
            while await _live(rest):  # noqa: ASYNC110 - asked of another process
                await asyncio.sleep(0.25)

    def heal(self) -> None:
        """End whatever the network does."""
        for station in self.stations:
            station.proxy.heal()

    async def close_down(self) -> None:
        """End everything in good order, and say what lives all the same."""
        for station in self.stations:
            if station.agent is not None and not station.agent.has_ended:
                await self.leave_agent(station)
        self.server.terminate()
        await self.server.ended()
        self._life(SERVER, "server", self._server_lives, "left", self.server.pid)
        self.notes.write("alive", names=[[task, fence] for task, fence in running_attempts(self.services.living())])

    def _life(self, machine: str, kind: str, number: int, what: str, pid: int, at: float | None = None) -> None:
        words = {"machine": machine, "kind": kind, "number": number, "what": what, "pid": pid}
        self.notes.write("life", **words, since=at if at is not None else now())


@asynccontextmanager
async def stage_in(
    directory: Path,
    notes: Notes,
    *,
    agents: int,
    seed: int = 0,
    has_disks: bool = False,
    has_clocks: bool = False,
) -> AsyncIterator[Stage]:
    """A stage with its server and agents up. `has_disks`, `has_clocks`: each of them has its own."""
    stations: list[Station] = []
    names = [SERVER, *(f"agent-{number}" for number in range(agents))]
    places = {name: directory / "services" / name for name in names if has_disks}
    async with AsyncExitStack() as stack:
        disks = await stack.enter_async_context(small_disks(places))
        services = await stack.enter_async_context(services_in(directory / "services", shows_logs=False))
        clocks = stack.enter_context(_clocks(directory, notes, names if has_clocks else ()))
        stage = Stage(services, directory, notes, stations, disks=disks, clocks=clocks)
        stage.effects.prepare()
        offset = now() - time.time()
        notes.write("begin", seed=seed, offset=offset, agents=agents, flags=stage.flags, clocks=has_clocks)
        await stage.start_server()
        for number, name in enumerate(names[1:]):
            proxy = TcpProxy(stage.target, chance=random.Random(seed + number), patience=PATIENCE_SECONDS)
            stations.append(Station(name, await stack.enter_async_context(proxy)))
            await stage.start_agent(stations[-1])
        await stage.online()
        yield stage


@contextmanager
def _clocks(directory: Path, notes: Notes, names: Sequence[str]) -> Iterator[Mapping[str, WallClock]]:
    library = faketime()
    if not names:
        yield {}
        return
    assert library is not None, "libfaketime is not installed"
    try:
        yield {name: WallClock(directory / "clocks" / name, library) for name in names}
    finally:
        sweep(notes.pids)


def flags_of(cls: type[Any], wanted: Mapping[str, str]) -> tuple[str, ...]:
    """Settings as flags, as far as there are such settings."""
    known = {field.name: field.metadata["setting"].flag for field in dataclasses.fields(cls)}
    return tuple(word for name, text in wanted.items() if known.get(name) for word in (known[name], text))


def is_spawner_of(pid: int, agent: Agent | None) -> bool:
    """Whether a process is a spawner of this agent, or of one that was in its place before."""
    if agent is None:
        return False
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    if not any(b"nodelink_agent.spawner" in word for word in words):
        return False
    return pid == agent.spawner or any(bytes(agent.data_dir) in word for word in words)


def running_attempts(pids: Sequence[int]) -> set[tuple[str, int]]:
    """The attempts (task, fence) to which processes belong."""
    found = set()
    for pid in pids:
        try:
            given = dict(
                word.split(b"=", 1) for word in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0") if b"=" in word
            )
        except OSError:
            continue
        if b"NODELINK_FENCE" in given:
            found.add((given[b"NODELINK_TASK_ID"].decode(), int(given[b"NODELINK_FENCE"])))
    return found


async def _live(rest: Rest) -> bool:
    for status in ("created", "scheduled", "pending", "sent", "in_progress", "cancelling"):
        if (await rest.get("/tasks", status=status, page_size=1))["tasks"]:
            return True
    return False


async def died(service: Service, seconds: float) -> bool:
    """Whether it was killed within so many seconds, by itself."""
    try:
        return await service.ended(seconds) == -signal.SIGKILL
    except TimeoutError:
        return False
