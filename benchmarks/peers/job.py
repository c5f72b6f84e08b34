"""The job that every peer does: `python -m benchmarks.peers.job APP`, in the peers' own Python.

It submits so many echo tasks, waits for every result, and checks it; then one task at a time. What came of it is one
line of JSON. An app is a module beside this one with `echo_all`, which submits a task for each text and gives the
results.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable, Sequence

from benchmarks.cpu import cpu_seconds

PAYLOAD = "sixty-four bytes of text, which is as long as the goals have it."
WARM_UP = 200
WARM_UP_SINGLES = 20
READY_SECONDS = 60.0
EchoAll = Callable[[Sequence[str]], Awaitable[Sequence[str]]]


async def measure(echo_all: EchoAll, *, tasks: int, singles: int, pids: Sequence[int]) -> dict[str, object]:
    """Seconds and processor time of all tasks together, and seconds of each single one."""
    async with asyncio.timeout(READY_SECONDS):  # the worker may still be starting
        await _checked(echo_all, 1)
        await _checked(echo_all, min(WARM_UP, tasks))
    involved = [*pids, os.getpid()]
    cpu, began = cpu_seconds(involved), time.perf_counter()
    await _checked(echo_all, tasks)
    seconds = time.perf_counter() - began
    used = cpu_seconds(involved) - cpu
    for _ in range(WARM_UP_SINGLES):
        await _checked(echo_all, 1)
    times = []
    for _ in range(singles):
        began = time.perf_counter()
        await _checked(echo_all, 1)
        times.append(time.perf_counter() - began)
    return {"seconds": seconds, "cpu_seconds": used, "singles": times}


async def _checked(echo_all: EchoAll, tasks: int) -> None:
    results = await echo_all([PAYLOAD] * tasks)
    assert list(results) == [PAYLOAD] * tasks, f"{len(results)} of {tasks} results, or wrong ones"


def main() -> None:
    """Do the job with an app."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("app")
    parser.add_argument("--tasks", type=int, required=True)
    parser.add_argument("--singles", type=int, required=True)
    parser.add_argument("--pids", type=int, nargs="*", default=[], help="broker and worker, whose CPU counts as well")
    given = parser.parse_args()
    app = importlib.import_module(f"benchmarks.peers.{given.app}")
    found = asyncio.run(measure(app.echo_all, tasks=given.tasks, singles=given.singles, pids=given.pids))
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
