"""`python -m benchmarks`: durable echo tasks end to end, beside the raw limits of the same machine in the same run.

Prints a table of figures and ratios, and with `--json` the same as JSON. Ratios can be compared between machines,
figures cannot.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import backlog, blobs, database
from benchmarks.end_to_end import single_tasks, system, tasks_per_second
from benchmarks.raw import bare_stream, items_per_second, round_trips, syncs
from benchmarks.sdk import Rates, sdk_rates

MS = 1000.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What one run has measured. Rates are per second, times in milliseconds."""

    slots: int
    raw_stream_rate: float
    raw_p50: float
    raw_p99: float
    sync_p50: float
    sync_p99: float
    durable_rate: float
    one_p50: float
    one_p99: float
    sdk: Rates
    sdk_aio: Rates

    @property
    def ratios(self) -> dict[str, tuple[float, str]]:
        """The ratios that the goals are about, and what they should be."""
        return {
            "durable tasks/s ÷ raw stream echo": (self.durable_rate / self.raw_stream_rate, ">= 0.10"),
            "one task p50 ÷ (raw p50 + 2 syncs p50)": (self.one_p50 / (self.raw_p50 + 2 * self.sync_p50), "<= 4"),
            "one task p99 ÷ (raw p99 + 2 syncs p99)": (self.one_p99 / (self.raw_p99 + 2 * self.sync_p99), "<= 6"),
            "SDK loop of submit ÷ SDK batch": (self.sdk.loop / self.sdk.batch, ">= 0.80"),
            "async SDK loop of submit ÷ async SDK batch": (self.sdk_aio.loop / self.sdk_aio.batch, ">= 0.80"),
        }


async def measure(directory: Path, *, tasks: int, singles: int, rounds: int, slots: int, sdk_tasks: int) -> Figures:
    """Everything in one run. The rate is the median of the rounds, after one that is not counted."""
    async with bare_stream() as call:
        await items_per_second(call, items=20_480, per_frame=256)
        raw_rates = [await items_per_second(call, items=102_400, per_frame=256) for _ in range(rounds)]
        raw = await round_trips(call, singles)
    sync = syncs(directory, 500)
    async with system(directory, slots=slots) as (address, channel):
        await tasks_per_second(channel, tasks=2_560, per_frame=256, under_way=slots)
        rates = [await tasks_per_second(channel, tasks=tasks, per_frame=256, under_way=slots) for _ in range(rounds)]
        await single_tasks(channel, 50)
        ones = await single_tasks(channel, singles)
        sdk, sdk_aio = await sdk_rates(address, tasks=sdk_tasks, rounds=rounds)
    return Figures(
        slots=slots,
        raw_stream_rate=statistics.median(raw_rates),
        raw_p50=_percentile(raw, 50) * MS,
        raw_p99=_percentile(raw, 99) * MS,
        sync_p50=_percentile(sync, 50) * MS,
        sync_p99=_percentile(sync, 99) * MS,
        durable_rate=statistics.median(rates),
        one_p50=_percentile(ones, 50) * MS,
        one_p99=_percentile(ones, 99) * MS,
        sdk=sdk,
        sdk_aio=sdk_aio,
    )


def table(figures: Figures) -> str:
    """The figures for people."""
    rows = [
        ("raw gRPC stream echo, frames of 256", f"{figures.raw_stream_rate:,.0f} items/s", ""),
        ("raw ping-pong, one in flight", f"p50 {figures.raw_p50:.2f} ms, p99 {figures.raw_p99:.2f} ms", ""),
        ("fdatasync of 4 KiB", f"p50 {figures.sync_p50:.2f} ms, p99 {figures.sync_p99:.2f} ms", ""),
        (f"durable echo tasks, {figures.slots:,} slots", f"{figures.durable_rate:,.0f} tasks/s", ""),
        ("one durable echo task", f"p50 {figures.one_p50:.2f} ms, p99 {figures.one_p99:.2f} ms", ""),
        ("SDK batch (submit_many)", f"{figures.sdk.batch:,.0f} tasks accepted/s", ""),
        ("SDK loop of submit", f"{figures.sdk.loop:,.0f} tasks accepted/s", ""),
        ("async SDK batch (submit_many)", f"{figures.sdk_aio.batch:,.0f} tasks accepted/s", ""),
        ("async SDK loop of submit", f"{figures.sdk_aio.loop:,.0f} tasks accepted/s", ""),
        *((name, f"{value:.3f}", goal) for name, (value, goal) in figures.ratios.items()),
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--database", action="store_true", help="measure lists and `why` at a million tasks instead")
    parser.add_argument("--backlog", action="store_true", help="measure a large backlog and its order instead")
    parser.add_argument("--blobs", action="store_true", help="carry 2 GiB up and down over a link that is cut instead")
    parser.add_argument("--tasks", type=int, default=51_200, help="tasks a round")
    parser.add_argument("--singles", type=int, default=500, help="single tasks and ping-pongs")
    parser.add_argument("--sdk-tasks", type=int, default=10_000, help="tasks a round that the Python clients submit")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--slots", type=int, default=1_024)
    parser.add_argument("--directory", type=Path, help="where to put the database; the system's own if not given")
    parser.add_argument("--json", type=Path, help="write the figures there as well")
    given = parser.parse_args(argv)
    place = ["--directory", str(given.directory)] if given.directory else []
    if given.database:
        return database.main(place)
    if given.backlog:
        return backlog.main(place)
    if given.blobs:
        return blobs.main(place)
    with tempfile.TemporaryDirectory(dir=given.directory) as directory:
        figures = asyncio.run(
            measure(
                Path(directory),
                tasks=given.tasks,
                singles=given.singles,
                rounds=given.rounds,
                slots=given.slots,
                sdk_tasks=given.sdk_tasks,
            )
        )
    sys.stdout.write(table(figures) + "\n")
    if given.json:
        ratios = {name: value for name, (value, _) in figures.ratios.items()}
        given.json.write_text(json.dumps({**asdict(figures), "ratios": ratios}, indent=2) + "\n")
    return 0


def _percentile(values: Sequence[float], percent: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


if __name__ == "__main__":
    sys.exit(main())
