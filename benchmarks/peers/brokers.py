"""The peers' brokers, Debian's own, unpacked by scripts/peers: on free ports of loopback, with all data in a folder."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks.measurement import CannotMeasure
from benchmarks.peers.installed import PEERS
from benchmarks.processes import free_port, listening, running


class Broker(NamedTuple):
    """A running broker: where it is, and the process whose CPU counts."""

    url: str
    pid: int


@asynccontextmanager
async def redis(directory: Path) -> AsyncIterator[Broker]:
    """redis as Debian configures it: a snapshot now and then, and no log of what was written."""
    root, port, log = PEERS / "redis", free_port(), directory / "redis.log"
    libraries = ":".join(str(path) for path in (root / "usr" / "lib").glob("*-linux-*"))
    command = (root / "usr/bin/redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", directory)
    async with running(command, log=log, environment={"LD_LIBRARY_PATH": libraries}) as process:
        await listening(port, process, log)
        yield Broker(f"redis://127.0.0.1:{port}/0", process.pid)


@asynccontextmanager
async def rabbitmq(directory: Path) -> AsyncIterator[Broker]:
    """RabbitMQ with no plugins, and the daemon that Erlang wants beside it."""
    root, port, names, log = PEERS / "rabbitmq", free_port(), free_port(), directory / "rabbitmq.log"
    erlang, nothing = root / "usr/lib/erlang", directory / "nothing"
    environment = {
        "PATH": f"{erlang}/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "ERL_ROOTDIR": str(erlang),
        "ERL_EPMD_PORT": str(names),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "HOME": str(directory),  # Erlang keeps its cookie there
        "RABBITMQ_NODENAME": "peers@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(free_port()),
        "RABBITMQ_MNESIA_BASE": str(directory / "mnesia"),
        "RABBITMQ_LOG_BASE": str(directory / "logs"),
        "RABBITMQ_CONF_ENV_FILE": str(nothing),
        "RABBITMQ_CONFIG_FILE": str(nothing),
        "RABBITMQ_ADVANCED_CONFIG_FILE": f"{nothing}.config",
        "RABBITMQ_ENABLED_PLUGINS_FILE": f"{nothing}.plugins",
    }
    epmd = (_epmd(erlang), "-port", str(names))
    async with running(epmd, log=directory / "epmd.log", environment=environment) as daemon:
        await listening(names, daemon, directory / "epmd.log")
        async with running((_server(root),), log=log, environment=environment) as process:
            await listening(port, process, log)
            yield Broker(f"amqp://guest:guest@127.0.0.1:{port}//", process.pid)


def _server(root: Path) -> Path:
    for path in root.glob("usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin/rabbitmq-server"):
        return path
    raise CannotMeasure("Debian's package of rabbitmq has no rabbitmq-server where it is expected")


def _epmd(erlang: Path) -> Path:
    for path in erlang.glob("erts-*/bin/epmd"):
        return path
    raise CannotMeasure("Debian's package of Erlang has no epmd where it is expected")
