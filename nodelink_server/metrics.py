"""What the server has counted, as Prometheus reads it.

The core keeps plain numbers (`core/tally.py`); here they get names and text. What belongs to the loop is read on the
loop, the text is made in a thread, so that a scrape of many series delays nobody.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar, cast

from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from nodelink_server.core.agents import AgentView
from nodelink_server.core.manager import TaskManager
from nodelink_server.core.tally import Buckets, Tally

MOST_SERIES = 500
"""Series a metric may have. Pools are named by callers, so that what is more is counted together, as `other`."""

OTHER = "other"

_Key = TypeVar("_Key", bound=tuple[str, ...])
_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True, kw_only=True)
class Levels:
    """What stands at this moment, as opposed to what was counted."""

    live: Mapping[tuple[str, str], int]
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
        self._process = CollectorRegistry()
        ProcessCollector(registry=self._process)
        GCCollector(registry=self._process)

    async def render(self) -> bytes:
        """The whole text. Raises `StoreUnavailable` if the tasks cannot be counted."""
        levels = await self._levels()
        return await asyncio.to_thread(self._text, levels)

    async def _levels(self) -> Levels:
        manager = self._manager
        return Levels(
            live=await manager.counts(),
            agents=manager.agents.views(),
            channel_depth=manager.channel.depth,
            channel_capacity=manager.channel.capacity,
            queue_depth=manager.ledger.queue_depth,
            listeners=manager.events.listeners,
        )

    def _text(self, levels: Levels) -> bytes:
        return generate_latest(_Once(self._families(levels))) + generate_latest(self._process)

    def _in_memory(self) -> Mapping[tuple[str], int]:
        """Read in the thread that makes the text: the registry may be read from any."""
        return Counter((task.status.value,) for task in self._manager.registry.snapshot())

    def _families(self, levels: Levels) -> Iterator[Metric]:
        yield _gauge("build_info", "Which version runs.", ("version",), {(self._version,): 1})
        yield _plain_gauge(
            "insecure", "1: anybody who reaches this server can run commands on its agents.", self._insecure
        )
        yield from _levels(levels)
        yield _gauge("registry_tasks", "Tasks in memory, by status.", ("status",), self._in_memory())
        yield from _counts(self._manager.tally)
        yield from _histograms(self._manager.tally)


class _Once(Collector):
    """Families made for one reading."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = families

    def collect(self) -> Iterable[Metric]:
        return self._families


def _levels(levels: Levels) -> Iterator[Metric]:
    yield _gauge("tasks_live", "Tasks that have not ended.", ("status", "pool"), levels.live)
    yield _gauge("agents_connected", "Agents with an open session.", ("pool",), _connected(levels.agents))
    yield _gauge("agent_slots", "Slots of connected agents.", ("pool", "state"), _slots(levels.agents))
    yield _plain_gauge("response_channel_depth", "Frames of responses that wait.", levels.channel_depth)
    yield _plain_gauge("response_channel_capacity", "Frames of responses that may wait.", levels.channel_capacity)
    yield _plain_gauge("store_queue_depth", "Operations that wait for the next commit.", levels.queue_depth)
    yield _plain_gauge("events_listeners", "Open event streams.", levels.listeners)


def _counts(tally: Tally) -> Iterator[Metric]:
    by_type, by_status = ("type", "pool"), ("type", "pool", "status")
    yield _counter("tasks_submitted", "Tasks that were accepted.", by_type, tally.submitted)
    yield _counter("tasks_finished", "Tasks that have ended.", by_status, tally.finished)
    yield _counter(
        "assignments", "Tasks handed to agents, by what came of it.", ("outcome",), _keyed(tally.assignments)
    )
    yield _counter("responses", "Responses of agents.", ("kind",), _keyed(tally.responses))
    yield _plain_counter("response_channel_full", "Times that the response channel was full.", tally.channel_full)
    yield _plain_counter("events_dropped", "Events that slow listeners did not get.", tally.events_dropped)
    yield _plain_counter("cleanup_removed", "Tasks that the clean-up has deleted.", tally.cleanup_removed)
    yield _plain_counter("cleanup_runs", "Runs of the clean-up.", tally.cleanup_runs)


def _histograms(tally: Tally) -> Iterator[Metric]:
    by_type = ("type", "pool")
    yield _histogram("task_queue_seconds", "From ready to granted.", by_type, tally.queue_seconds)
    yield _histogram("task_run_seconds", "From started to ended.", by_type, tally.run_seconds)
    yield _histogram("task_total_seconds", "From accepted to ended.", by_type, tally.total_seconds)
    yield _histogram("store_commit_seconds", "How long a commit takes.", (), {(): tally.commit_seconds})
    yield _histogram("store_commit_rows", "Changes in one commit.", (), {(): tally.commit_rows})
    yield _histogram("cleanup_seconds", "How long a clean-up takes.", (), {(): tally.cleanup_seconds})
    yield _histogram("loop_lag_seconds", "How late the event loop is.", (), {(): tally.loop_lag})


def _connected(agents: Sequence[AgentView]) -> Mapping[tuple[str], int]:
    pools: dict[tuple[str], int] = defaultdict(int)
    for agent in agents:
        pools[agent.pool,] += agent.status != "offline"
    return pools


def _slots(agents: Sequence[AgentView]) -> Mapping[tuple[str, str], int]:
    slots: dict[tuple[str, str], int] = defaultdict(int)
    for agent in agents:
        if agent.status != "offline":
            slots[agent.pool, "free"] += agent.free_slots
            slots[agent.pool, "taken"] += max(0, agent.slots - agent.free_slots)
    return slots


def _gauge(name: str, about: str, labels: Sequence[str], values: Mapping[_Key, int]) -> Metric:
    family = GaugeMetricFamily(f"nodelink_{name}", about, labels=labels)
    for key, value in _bounded(values, _sum).items():
        family.add_metric(key, value)
    return family


def _plain_gauge(name: str, about: str, value: float) -> Metric:
    return GaugeMetricFamily(f"nodelink_{name}", about, value=float(value))


def _counter(name: str, about: str, labels: Sequence[str], values: Mapping[_Key, int]) -> Metric:
    family = CounterMetricFamily(f"nodelink_{name}", about, labels=labels)
    for key, value in _bounded(values, _sum).items():
        family.add_metric(key, value)
    return family


def _plain_counter(name: str, about: str, value: int) -> Metric:
    return CounterMetricFamily(f"nodelink_{name}", about, value=value)


def _histogram(name: str, about: str, labels: Sequence[str], values: Mapping[_Key, Buckets]) -> Metric:
    family = HistogramMetricFamily(f"nodelink_{name}", about, labels=labels)
    for key, buckets in _bounded(values, _merged).items():
        family.add_metric(key, _cumulative(buckets), buckets.sum)
    return family


def _cumulative(buckets: Buckets) -> list[tuple[str, float]]:
    counts = list(buckets.counts)  # once: the loop goes on counting
    bounds = [*map(str, map(float, buckets.bounds)), "+Inf"]
    return [(bound, float(sum(counts[: index + 1]))) for index, bound in enumerate(bounds)]


def _keyed(values: Mapping[str, int]) -> Mapping[tuple[str], int]:
    return {(key,): value for key, value in dict(values).items()}


def _bounded(
    values: Mapping[_Key, _Value], merge: Callable[[Sequence[_Value]], _Value]
) -> dict[tuple[str, ...], _Value]:
    """The first series by age, and everything else as one."""
    found = cast("dict[tuple[str, ...], _Value]", dict(values))  # once and in one go: the loop may add to it meanwhile
    if len(found) <= MOST_SERIES:
        return found
    keys = list(found)
    rest = keys[MOST_SERIES - 1 :]
    kept = {key: found[key] for key in keys[: MOST_SERIES - 1]}
    return {**kept, (OTHER,) * len(rest[0]): merge([found[key] for key in rest])}


def _sum(values: Sequence[int]) -> int:
    return sum(values)


def _merged(histograms: Sequence[Buckets]) -> Buckets:
    merged = Buckets(histograms[0].bounds)
    for one in histograms:
        merged.counts = [mine + theirs for mine, theirs in zip(merged.counts, one.counts, strict=True)]
        merged.sum += one.sum
    return merged
