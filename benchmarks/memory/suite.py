"""What is measured of memory, in parts that can be chosen, and the ratios that the goals are about."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.measurement import Measurement
from benchmarks.memory.each import SETTLE_SECONDS, Sizes, each
from benchmarks.memory.steady import steady
from benchmarks.ratios import Goal, Medians, Ratio, at_least, at_most

MINUTES = 60.0
GROWTH_AN_HOUR = 0.05
"""Less than that is flat: what a process has moves about by some percent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemorySizes:
    """How much of everything there is: `size` 1 is all of it; and for how long the steady load lasts."""

    size: float = 1.0
    minutes: float = MINUTES


def _each(sizes: MemorySizes) -> Measurement:
    def of(count: int) -> int:
        return max(round(count * sizes.size), 20)

    settle = min(SETTLE_SECONDS, 30 * sizes.size)
    return each(Sizes(of(1_000), of(9_000), of(8_000), of(1_000), settle))


def _steady(sizes: MemorySizes) -> Measurement:
    return steady(sizes.minutes)


PARTS: Mapping[str, Callable[[MemorySizes], Measurement]] = {"each": _each, "steady": _steady}


def memory(sizes: MemorySizes, parts: Sequence[str] = ()) -> Sequence[Measurement]:
    """The chosen parts, or all."""
    return [PARTS[part](sizes) for part in parts or PARTS]


def _growth(key: str, goal: Goal | None) -> Ratio:
    def grown(medians: Medians) -> float:
        return medians[f"memory.steady.{key}.slope"] * 60 / medians[f"memory.steady.{key}.kib"]

    name = f"growth of the {key} in an hour of steady load ÷ what it has"
    return Ratio(f"memory_growth_{key}", name, grown, is_better_when_more=False, goal=goal)


MEMORY_RATIOS: Sequence[Ratio] = (
    _growth("server", at_most(GROWTH_AN_HOUR)),
    _growth("agent", at_most(GROWTH_AN_HOUR)),
    _growth("database", None),
    Ratio(
        "memory_throughput",
        "throughput, last tenth of the steady load ÷ first",
        lambda m: m["memory.steady.last"] / m["memory.steady.first"],
        goal=at_least(0.9),
    ),
)
