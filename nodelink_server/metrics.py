"""What the server has counted, as Prometheus reads it.

The core keeps plain numbers (`core/tally.py`); here they get names and text. What belongs to the loop is read on the
loop, the text is made in a thread, so that a scrape of many series delays nobody. While the database is away what
only it knows is left out, and the rest is told: that is when it is needed most.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

import structlog
from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder

from nodelink.errors import StoreError
from nodelink.task import TaskStatus
from nodelink_server.core.agents import AgentView
from nodelink_server.core.manager import TaskManager
from nodelink_server.core.tally import Tally
from nodelink_server.core.task import Task
from nodelink_server.core.vitals import Health
from nodelink_server.series import Families, counter, gauge, histogram, plain_counter, plain_gauge

CORDONED = "cordoned"
OPEN = frozenset({"online", "draining", CORDONED})
"""What an agent with an open session is."""

Encoder = Callable[[Any], bytes]

log = structlog.get_logger(__name__)


class Text(NamedTuple):
    """What is told, and the content type of the form that it is told in."""

    body: bytes
    content_type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Levels:
    """What stands at this moment, as opposed to what was counted."""

    health: Health
    live: Mapping[tuple[str, str], int] | None
    queued: Mapping[tuple[str, str], int] | None
    agents: Sequence[AgentView]
    channel_depth: int
    channel_capacity: int
    queue_depth: int
    listeners: int


class Exposition:
    """Everything under `/metrics`."""

    def __init__(self, manager: TaskManager, *, version: str, insecure: bool) -> None:
        self._manager = manager
        self._version = version
        self._insecure = insecure
        self._making: dict[str, asyncio.Task[Text]] = {}
        self._process = CollectorRegistry()
        ProcessCollector(registry=self._process)
        GCCollector(registry=self._process)

    async def render(self, accept: str = "") -> Text:
        """The whole text, in the form that an Accept header prefers: OpenMetrics, or the older one.

        Whoever asks while it is being made for another gets the same, so that nobody can have it made without end.
        """
        encode, content_type = choose_encoder(accept)
        making = self._making.get(content_type)
        if making is None:
            making = self._making[content_type] = asyncio.create_task(self._made(encode, content_type), name="metrics")
            making.add_done_callback(lambda _: self._making.pop(content_type))
        return await asyncio.shield(making)

    async def _made(self, encode: Encoder, content_type: str) -> Text:
        levels = await self._levels()
        return Text(await asyncio.to_thread(self._text, levels, encode), content_type)

    async def described(self) -> Sequence[Metric]:
        """Our own metrics, with whatever series they have now."""
        return list(self._families(await self._levels()))

    async def _levels(self) -> Levels:
        manager = self._manager
        live, queued = await self._counted()
        return Levels(
            health=manager.health(),
            live=live,
            queued=queued,
            agents=manager.agents.views(),
            channel_depth=manager.channel.depth,
            channel_capacity=manager.channel.capacity,
            queue_depth=manager.ledger.queue_depth,
            listeners=manager.events.listeners,
        )

    async def _counted(self) -> tuple[Mapping[tuple[str, str], int] | None, Mapping[tuple[str, str], int] | None]:
        """Live and queued tasks. None: the database cannot count them now."""
        try:
            return await self._manager.counts(), await self._manager.queued()
        except StoreError as error:
            log.warning("tasks_not_counted", error=error.message)
            return None, None

    def _text(self, levels: Levels, encode: Encoder) -> bytes:
        return encode(Families(chain(self._families(levels), self._process.collect())))

    def _families(self, levels: Levels) -> Iterator[Metric]:
        yield gauge("build_info", "Which version runs.", ("version",), {(self._version,): 1})
        yield plain_gauge(
            "insecure", "1: anybody who reaches this server can run commands on its agents.", self._insecure
        )
        yield from _levels(levels)
        yield from _pauses(self._manager)
        in_memory = self._manager.registry.snapshot()  # in the thread that makes the text: any may read it
        yield gauge("registry_tasks", "Tasks in memory, by status.", ("status",), _by_status(in_memory))
        yield gauge(
            "task_longest_wait_seconds",
            "How long the task in memory that has waited longest for an agent has waited.",
            ("pool",),
            _longest_waits(in_memory, time.time()),
            merge=max,
        )
        yield from _counts(self._manager.tally)
        yield from _histograms(self._manager.tally)


def _pauses(manager: TaskManager) -> Iterator[Metric]:
    kinds = Counter(pause.scope.partition(":")[0] for pause in manager.pauses())
    counts = {(kind,): kinds[kind] for kind in ("scheduler", "pool", "type")}
    yield gauge("pauses", "Pauses in force: of everything, of pools, of types.", ("kind",), counts)
    last = manager.checkpoints.last
    if last is not None:
        taken_at = last.taken_at / 1000
        yield plain_gauge("checkpoint_timestamp_seconds", "When the newest checkpoint was taken.", taken_at)
        yield plain_gauge("checkpoint_bytes", "How large the newest checkpoint is.", last.size)


def _levels(levels: Levels) -> Iterator[Metric]:
    health = levels.health
    yield plain_gauge("ready", "1: the server can do its work.", health.is_ready)
    parts = {("database",): health.database, ("dispatch",): health.dispatch}
    yield gauge("healthy", "1: this part of the server works.", ("part",), parts)
    if levels.live is not None:
        yield gauge("tasks_live", "Tasks that have not ended.", ("status", "pool"), levels.live)
    if levels.queued is not None:
        yield gauge("tasks_queued", "Tasks that wait for an agent.", ("pool", "priority"), levels.queued)
    yield gauge("agents_connected", "Agents with an open session.", ("pool",), _connected(levels.agents))
    yield gauge("agents_cordoned", "Connected agents that are kept from new work.", ("pool",), _cordoned(levels.agents))
    yield gauge("agent_slots", "Slots of connected agents.", ("pool", "state"), _slots(levels.agents))
    yield plain_gauge("response_channel_depth", "Frames of responses that wait.", levels.channel_depth)
    yield plain_gauge("response_channel_capacity", "Frames of responses that may wait.", levels.channel_capacity)
    yield plain_gauge("store_queue_depth", "Operations that wait for the next commit.", levels.queue_depth)
    yield plain_gauge("events_listeners", "Open event streams.", levels.listeners)


def _counts(tally: Tally) -> Iterator[Metric]:
    by_type, by_status = ("type", "pool"), ("type", "pool", "status")
    yield counter("tasks_submitted", "Tasks that were accepted.", by_type, tally.submitted)
    yield counter("tasks_finished", "Tasks that have ended.", by_status, tally.finished)
    yield counter(
        "task_retries",
        "Tries after a failure, and finished tasks that were run again as new ones.",
        by_type,
        tally.retries,
    )
    yield counter("assignments", "Tasks handed to agents, by what came of it.", ("outcome",), _keyed(tally.assignments))
    yield counter("offers", "Offers to agents that are over, by what ended them.", ("outcome",), _keyed(tally.offers))
    yield counter(
        "leases_expired",
        "Attempts of which nothing was heard until their lease ran out.",
        ("execution",),
        _keyed(tally.leases_expired),
    )
    yield counter(
        "approvals",
        "Plans that wait for an approval no more: approved, rejected or expired.",
        ("outcome",),
        _keyed(tally.approvals),
    )
    yield counter("responses", "Responses of agents.", ("kind",), _keyed(tally.responses))
    yield plain_counter(
        "late_results", "Ends of attempts that no longer counted, kept as evidence.", tally.late_results
    )
    yield counter(
        "agent_use_differs",
        "Times that an agent went on to count otherwise than the server what is taken of it.",
        ("pool",),
        _keyed(tally.use_differs),
    )
    yield plain_counter("hellos_refused", "Agents that were told to connect later.", tally.hellos_refused)
    yield plain_counter("response_channel_full", "Times that the response channel was full.", tally.channel_full)
    yield plain_counter("events_dropped", "Events that slow listeners did not get.", tally.events_dropped)
    yield counter("checkpoints", "Checkpoints, by what came of them.", ("outcome",), _keyed(tally.checkpoints))
    yield plain_counter("cleanup_removed", "Tasks that the clean-up has deleted.", tally.cleanup_removed)
    yield plain_counter("cleanup_runs", "Runs of the clean-up.", tally.cleanup_runs)
    yield counter("blob_bytes", "Bytes of blobs that were written or read.", ("direction",), _keyed(tally.blob_bytes))
    yield plain_counter("blobs_removed", "Blobs that stood for nothing and were removed.", tally.blobs_removed)


def _histograms(tally: Tally) -> Iterator[Metric]:
    by_type = ("type", "pool")
    yield histogram("task_queue_seconds", "From ready to granted.", by_type, tally.queue_seconds)
    yield histogram("task_run_seconds", "From started to ended.", by_type, tally.run_seconds)
    yield histogram("task_total_seconds", "From accepted to ended.", by_type, tally.total_seconds)
    yield histogram("store_commit_seconds", "How long a commit takes.", (), {(): tally.commit_seconds})
    yield histogram("store_commit_rows", "Changes in one commit.", (), {(): tally.commit_rows})
    yield histogram("cleanup_seconds", "How long a clean-up takes.", (), {(): tally.cleanup_seconds})
    yield histogram("checkpoint_seconds", "How long it takes to take a checkpoint.", (), {(): tally.checkpoint_seconds})
    late = "How late the event loop is: each second, and for the answer to each commit."
    yield histogram("loop_lag_seconds", late, (), {(): tally.loop_lag})


def _connected(agents: Sequence[AgentView]) -> Mapping[tuple[str], int]:
    pools: dict[tuple[str], int] = defaultdict(int)
    for agent in agents:
        pools[agent.pool,] += agent.status in OPEN
    return pools


def _cordoned(agents: Sequence[AgentView]) -> Mapping[tuple[str], int]:
    pools: dict[tuple[str], int] = defaultdict(int)
    for agent in agents:
        pools[agent.pool,] += agent.status == CORDONED
    return pools


def _slots(agents: Sequence[AgentView]) -> Mapping[tuple[str, str], int]:
    slots: dict[tuple[str, str], int] = defaultdict(int)
    for agent in agents:
        if agent.status in OPEN:
            slots[agent.pool, "free"] += agent.free_slots
            slots[agent.pool, "taken"] += max(0, agent.slots - agent.free_slots)
    return slots


def _by_status(tasks: Iterable[Task]) -> Mapping[tuple[str], float]:
    return Counter((task.status.value,) for task in tasks)


def _longest_waits(tasks: Iterable[Task], now: float) -> Mapping[tuple[str], float]:
    waits: dict[tuple[str], float] = {}
    for task in tasks:
        if task.status is TaskStatus.PENDING and task.ready_at is not None:
            pool = (task.spec.pool,)
            waits[pool] = max(waits.get(pool, 0.0), now - task.ready_at / 1000)
    return waits


def _keyed(values: Mapping[str, int]) -> Mapping[tuple[str], int]:
    return {(key,): value for key, value in dict(values).items()}
