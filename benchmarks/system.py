"""A server and agents as users run them, each in a process of its own, on a new database."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import grpc

from benchmarks.measurement import CannotMeasure
from benchmarks.processes import POLL_SECONDS, START_SECONDS, last_words, running
from benchmarks.raw import OPTIONS
from nodelink.v1 import admin_pb2, admin_pb2_grpc


class System(NamedTuple):
    """A running server: where gRPC and HTTP are served, and a channel to it."""

    address: str
    http: str
    channel: grpc.aio.Channel


@asynccontextmanager
async def server(directory: Path, *flags: str) -> AsyncIterator[tuple[str, asyncio.subprocess.Process]]:
    """A server on the database of a directory: its gRPC address, and its process. `flags`: what it is told beside."""
    log = directory / "nodelink_server.log"
    command = ("nodelink_server", "--data-dir", directory, "--grpc-address", "127.0.0.1:0", "--http-address")
    async with running((sys.executable, "-m", *command, "127.0.0.1:0", *flags), log=log) as process:
        addresses = await _addresses(directory / "addresses.json", process, log)
        yield addresses["grpc"], process


def agent_command(home: Path, address: str, *, slots: int, name: str) -> Sequence[str | Path]:
    """How an agent is started that keeps its things in a directory of its own."""
    command = ("nodelink_agent", "--data-dir", home, "--server", address, "--slots", str(slots))
    return (sys.executable, "-m", *command, "--name", name)


@asynccontextmanager
async def system(directory: Path, *, slots: int, agents: int = 1) -> AsyncIterator[System]:
    """A server, and agents that share so many slots."""
    async with AsyncExitStack() as stack:
        address, _ = await stack.enter_async_context(server(directory))
        for number in range(agents):
            home = directory / f"agent-{number}"
            home.mkdir()
            command = agent_command(home, address, slots=slots // agents, name=f"agent-{number}")
            await stack.enter_async_context(running(command, log=home / "log"))
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(address, options=OPTIONS))
        await agents_online(channel, agents)
        yield System(address, addresses_of(directory)["http"], channel)


def addresses_of(directory: Path) -> dict[str, str]:
    """Where a server that is running is found: `grpc` and `http`."""
    return {str(name): str(value) for name, value in json.loads((directory / "addresses.json").read_text()).items()}


async def _addresses(path: Path, process: asyncio.subprocess.Process, log: Path) -> dict[str, str]:
    async with asyncio.timeout(START_SECONDS):
        while not path.exists():  # noqa: ASYNC240 - another process writes it, and nothing else runs here
            if process.returncode is not None:
                raise CannotMeasure(f"the server ended at once: {last_words(log)}")
            await asyncio.sleep(POLL_SECONDS)
    return addresses_of(path.parent)


async def agents_online(channel: grpc.aio.Channel, wanted: int) -> None:
    """Wait until so many agents are there."""
    admin = admin_pb2_grpc.AgentAdminServiceStub(channel)
    request = admin_pb2.ListAgentsRequest(status=admin_pb2.AGENT_STATUS_ONLINE)
    async with asyncio.timeout(START_SECONDS + wanted):
        while len((await admin.ListAgents(request)).agents) < wanted:  # noqa: ASYNC110 - other processes tell
            await asyncio.sleep(POLL_SECONDS)
