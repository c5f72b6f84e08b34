"""Everything the agent is made of, put together in one place. It stops in the reverse order of these lines."""

from __future__ import annotations

import asyncio
import importlib
import os
import random
import shutil
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import structlog

from nodelink.task import AttemptRef
from nodelink.v1 import agent_pb2
from nodelink.wire import EXECUTION_TO_PB
from nodelink_agent.commands import Commands, SpawnerProcess
from nodelink_agent.context import BeginTrace
from nodelink_agent.handlers.echo import ECHO
from nodelink_agent.handlers.registry import HandlerRegistry
from nodelink_agent.handlers.shell import shell
from nodelink_agent.identity import IdentityFile, host_id, open_identity
from nodelink_agent.link import Introduction, Link
from nodelink_agent.output import Output
from nodelink_agent.pool import Pool
from nodelink_agent.settings import AgentSettings
from nodelink_agent.status import forget_status, tell_status
from nodelink_agent.supervisor import Supervisor

_log = structlog.get_logger(__name__)


class SpawnerDied(Exception):
    """The process that starts commands has died, so this agent can run none; start it again."""


def run(settings: AgentSettings, spawner: SpawnerProcess) -> None:
    """Run the agent until SIGTERM or SIGINT. IdentityError: it cannot begin; ExceptionGroup: it failed."""
    with open_identity(settings.directory) as identity:
        try:
            asyncio.run(_serve_until_signal(settings, spawner, identity))
        finally:
            forget_status(settings.directory)


async def _serve_until_signal(settings: AgentSettings, spawner: SpawnerProcess, identity: IdentityFile) -> None:
    """Serve; the first signal begins the drain, the second one ends it."""
    stop = asyncio.Event()
    serving = asyncio.create_task(serve(settings, spawner, identity, stop))

    def signalled() -> None:
        if stop.is_set():
            _log.warning("agent_stopped_at_once")
            serving.cancel()
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, signalled)
    await asyncio.wait({serving})
    if not serving.cancelled():
        serving.result()


async def serve(settings: AgentSettings, spawner: SpawnerProcess, identity: IdentityFile, stop: asyncio.Event) -> None:
    """The agent, until `stop` is set and it has drained."""
    attempts = settings.directory / "attempts"
    await asyncio.to_thread(_clear, attempts)
    async with _traced(settings, identity) as begin_trace, Commands(spawner) as commands:
        handlers = HandlerRegistry([ECHO, shell(commands, environment=os.environ, server=str(settings.server))])
        pool = Pool(slots=settings.slots, handlers=handlers, open_output=_outputs_in(attempts), begin_trace=begin_trace)
        supervisor = Supervisor(
            pool=pool,
            sessions=identity,
            dial=_dialler(settings, identity, handlers, pool),
            random=random.random,
            shutdown_grace=settings.shutdown_grace,
        )
        _log.info("agent_started", agent_id=identity.identity.agent_id, name=settings.label, slots=settings.slots)
        async with pool.open(), asyncio.TaskGroup() as group:
            watch = group.create_task(_fail_without(commands), name="spawner watch")
            status = group.create_task(
                tell_status(settings.directory, server=str(settings.server), is_linked=lambda: supervisor.is_linked),
                name="status",
            )
            await supervisor.run(stop)
            watch.cancel()
            status.cancel()
    _log.info("agent_stopped")


@asynccontextmanager
async def _traced(settings: AgentSettings, identity: IdentityFile) -> AsyncIterator[BeginTrace | None]:
    """Spans of attempts, sent to an endpoint. Without one nothing of it is even loaded."""
    if not settings.otlp_endpoint:
        yield None
        return
    tracing: Any = importlib.import_module("nodelink_agent.tracing")
    async with tracing.open_trace(
        settings.otlp_endpoint, version=_software_version(), agent_id=identity.identity.agent_id
    ) as begin_trace:
        yield begin_trace


def _dialler(
    settings: AgentSettings, identity: IdentityFile, handlers: HandlerRegistry, pool: Pool
) -> Callable[[int], Link]:
    host, software = host_id(), _software_version()
    types = tuple(agent_pb2.Handler(type=entry.type, execution=EXECUTION_TO_PB[entry.execution]) for entry in handlers)

    def dial(session: int) -> Link:
        introduction = Introduction(
            agent_id=identity.identity.agent_id,
            secret=identity.identity.secret_bytes,
            session=session,
            remembers_since=identity.remembers_since,
            host_id=host,
            name=settings.label,
            pool=settings.pool,
            slots=settings.slots,
            handlers=types,
            labels=dict(settings.labels),
            software_version=software,
        )
        return Link(settings.server, introduction, pool, random=random.random)

    return dial


def _outputs_in(directory: Path) -> Callable[[AttemptRef, Callable[[], None]], Output]:
    def open_output(ref: AttemptRef, on_growth: Callable[[], None]) -> Output:
        return Output(directory / f"{ref.task_id}-{ref.attempt}-{ref.fence}", on_growth)

    return open_output


def _clear(attempts: Path) -> None:
    """Remove what an earlier process left: nothing in this one knows of it."""
    if attempts.exists():
        shutil.rmtree(
            attempts, onerror=lambda _, path, error: _log.warning("not_removed", path=path, error=str(error[1]))
        )
    attempts.mkdir(mode=0o700, exist_ok=True)


async def _fail_without(commands: Commands) -> None:
    await commands.broken.wait()
    raise SpawnerDied


def _software_version() -> str:
    try:
        return version("nodelink")
    except PackageNotFoundError:
        return "unknown"
