"""Everything the agent is made of, put together in one place. It stops in the reverse order of these lines."""

from __future__ import annotations

import asyncio
import gc
import importlib
import os
import random
import secrets
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import structlog

from nodelink.failpoints import hit
from nodelink.quantities import format_quantity
from nodelink.switching import switch_often
from nodelink.v1 import agent_pb2
from nodelink.wire import EXECUTION_TO_PB
from nodelink_agent.carrier import Carrier
from nodelink_agent.command import SpawnerLost
from nodelink_agent.commands import Commands, SpawnerProcess, earlier_spawners
from nodelink_agent.context import BeginTrace
from nodelink_agent.early_stop import STOP_SIGNALS, EarlyStop
from nodelink_agent.handlers.echo import ECHO
from nodelink_agent.handlers.plans import plan_handlers
from nodelink_agent.handlers.registry import HandlerRegistry
from nodelink_agent.handlers.shell import command_id, shell
from nodelink_agent.identity import IdentityFile, host_id, open_identity
from nodelink_agent.journal.disk import Disk
from nodelink_agent.journal.file import JournalFile
from nodelink_agent.journal.journal import Journal
from nodelink_agent.journal.known import Known
from nodelink_agent.link import Introduction, Link
from nodelink_agent.outputs import AttemptDirectories
from nodelink_agent.pool import Pool
from nodelink_agent.resources import offered
from nodelink_agent.running import Elsewhere
from nodelink_agent.settings import LEAVE, STOP, AgentSettings
from nodelink_agent.status import forget_status, tell_status
from nodelink_agent.supervisor import Supervisor

_log = structlog.get_logger(__name__)


def run(settings: AgentSettings, spawner: SpawnerProcess, early: EarlyStop) -> None:
    """Run the agent until SIGTERM or SIGINT. IdentityError: it cannot begin; ExceptionGroup: it failed."""
    with open_identity(settings.directory) as identity:
        try:
            asyncio.run(_serve_until_signal(settings, spawner, identity, early))
        finally:
            forget_status(settings.directory)


async def _serve_until_signal(
    settings: AgentSettings, spawner: SpawnerProcess, identity: IdentityFile, early: EarlyStop
) -> None:
    """Serve; the first signal begins the drain, the second one ends it."""
    stop = asyncio.Event()
    serving = asyncio.create_task(serve(settings, spawner, identity, stop))

    def signalled() -> None:
        if stop.is_set():
            _log.warning("agent_stopped_at_once")
            serving.cancel()
        stop.set()

    for number in STOP_SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, signalled)
    if early.is_wished:
        stop.set()
    await asyncio.wait({serving})
    if not serving.cancelled():
        serving.result()


async def serve(settings: AgentSettings, spawner: SpawnerProcess, identity: IdentityFile, stop: asyncio.Event) -> None:
    """The agent, until `stop` is set and it has drained, or until it can run no commands any more: SpawnerLost."""
    file = await asyncio.to_thread(_open_journal, settings, identity)
    directories = AttemptDirectories(settings.directory / "attempts", settings.directory / "work")
    await asyncio.to_thread(directories.clear, keep=[attempt.request.ref for attempt in file.known])
    journal = Journal(file)
    who = identity.identity
    carrier = Carrier(settings.server, agent_id=who.agent_id, secret=who.secret_bytes, random=random.random)
    async with (
        carrier.open(),
        _traced(settings, identity) as begin_trace,
        _commands(settings, spawner, file.known) as commands,
        journal.open(),
    ):
        handlers = _handlers(settings, commands)
        pool = Pool(
            slots=settings.slots,
            handlers=handlers,
            journal=journal,
            open_output=directories.open,
            elsewhere=_elsewhere(commands),
            begin_trace=begin_trace,
            open_blobs=carrier.blobs,
        )
        supervisor = Supervisor(
            pool=pool,
            sessions=identity,
            dial=_dialler(settings, identity, file, handlers, pool),
            random=random.random,
            shutdown_grace=settings.shutdown_grace,
            leave=settings.on_stop == LEAVE,
        )
        _log.info("agent_started", agent_id=identity.identity.agent_id, name=settings.label, slots=settings.slots)
        _spare_the_collector()
        switch_often()
        async with pool.open():
            hit("agent.restore.before")
            pool.restore(file.known)
            hit("agent.restore.after")
            await _work(settings, supervisor, commands, pool, stop)
        if commands.broken.is_set():
            raise SpawnerLost("the process that starts commands has died, so this agent can run none; start it again")
    _log.info("agent_stopped")


def _handlers(settings: AgentSettings, commands: Commands) -> HandlerRegistry:
    """What this agent can do."""
    server, unsaved = str(settings.server), settings.directory / "unsaved-states"
    return HandlerRegistry(
        [
            ECHO,
            shell(commands, environment=os.environ, server=server),
            *plan_handlers(commands, settings.tools, environment=os.environ, server=server, unsaved=unsaved),
        ]
    )


async def _work(
    settings: AgentSettings, supervisor: Supervisor, commands: Commands, pool: Pool, stop: asyncio.Event
) -> None:
    """Keep connected and do what comes, until `stop` is set and the agent has drained."""
    async with asyncio.TaskGroup() as group:
        watch = group.create_task(_stop_without(commands, pool, stop), name="spawner watch")
        status = group.create_task(
            tell_status(settings.directory, server=str(settings.server), is_linked=lambda: supervisor.is_linked),
            name="status",
        )
        await supervisor.run(stop)
        watch.cancel()
        status.cancel()


def _spare_the_collector() -> None:
    """Let the garbage collector leave alone what stays, and look less often: attempts are many, and make no cycles."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)


def _open_journal(settings: AgentSettings, identity: IdentityFile) -> JournalFile:
    """What this agent knew when it last ran. JournalUnusable: it is there and cannot be understood."""
    return JournalFile(
        Disk(settings.directory),
        next_session=identity.identity.session + 1,
        reserve_bytes=settings.result_reserve * 1024 * 1024,
    )


@asynccontextmanager
async def _commands(
    settings: AgentSettings, spawner: SpawnerProcess, known: Sequence[Known]
) -> AsyncIterator[Commands]:
    """The spawner, and those of earlier starts. What runs at the end goes on, or is stopped, as is set."""
    async with Commands(spawner, earlier=earlier_spawners(spawner)) as commands:
        commands.disown({command_id(attempt.request.ref) for attempt in known})
        await asyncio.to_thread(commands.prune, {attempt.place for attempt in known if attempt.response is None})
        try:
            yield commands
        finally:
            if settings.on_stop == STOP and not commands.broken.is_set():
                await commands.leave(stop=True)


def _elsewhere(commands: Commands) -> Elsewhere:
    """What spawners are told of the attempts whose commands they hold."""
    return Elsewhere(
        extend=lambda extensions: commands.extend({command_id(ref): until for ref, until in extensions}),
        forget=lambda ref: commands.forget(command_id(ref)),
        limit=lambda limits: commands.limit(
            command_id(limits.ref),
            number=limits.number,
            run_until=limits.run_until,
            heartbeat_seconds=limits.heartbeat_seconds,
        ),
    )


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
    settings: AgentSettings, identity: IdentityFile, journal: JournalFile, handlers: HandlerRegistry, pool: Pool
) -> Callable[[int], Link]:
    host, software, instance = host_id(), _software_version(), secrets.token_hex(8)
    first_session = identity.identity.session + 1
    types = tuple(agent_pb2.Handler(type=entry.type, execution=EXECUTION_TO_PB[entry.execution]) for entry in handlers)
    resources = offered(settings.resources)
    _tell_offer(settings, resources, {entry.type for entry in handlers})

    def dial(session: int) -> Link:
        introduction = Introduction(
            agent_id=identity.identity.agent_id,
            secret=identity.identity.secret_bytes,
            session=session,
            remembers_since=max(journal.remembers_since, identity.identity.remembers_since),
            process_since=max(first_session, identity.identity.remembers_since),
            host_id=host,
            name=settings.label,
            pool=settings.pool,
            slots=settings.slots,
            handlers=types,
            labels=dict(settings.labels),
            resources=resources,
            type_limits=dict(settings.type_limits),
            plan_limit=settings.plan_limit,
            software_version=software,
            instance_id=instance,
        )
        return Link(settings.server, introduction, pool, random=random.random)

    return dial


def _tell_offer(settings: AgentSettings, resources: Mapping[str, int], types: Collection[str]) -> None:
    """Log what the agent offers, and what of its settings makes no difference here."""
    offer = {name: format_quantity(amount) for name, amount in resources.items()}
    _log.info("agent_offers", slots=settings.slots, resources=offer, labels=dict(settings.labels))
    for type in settings.type_limits:
        if type not in types:
            _log.warning("type_limit_unused", type=type, hint="this agent does not run tasks of that type")


async def _stop_without(commands: Commands, pool: Pool, stop: asyncio.Event) -> None:
    """Without its spawner an agent is of no use: it tells what there is to tell, and goes."""
    await commands.broken.wait()
    _log.error("spawner_died", replaced=commands.replaced)
    if not commands.replaced:
        pool.lost(commands.spawner_id)
    stop.set()


def _software_version() -> str:
    try:
        return version("nodelink")
    except PackageNotFoundError:
        return "unknown"
