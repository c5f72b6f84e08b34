"""What is measured at scale, in parts that can be chosen, and the ratios that the goals are about."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from benchmarks.measurement import Measurement
from benchmarks.ratios import Medians, Ratio, alone, at_least, at_most
from benchmarks.scale.agents import BEAT_SECONDS, agents
from benchmarks.scale.listeners import EVENTS_PER_SECOND, SECONDS, listeners
from benchmarks.scale.output import HEARTBEAT_SECONDS, SPOOL, output
from benchmarks.scale.waiting import waiting

WAITING = (1_000, 100_000, 1_000_000)
LISTENER_MS = 50.0
SPOOL_MB = 200.0
STORED_MB = 50.0
LATE = 1.2
"""Of the time between two heartbeats: longer than that, and one was late."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleSizes:
    """How much of everything there is: `size` 1 is all of it. `waiting`: how many tasks wait, whatever the size."""

    size: float = 1.0
    waiting: Sequence[int] = ()

    def of(self, count: int, least: int = 1) -> int:
        """So many, in this size."""
        return max(round(count * self.size), least)


def _agents(sizes: ScaleSizes) -> Measurement:
    counts = [sizes.of(count, least) for count, least in ((100, 2), (1_000, 4), (10_000, 8))]
    return agents(counts, seconds=max(BEAT_SECONDS * sizes.size, 0.5))


def _listeners(sizes: ScaleSizes) -> Measurement:
    rate = max(EVENTS_PER_SECOND * sizes.size, 20.0)
    return listeners(sizes.of(2_000, 20), events_per_second=rate, seconds=max(SECONDS * sizes.size, 1.0))


def _waiting(sizes: ScaleSizes) -> Measurement:
    counts = sizes.waiting or [sizes.of(count) for count in WAITING]
    return waiting(counts, tasks=sizes.of(25_600, 256), slots=sizes.of(1_024, 256))


def _output(sizes: ScaleSizes) -> Measurement:
    return output(spool_mb=sizes.of(1_000), flood_mb=sizes.of(200), tasks=sizes.of(50, 2), seconds=sizes.of(20))


PARTS: Mapping[str, Callable[[ScaleSizes], Measurement]] = {
    "waiting": _waiting,
    "agents": _agents,
    "listeners": _listeners,
    "output": _output,
}


def scale(sizes: ScaleSizes, parts: Sequence[str] = ()) -> Sequence[Measurement]:
    """The chosen parts, or all."""
    return [PARTS[part](sizes) for part in parts or PARTS]


def _of_waiting(place: int, medians: Medians) -> float:
    return medians[f"scale.waiting.{place}.rate"] / medians["scale.waiting.0.rate"]


def _memory(key: str, name: str, place: int) -> Ratio:
    """What an idle agent takes of the server beside a bare stream."""
    return Ratio(
        f"scale_memory_{key}",
        f"server memory: idle agent ÷ bare stream, {name}",
        lambda m: m[f"scale.agents.{place}.kib"] / m[f"scale.streams.{key}.kib"],
        is_better_when_more=False,
        goal=at_most(1.6),
    )


def _silence(key: str, name: str) -> Ratio:
    silence = f"scale.output.{key}.silence"
    return Ratio(
        f"scale_silence_{key}",
        f"longest without a word of the agent ÷ time between heartbeats, {name}",
        lambda m: m[silence] / HEARTBEAT_SECONDS,
        is_better_when_more=False,
        goal=at_most(LATE),
    )


SCALE_RATIOS: Sequence[Ratio] = (
    *(
        Ratio(
            f"scale_waiting_{place}",
            f"durable tasks/s, the {name} number of waiting tasks ÷ the first",
            partial(_of_waiting, place),
            goal=at_least(0.8),
        )
        for place, name in ((1, "second"), (2, "third"))
    ),
    alone("scale_heartbeats", "heartbeats of the most agents ÷ a core", "scale.agents.2.share", at_most(0.35)),
    alone("scale_cut_off", "agents that were cut off, of the most", "scale.agents.2.cut", at_most(0)),
    _memory("own", "a connection each", 1),
    _memory("shared", "shared connections", 2),
    alone("scale_event", "commit to listener, p99 ÷ 50 ms", "scale.listener.p99", at_most(1.0), LISTENER_MS),
    Ratio(
        "scale_stalled",
        "commit to listener, p99: beside those who stall ÷ without them",
        lambda m: m["scale.listener.beside.p99"] / m["scale.listener.apart.p99"],
        is_better_when_more=False,
        goal=at_most(1.5),
    ),
    alone("scale_missed", "events missed by listeners that read", "scale.listener.missed", at_most(0)),
    alone("scale_spool", "one command's output, into the spool ÷ 200 MB/s", SPOOL, at_least(1), SPOOL_MB),
    alone("scale_stored", "one task's output, stored ÷ 50 MB/s", "scale.output.flood.rate", at_least(1), STORED_MB),
    _silence("flood", "one task prints all"),
    _silence("steady", "many tasks print"),
    alone("scale_complete_flood", "complete logs, one task prints all", "scale.output.flood.complete", at_least(1)),
    alone("scale_complete_steady", "complete logs, many tasks print", "scale.output.steady.complete", at_least(1)),
)
