"""A wall clock that is set while a process runs is seen by it, and no other clock of it is touched."""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

import pytest

from tests.faults.clocks import HOUR, JUMPS, WallClock, faketime, sweep
from tests.support.processes import environment

SCRIPT = """
import select, sys, time
for line in sys.stdin:
    wall = float(line)
    while abs(time.time() - wall) > 1800: select.select([], [], [], 0.05)
    print(time.clock_gettime(time.CLOCK_REALTIME), time.clock_gettime(time.CLOCK_MONOTONIC),
          time.clock_gettime(time.CLOCK_BOOTTIME), flush=True)
"""
CLOCKS = (time.CLOCK_MONOTONIC, time.CLOCK_BOOTTIME)
NEAR_SECONDS = 60.0

pytestmark = pytest.mark.faketime


async def test_only_the_wall_clock_of_a_running_process_is_set(tmp_path: Path) -> None:
    library = faketime()
    assert library is not None
    clock = WallClock(tmp_path / "clock", library)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", SCRIPT),
        env={**environment(), **clock.environment},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        for jump in (0, *JUMPS.values(), 0):
            clock.set(jump)
            process.stdin.write(f"{time.time() + jump}\n".encode())
            before = [time.clock_gettime(number) for number in CLOCKS]
            wall, *counted = map(float, (await process.stdout.readline()).split())
            after = [time.clock_gettime(number) for number in CLOCKS]

            assert abs(wall - time.time() - jump) < NEAR_SECONDS < HOUR
            assert all(b <= c <= a for b, c, a in zip(before, counted, after, strict=True))
    finally:
        process.stdin.close()
        await process.wait()
        sweep([process.pid])
