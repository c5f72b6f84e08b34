"""The peers that NodeLink is measured beside, and with what settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """One peer. Its app is a module of this folder; its worker is a program of its environment."""

    key: str
    name: str
    app: str
    worker: Sequence[str]
    settings: str  # for people
    broker: str = "redis"
    results: str = ""  # where results go, if not to the broker
    environment: str = "clients"
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def parts(self) -> Sequence[str]:
        """What of scripts/peers it needs."""
        return (self.environment, self.broker)


_CELERY = ("celery", "-A", "benchmarks.peers.celery_app", "worker", "--loglevel", "WARNING")
_LEAN = ("--pool", "threads", "--concurrency", "2", "--without-gossip", "--without-mingle", "--without-heartbeat")
_TUNED = {"PEER_TUNED": "1"}

CELERY = "peer.celery-redis"
PEERS: Sequence[Peer] = (
    Peer(
        key=CELERY,
        name="Celery + redis, default",
        app="celery_app",
        worker=_CELERY,
        settings="as it comes: a process for each core, prefetch 4",
    ),
    Peer(
        key="peer.celery-redis-tuned",
        name="Celery + redis, tuned",
        app="celery_app",
        worker=(*_CELERY, *_LEAN),
        settings="2 threads, prefetch 128, no events, rate limits, gossip, mingle and heartbeats",
        variables=_TUNED,
    ),
    Peer(
        key="peer.celery-rabbitmq",
        name="Celery + rabbitmq, tuned",
        app="celery_app",
        worker=(*_CELERY, *_LEAN),
        settings="the same, results over rpc://",
        broker="rabbitmq",
        results="rpc://",
        variables=_TUNED,
    ),
    Peer(
        key="peer.dramatiq",
        name="Dramatiq + redis",
        app="dramatiq_app",
        worker=("dramatiq", "benchmarks.peers.dramatiq_app", "--processes", "2", "--threads", "4", "--skip-logging"),
        settings="2 processes with 4 threads each",
        variables={"dramatiq_queue_prefetch": "64"},
    ),
    Peer(
        key="peer.huey",
        name="Huey + redis, tuned",
        app="huey_app",
        worker=("huey_consumer", "benchmarks.peers.huey_app.huey", "--workers", "4", "--no-periodic", "--quiet"),
        settings="4 threads, blocking reads, results announced instead of polled for",
    ),
    Peer(
        key="peer.taskiq",
        name="Taskiq + redis, tuned",
        app="taskiq_app",
        worker=(
            *("taskiq", "worker", "benchmarks.peers.taskiq_app:broker", "--workers", "2"),
            *("--max-async-tasks", "100", "--max-prefetch", "100", "--log-level", "WARNING"),
        ),
        settings="2 processes, 100 tasks at a time each, 50 results polled for every millisecond",
    ),
    Peer(
        key="peer.arq",
        name="arq, tuned",
        app="arq_app",
        worker=("arq", "benchmarks.peers.arq_app.Worker"),
        settings="100 jobs at a time, queue and results polled every 2 ms",
        environment="arq",
    ),
)
