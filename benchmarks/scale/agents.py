"""Many connected agents that have nothing to do: what they cost the server, beside bare streams of gRPC."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

from benchmarks.cpu import cpu_seconds
from benchmarks.helper import Helper, helping
from benchmarks.measurement import LONG_SECONDS, Figure, Measurement
from benchmarks.resident import own_kib, per_item
from benchmarks.scale.herd import AGENTS, STREAMS
from benchmarks.system import server

HELPERS = 4
PER_HELPER = 250
"""More helpers than this asks for would only take time to start."""
FIRST = 20
"""So many come before memory is looked at, so that what is loaded once is loaded."""
SHARED = 100
"""So many share a connection, where connections are shared."""
BEAT_SECONDS = 50.0
"""Of a few agents as of 10,000: twice the longest time between two heartbeats of those."""
SETTLE_SECONDS = 2.0
"""Before memory is looked at; less if the heartbeats are measured for less."""


class Idle(NamedTuple):
    """What so many agents came to. `share`: of a core, for heartbeats; `kib`: of each one; `cut_off`: how many were."""

    seconds: float
    share: float
    kib: float
    cut_off: int


def agents(counts: Sequence[int], *, seconds: float = BEAT_SECONDS) -> Measurement:
    """The measurement: the last of the counts over connections that are shared, the others each with its own."""
    return Measurement(
        name="scale: idle agents",
        how=f"{', '.join(f'{count:,}' for count in counts)} light agents, each time on a new server, the most over "
        f"connections of {SHARED}, the others each with its own; heartbeats as the server wants them, {seconds:g} s; "
        "memory beside bare streams over as many connections",
        figures=[figure for place, count in enumerate(counts) for figure in _figures(place, count)]
        + [
            Figure(key="scale.agents.none.share", name="server without agents", unit="of a core"),
            Figure(key="scale.streams.own.kib", name="bare stream, a connection each", unit="KiB"),
            Figure(key="scale.streams.shared.kib", name="bare stream, shared connections", unit="KiB"),
        ],
        run=partial(_measure, counts, seconds),
        most_seconds=LONG_SECONDS,
    )


def _figures(place: int, count: int) -> Sequence[Figure]:
    key = f"scale.agents.{place}"
    return (
        Figure(key=f"{key}.seconds", name=f"until {count:,} agents are connected", unit="s"),
        Figure(key=f"{key}.share", name=f"heartbeats of {count:,} agents", unit="of a core"),
        Figure(key=f"{key}.kib", name=f"server memory, one of {count:,} agents", unit="KiB"),
        Figure(key=f"{key}.cut", name=f"cut off meanwhile, of {count:,} agents", unit="agents"),
    )


async def _measure(counts: Sequence[int], seconds: float, directory: Path) -> Mapping[str, float]:
    found: dict[str, float] = {}
    for place, count in enumerate(counts):
        home = directory / str(place)
        home.mkdir()
        per_channel = SHARED if place == len(counts) - 1 else 1
        async with server(home) as (address, process):
            if place == 0:
                found["scale.agents.none.share"] = await _share(process.pid, seconds)
            idle = await _idle(address, process.pid, count, per_channel, seconds)
        key = f"scale.agents.{place}"
        found |= {f"{key}.seconds": idle.seconds, f"{key}.share": idle.share, f"{key}.kib": idle.kib}
        found[f"{key}.cut"] = float(idle.cut_off)
    settle = min(SETTLE_SECONDS, seconds)
    found["scale.streams.own.kib"] = await _bare_kib(counts[-2], 1, settle)
    found["scale.streams.shared.kib"] = await _bare_kib(counts[-1], SHARED, settle)
    return found


async def _idle(address: str, pid: int, count: int, per_channel: int, seconds: float) -> Idle:
    async with herd(AGENTS, address, first=0, count=FIRST, per_channel=per_channel):
        before, began = own_kib(pid), time.perf_counter()
        async with herd(AGENTS, address, first=FIRST, count=count, per_channel=per_channel) as helpers:
            took = time.perf_counter() - began
            await asyncio.sleep(min(SETTLE_SECONDS, seconds))
            share = await _share(pid, seconds)
            kib = per_item(before, own_kib(pid), count)
            for helper in helpers:
                helper.tell("how many?")
            return Idle(took, share, kib, sum([await helper.hear() for helper in helpers]))


async def _share(pid: int, seconds: float) -> float:
    """Which share of a core a process uses for so long."""
    before, began = cpu_seconds([pid]), time.perf_counter()
    await asyncio.sleep(seconds)
    return (cpu_seconds([pid]) - before) / (time.perf_counter() - began)


async def _bare_kib(count: int, per_channel: int, settle: float) -> float:
    """What a bare stream takes of a server that does nothing else."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "benchmarks.raw", stdout=asyncio.subprocess.PIPE, start_new_session=True
    )
    assert process.stdout is not None
    try:
        address = f"127.0.0.1:{int(await process.stdout.readline())}"
        async with herd(STREAMS, address, first=0, count=FIRST, per_channel=per_channel):
            before = own_kib(process.pid)
            async with herd(STREAMS, address, first=FIRST, count=count, per_channel=per_channel):
                await asyncio.sleep(settle)
                return per_item(before, own_kib(process.pid), count)
    finally:
        process.kill()
        await process.wait()


@asynccontextmanager
async def herd(kind: str, address: str, *, first: int, count: int, per_channel: int) -> AsyncIterator[list[Helper]]:
    """So many agents or streams, from when all are connected until this ends. Gives the processes that they are in."""
    each = max(-(-count // HELPERS), PER_HELPER)
    async with AsyncExitStack() as stack:
        helpers = []
        for start in range(first, first + count, each):
            asked = {"kind": kind, "address": address, "first": start, "per_channel": per_channel}
            asked["count"] = min(each, first + count - start)
            helpers.append(await stack.enter_async_context(helping("benchmarks.scale.herd", asked)))
        for helper in helpers:
            assert await helper.hear() == "connected"
        yield helpers
