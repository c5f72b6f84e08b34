"""Everything the server is made of, put together in one place. It stops in the reverse order of these lines."""

from __future__ import annotations

import asyncio
import gc
import importlib
import json
import os
import random
import resource
import secrets
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import structlog

from nodelink.address import Address
from nodelink.checkpoint import CheckpointRefused
from nodelink.errors import (
    CannotListen,
    CheckpointNotFound,
    NodelinkError,
    ServerNotEmpty,
    StoreError,
    StoreUnavailable,
)
from nodelink.failpoints import hit
from nodelink.ids import IdMaker
from nodelink.settings import EX_CONFIG
from nodelink.switching import switch_often
from nodelink_server.clock import SystemClock
from nodelink_server.core.assembly import Options
from nodelink_server.core.leases import Patience
from nodelink_server.core.manager import TaskManager
from nodelink_server.core.observer import Observer
from nodelink_server.loop_errors import LoopErrors
from nodelink_server.rpc.server import grpc_server
from nodelink_server.settings import ServerSettings
from nodelink_server.store.checkpoint_shelf import open_shelf
from nodelink_server.store.errors import DatabaseHeld
from nodelink_server.store.files import unwritable
from nodelink_server.store.sql import open_store
from nodelink_server.web.server import http_server

EX_UNAVAILABLE = 69
EX_TEMPFAIL = 75
DRAIN_SECONDS = 0.2
"""How long goodbyes may take to leave before the ports are closed."""
MOST_FILES = 65_536
MIB = 1 << 20

log = structlog.get_logger(__name__)


class CannotBegin(Exception):
    """The server cannot begin. `exit_code` says of what kind the reason is."""

    def __init__(self, reason: NodelinkError) -> None:
        super().__init__(reason.message)
        self.exit_code = EX_CONFIG
        if isinstance(reason, CannotListen):
            self.exit_code = EX_UNAVAILABLE
        elif isinstance(reason, DatabaseHeld | StoreUnavailable):
            self.exit_code = EX_TEMPFAIL


def run(settings: ServerSettings) -> None:
    """Run the server until SIGTERM or SIGINT. Raises `CannotBegin`; NodelinkError, ExceptionGroup: it failed."""
    asyncio.run(_serve_until_signal(settings))


def _reasons(error: BaseException) -> Iterator[NodelinkError]:
    """Why the server could not begin, among the errors that came together."""
    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            yield from _reasons(part)
    elif isinstance(error, CannotListen | StoreError | CheckpointRefused | CheckpointNotFound | ServerNotEmpty):
        yield error


async def serve(settings: ServerSettings, stop: asyncio.Event, ready: asyncio.Event) -> None:
    """The server, until `stop` is set and it has drained. Sets `ready` once it can be used."""
    asyncio.get_running_loop().set_exception_handler(LoopErrors())
    _open_many_files()
    clock = SystemClock()
    new_id = IdMaker(now=clock.now, random_bits=_cheap_chance().getrandbits)
    software, server_id = _software_version(), new_id()
    checkpoints = settings.data_dir / "checkpoints"
    async with (
        _traced(settings.otlp_endpoint, software, server_id) as observer,
        open_store(settings.database, ids=new_id, blob_reserve=settings.blob_reserve * MIB) as store,
        open_shelf(store, settings.database, checkpoints) as shelf,
    ):
        hit("server.boot.opened")
        if settings.load_checkpoint:
            path, as_waiting = Path(settings.load_checkpoint), settings.load_as_waiting
            await shelf.load_file(path, now=clock.now(), as_waiting=as_waiting)
        manager = TaskManager(
            store=store, clock=clock, new_id=new_id, options=_options(settings), observer=observer, shelf=shelf
        )
        store.watch_lag(manager.tally.loop_lag.observe)
        await manager.restore()
        hit("server.boot.restored")
        _spare_the_collector()
        switch_often()
        async with (
            manager.running(),
            grpc_server(manager, settings.grpc_address, clock=clock, server_id=server_id, version=software) as grpc,
            http_server(
                manager,
                settings.http_address,
                version=software,
                allowed_hosts=settings.allowed_hosts,
                insecure=settings.insecure,
            ) as http,
        ):
            with _addresses(settings.data_dir, grpc, http):
                ready.set()
                log.info("server_ready", grpc=str(grpc), http=f"http://{http}", version=software)
                await stop.wait()
                log.info("server_stopping")
                hit("server.drain.begun")
                await manager.drain()
                await asyncio.sleep(DRAIN_SECONDS)
    log.info("server_stopped")


@asynccontextmanager
async def _traced(endpoint: str, version: str, server_id: str) -> AsyncIterator[Observer | None]:
    """Spans of tasks, sent to an endpoint. Without one nothing of it is even loaded."""
    if not endpoint:
        yield None
        return
    tracing: Any = importlib.import_module("nodelink_server.tracing")
    async with tracing.open_observer(endpoint, version=version, server_id=server_id) as observer:
        yield observer


async def _serve_until_signal(settings: ServerSettings) -> None:
    """Serve; the first signal begins the end, the second one is not waited for."""
    stop, ready = asyncio.Event(), asyncio.Event()
    serving = asyncio.create_task(serve(settings, stop, ready))

    def signalled() -> None:
        if stop.is_set():
            log.warning("server_stopped_at_once")
            serving.cancel()
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, signalled)
    await asyncio.wait({serving})
    if serving.cancelled() or (error := serving.exception()) is None:
        return
    reason = None if ready.is_set() else next(_reasons(error), None)
    if reason is None:
        raise error
    raise CannotBegin(reason) from error


def _cheap_chance() -> random.Random:
    """Chance for ids, which must be unique and need not be secret: the system's own costs a call into the kernel."""
    return random.Random(secrets.randbits(256))  # noqa: S311


def _open_many_files() -> None:
    """Every connection is an open file, and what a process may open without asking is often only 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _spare_the_collector() -> None:
    """Let the garbage collector leave alone what stays, and look less often: tasks are many, and make no cycles.

    With the defaults it takes a quarter of the loop's time under load.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


@contextmanager
def _addresses(data_dir: Path, grpc: Address, http: Address) -> Iterator[None]:
    """Let others on this machine find the server while it is ready. Raises what `unwritable` says."""
    path = data_dir / "addresses.json"
    written = path.with_suffix(".tmp")
    try:
        written.write_text(json.dumps({"grpc": str(grpc), "http": f"http://{http}", "pid": os.getpid()}) + "\n")
        written.replace(path)
    except OSError as error:
        raise unwritable(str(path), error) from error
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _options(settings: ServerSettings) -> Options:
    return Options(
        channel_size=settings.response_channel_size,
        cleanup_delay=settings.cleanup_delay,
        cleanup_interval=settings.cleanup_interval,
        retention=settings.retention,
        heartbeat=settings.heartbeat,
        patience=Patience(
            lease=_ms(settings.lease),
            start_lease=_ms(settings.start_lease),
            lost_after=_ms(settings.lost_after),
            unknown_after=_ms(settings.unknown_after),
            grace=_ms(settings.outage_grace),
            brake=_ms(settings.silence_brake),
        ),
        hello_rate=settings.hello_rate,
        window=settings.window,
        max_live_tasks=settings.max_live_tasks,
        max_running=settings.max_running,
        blob_quota=settings.blob_quota * MIB,
        blob_retention=settings.blob_retention,
        approval_timeout=settings.approval_timeout,
        priority_rules=settings.priority_rules,
        assignment=settings.assignment,
        start_paused=settings.scheduler_start == "paused",
        checkpoint_interval=settings.checkpoint_interval,
        checkpoints_kept=settings.checkpoints_kept,
    )


def _ms(seconds: float) -> int:
    return round(seconds * 1000)


def _software_version() -> str:
    try:
        return version("nodelink")
    except PackageNotFoundError:
        return "unknown"
