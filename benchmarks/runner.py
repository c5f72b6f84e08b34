"""Runs measurements round by round: round 1 of everything, then round 2 of everything.

So whatever disturbs the machine for a while disturbs one round of many things, and not all rounds of one thing.
"""

from __future__ import annotations

import asyncio
import tempfile
import traceback
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.measurement import CannotMeasure, Measurement, medians
from benchmarks.quiet import Silence
from benchmarks.ratios import RATIOS, Ratio


@dataclass(slots=True)
class Run:
    """What has been measured so far."""

    measurements: Sequence[Measurement]
    ratios: Sequence[Ratio] = RATIOS
    """Those that are made of the figures."""
    values: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """By figure, a value for each round."""
    busy: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    """By measurement, what share of the machine others used before each of its rounds."""
    not_measured: dict[str, str] = field(default_factory=dict)
    """By measurement, why. What was measured in earlier rounds is kept."""
    failed: set[str] = field(default_factory=set)
    """Which measurements broke, other than by something missing."""

    @property
    def medians(self) -> Mapping[str, float]:
        """Of each figure, over the rounds."""
        return medians(self.values)

    def was_quiet(self, name: str) -> bool:
        """Whether the machine was quiet before each round of a measurement."""
        return all(Silence(busy).is_quiet for busy in self.busy[name])

    @property
    def is_quiet(self) -> bool:
        """Whether it was before all of them."""
        return all(self.was_quiet(name) for name in list(self.busy))


async def run_rounds(
    run: Run,
    *,
    rounds: int,
    parent: Path | None,
    listen: Callable[[], Awaitable[Silence]],
    tell: Callable[[str], None],
) -> None:
    """Measure everything so many times. What cannot be measured is left out from then on, and the run says why."""
    for number in range(1, rounds + 1):
        for measurement in run.measurements:
            if measurement.name not in run.not_measured:
                tell(f"round {number} of {rounds}: {measurement.name}")
                await _measure(run, measurement, parent, await listen(), tell)


async def _measure(
    run: Run, measurement: Measurement, parent: Path | None, silence: Silence, tell: Callable[[str], None]
) -> None:
    with tempfile.TemporaryDirectory(dir=parent, prefix="nodelink-bench-", ignore_cleanup_errors=True) as directory:
        try:
            async with asyncio.timeout(measurement.most_seconds):
                found = await measurement.run(Path(directory))
        except CannotMeasure as error:
            run.not_measured[measurement.name] = str(error)
            return
        except Exception as error:  # noqa: BLE001 - what the others came to in a long run is not thrown away
            run.not_measured[measurement.name] = f"it broke: {error!r}"
            run.failed.add(measurement.name)
            tell(traceback.format_exc())  # where it hung, if it did
            return
    run.busy[measurement.name].append(silence.busy)
    for figure in measurement.figures:
        run.values[figure.key].append(found[figure.key])
