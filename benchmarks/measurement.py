"""What a measurement is: a thing that is run once a round, and the figures that it gives."""

from __future__ import annotations

import math
import statistics
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

MS = 1000.0
LONG_SECONDS = 900.0
"""No round at scale takes so long."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A number of the table. `key` names it in ratios and in JSON."""

    key: str
    name: str
    unit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One thing that is measured.

    `run` is called once a round with an empty directory on the disk that is measured, and gives a value for each of the
    figures. It starts what it needs and leaves nothing behind, so that measurements do not disturb each other.
    """

    name: str
    how: str
    figures: Sequence[Figure]
    run: Callable[[Path], Awaitable[Mapping[str, float]]]
    most_seconds: float = 300.0
    """No round takes so long on any machine: one that does hangs."""


class CannotMeasure(Exception):
    """Something that does not belong to NodeLink is missing or has failed; the message says what."""


def percentile(values: Sequence[float], percent: int) -> float:
    """The smallest value that at least so many of a hundred do not exceed."""
    place = math.ceil(len(values) * percent / 100)
    return sorted(values)[max(place, 1) - 1]


def milliseconds(prefix: str, seconds: Sequence[float]) -> dict[str, float]:
    """The p50 and p99 of times, as the figures `<prefix>.p50` and `<prefix>.p99`."""
    return {f"{prefix}.p50": percentile(seconds, 50) * MS, f"{prefix}.p99": percentile(seconds, 99) * MS}


def times_of(prefix: str, name: str) -> tuple[Figure, Figure]:
    """The two figures that `milliseconds` gives."""
    return (
        Figure(key=f"{prefix}.p50", name=f"{name}, p50", unit="ms"),
        Figure(key=f"{prefix}.p99", name=f"{name}, p99", unit="ms"),
    )


def medians(rounds: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """The median over the rounds of each figure that has any."""
    return {key: statistics.median(values) for key, values in rounds.items() if values}
