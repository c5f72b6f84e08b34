"""The ratios that the goals are about. Figures depend on the machine; ratios of figures of one run can be compared."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

Medians = Mapping[str, float]
PEER = "peer."
CELERY = "peer.celery-redis"
LOAD = 0.7
"""The share of the peak that is the load of figures under load."""


@dataclass(frozen=True, slots=True)
class Goal:
    """What a ratio should be."""

    limit: float
    is_least: bool  # otherwise it is the most

    def holds(self, value: float) -> bool:
        """Whether a value reaches it."""
        return value >= self.limit if self.is_least else value <= self.limit

    def __str__(self) -> str:
        """As people write it."""
        return f"{'>=' if self.is_least else '<='} {self.limit:.3g}"


@dataclass(frozen=True, slots=True)
class Ratio:
    """A ratio of figures. `of` raises KeyError if one of them was not measured."""

    key: str
    name: str
    of: Callable[[Medians], float]
    is_better_when_more: bool = True
    goal: Goal | None = None
    is_to_best_peer: bool = False


def at_least(limit: float) -> Goal:
    """The goal of a ratio that should be large."""
    return Goal(limit, is_least=True)


def at_most(limit: float) -> Goal:
    """The goal of a ratio that should be small."""
    return Goal(limit, is_least=False)


def best_peer(medians: Medians) -> str:
    """The key of the peer that did most tasks in a second. KeyError if there is none."""
    rates = {key: value for key, value in medians.items() if key.startswith(PEER) and key.endswith(".rate")}
    if not rates:
        raise KeyError(PEER)
    return max(rates, key=lambda key: rates[key])


def _share(key: str, name: str, over: str, under: str, goal: Goal | None = None) -> Ratio:
    return Ratio(key, name, lambda m: m[over] / m[under], goal=goal)


def _times(key: str, name: str, over: str, under: str, goal: Goal | None = None) -> Ratio:
    return Ratio(key, name, lambda m: m[over] / m[under], is_better_when_more=False, goal=goal)


def alone(key: str, name: str, figure: str, goal: Goal, unit: float = 1.0) -> Ratio:
    """A figure that is a share already, or is compared with a unit."""
    return Ratio(key, name, lambda m: m[figure] / unit, is_better_when_more=goal.is_least, goal=goal)


def _one_task(point: str, most: float) -> Ratio:
    return Ratio(
        f"one_task_{point}",
        f"one task {point} ÷ (raw ping-pong {point} + 2 syncs {point})",
        lambda m: m[f"nodelink.one.{point}"] / (m[f"raw.ping.{point}"] + 2 * m[f"raw.sync.{point}"]),
        is_better_when_more=False,
        goal=at_most(most),
    )


RATIOS: Sequence[Ratio] = (
    Ratio(
        "stream_to_best_peer",
        "durable tasks/s ÷ best peer",
        lambda m: m["nodelink.stream.rate"] / m[best_peer(m)],
        goal=at_least(15),
        is_to_best_peer=True,
    ),
    _share(
        "stream_to_celery",
        "durable tasks/s ÷ Celery + redis, default",
        "nodelink.stream.rate",
        f"{CELERY}.rate",
        at_least(60),
    ),
    Ratio(
        "cpu_to_celery",
        "CPU per task ÷ Celery + redis, default",
        lambda m: m["nodelink.stream.cpu"] / m[f"{CELERY}.cpu"],
        is_better_when_more=False,
        goal=at_most(1 / 60),
    ),
    Ratio(
        "sdk_results_to_best_peer",
        "SDK loop of submit, every result read ÷ best peer",
        lambda m: m["nodelink.sdk.loop.rate"] / m[best_peer(m)],
        is_to_best_peer=True,
    ),
    _share(
        "stream_to_raw",
        "durable tasks/s ÷ raw stream echo at 256",
        "nodelink.stream.rate",
        "raw.stream256.rate",
        at_least(0.10),
    ),
    _share("stream_to_sqlite", "durable tasks/s ÷ raw SQLite group commit", "nodelink.stream.rate", "raw.sqlite.rate"),
    _one_task("p50", 4),
    _one_task("p99", 6),
    Ratio(
        "shell_to_spawn",
        "once shell tasks/s ÷ raw asyncio spawn, the faster way",
        lambda m: m["nodelink.shell.rate"] / max(m["raw.spawn1.rate"], m["raw.spawn8.rate"]),
        goal=at_least(0.7),
    ),
    _share("agents4", "4 agents ÷ 1 agent", "nodelink.agents4.rate", "nodelink.stream.rate"),
    _share("agents16", "16 agents ÷ 1 agent", "nodelink.agents16.rate", "nodelink.stream.rate"),
    _share(
        "sdk_accepting",
        "accepted/s: SDK loop of submit ÷ batch",
        "nodelink.accept.loop",
        "nodelink.accept.batch",
        at_least(0.8),
    ),
    _share(
        "sdk_accepting_async",
        "accepted/s: async SDK loop of submit ÷ batch",
        "nodelink.accept.async_loop",
        "nodelink.accept.async_batch",
        at_least(0.8),
    ),
    Ratio("load", "load that was borne ÷ 70 % of the peak", lambda m: m["load.rate"] / (LOAD * m["load.peak"])),
    _times("urgent_p50", "urgent task under load ÷ idle, p50", "load.urgent.p50", "load.urgent_idle.p50"),
    _times("urgent_p99", "urgent task under load ÷ idle, p99", "load.urgent.p99", "load.urgent_idle.p99", at_most(10)),
    _times("read_p50", "REST read under load ÷ idle, p50", "load.read.p50", "load.read_idle.p50"),
    _times("read_p99", "REST read under load ÷ idle, p99", "load.read.p99", "load.read_idle.p99", at_most(10)),
    _times("cancel_p50", "cancel sent under load ÷ idle, p50", "load.cancel.p50", "load.cancel_idle.p50"),
    _times("cancel_p99", "cancel sent under load ÷ idle, p99", "load.cancel.p99", "load.cancel_idle.p99"),
    alone("cancel", "cancel sent under load, p99 ÷ 50 ms", "load.cancel.p99", at_most(1), 50),
    alone("lag", "lateness of the server's loop under load, p99 ÷ 20 ms", "load.lag.p99", at_most(1), 20),
)


def values_of(medians: Medians, ratios: Sequence[Ratio] = RATIOS) -> dict[str, float]:
    """The ratios whose figures were measured, by key."""
    found = {}
    for ratio in ratios:
        try:
            found[ratio.key] = ratio.of(medians)
        except (KeyError, ZeroDivisionError):
            continue
    return found
