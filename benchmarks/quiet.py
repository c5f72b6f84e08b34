"""Whether the machine is quiet: how busy its processors are while we do nothing."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

SAMPLE_SECONDS = 1.0
MOST_BUSY = 0.05
"""The share of all processors' time that others may use while the machine still counts as quiet."""
STAT = Path("/proc/stat")


@dataclass(frozen=True, slots=True)
class Ticks:
    """What all processors have done since the machine started, in ticks."""

    idle: int
    total: int


@dataclass(frozen=True, slots=True)
class Silence:
    """What others did while we did nothing: the share of all processors' time."""

    busy: float

    @property
    def is_quiet(self) -> bool:
        """Whether that disturbs no measurement."""
        return self.busy <= MOST_BUSY


def ticks_of(text: str) -> Ticks:
    """Read /proc/stat. Waiting for a disk and what the host takes away count as busy: both disturb."""
    for line in text.splitlines():
        name, *fields = line.split()
        if name == "cpu":
            counts = [int(field) for field in fields[:8]]  # the guests' time behind them is counted in user already
            return Ticks(idle=counts[3], total=sum(counts))
    raise ValueError("there is no line of all processors")


def busy_share(before: Ticks, after: Ticks) -> float:
    """The share of the time between that the processors were not idle. 0 if no time has passed."""
    total = after.total - before.total
    return (total - (after.idle - before.idle)) / total if total > 0 else 0.0


async def listen(seconds: float = SAMPLE_SECONDS) -> Silence:
    """Do nothing for so long, and tell what others did meanwhile."""
    before = _now()
    await asyncio.sleep(seconds)
    return Silence(busy_share(before, _now()))


def _now() -> Ticks:
    return ticks_of(STAT.read_text(encoding="ascii"))
