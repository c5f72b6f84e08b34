"""A server that is away for a while, with many commands running: who measures it by hand finds the figures here too.

    python -m tests.system.outage --seconds 120 --tasks 200

Commands wait for a line of a named pipe, and say in a file that they begin and that they end. Most of them end while
the server is away, the others when it is back.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from nodelink.task import TERMINAL, TaskStatus
from tests.support.latch import Latch, lines_of
from tests.support.processes import Server, Services, asked_until, services_in
from tests.support.rest import Json, Rest

AGENTS = 2
MOST_TASKS = 1_000
RETURN_SECONDS = 90.0
LOOK_SECONDS = 0.1
OUTPUT = b"begun\ndone\n"
COMMAND = (
    "echo start $NODELINK_TASK_ID >> {effects}; echo begun; read go < {latch}; "
    "echo end $NODELINK_TASK_ID >> {effects}; echo done"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What an outage did. `delivered_seconds`: from the server's return to the last result."""

    accepted: int
    started: int
    started_twice: int
    ended_meanwhile: int
    results: int
    whole_outputs: int
    lost: int
    outage_seconds: float
    delivered_seconds: float

    def lines(self) -> list[str]:
        """A line for each."""
        return [
            f"tasks accepted                        {self.accepted:8d}",
            f"commands started                      {self.started:8d}",
            f"commands started twice                {self.started_twice:8d}",
            f"commands ended while it was away      {self.ended_meanwhile:8d}",
            f"results (completed, first attempt)    {self.results:8d}",
            f"outputs without a gap                 {self.whole_outputs:8d}",
            f"lost                                  {self.lost:8d}",
            f"server away                           {self.outage_seconds:8.1f} s",
            f"its return to the last result         {self.delivered_seconds:8.1f} s",
        ]


async def outage(services: Services, directory: Path, *, tasks: int, seconds: float, killed: bool) -> Report:
    """Have so many commands run, take the server away for so long, and see what came of them."""
    effects = directory / "effects"
    server = await services.server()
    with closing(Latch(directory / "gate")) as latch:
        accepted = await _all_running(services, server, COMMAND.format(effects=effects, latch=latch.path), tasks)
        await lines_of(effects, tasks)
        await _take_away(server, killed=killed)
        left = time.monotonic()
        meanwhile = tasks - tasks // 4
        latch.release(meanwhile)
        await lines_of(effects, tasks + meanwhile)
        await asyncio.sleep(max(0.0, left + seconds - time.monotonic()))  # the outage is as long as it was to be
        server = await services.server(again=server)
        back = time.monotonic()
        latch.release(tasks - meanwhile)
        async with Rest(server) as rest:
            statuses = await _all_ended(rest, tasks)
            delivered = time.monotonic()
            results = [await rest.result(task_id) for task_id in accepted]
            outputs = [await rest.logs(task_id) for task_id in accepted]
    starts = Counter(line for line in effects.read_text().splitlines() if line.startswith("start"))
    return Report(
        accepted=tasks,
        started=len(starts),
        started_twice=sum(count - 1 for count in starts.values()),
        ended_meanwhile=meanwhile,
        results=sum((result["status"], result["attempt"]) == ("completed", 1) for result in results),
        whole_outputs=outputs.count(OUTPUT),
        lost=statuses.count(TaskStatus.LOST),
        outage_seconds=back - left,
        delivered_seconds=delivered - back,
    )


async def _all_running(services: Services, server: Server, command: str, tasks: int) -> Sequence[str]:
    """Start agents with room for so many, and hand them over. Returns the ids."""
    names = [f"agent-{number}" for number in range(AGENTS)]
    for name in names:
        await services.agent(server, name=name, slots=-(-tasks // AGENTS))
    async with Rest(server) as rest:
        for name in names:
            await rest.online(name)
        return await rest.batch([{"type": "shell", "payload": {"command": command}}] * tasks)


async def _take_away(server: Server, *, killed: bool) -> None:
    if killed:
        await server.kill()
        return
    server.terminate()
    await server.ended()


async def _all_ended(rest: Rest, count: int) -> Sequence[str]:
    """The statuses of all tasks, as soon as so many have ended."""

    async def look() -> Sequence[Json] | None:
        listed: Sequence[Json] = (await rest.get("/tasks", page_size=MOST_TASKS))["tasks"]
        return listed if sum(task["status"] in TERMINAL for task in listed) == count else None

    found = await asked_until(look, f"{count} tasks ended", RETURN_SECONDS, LOOK_SECONDS)
    return [task["status"] for task in found]


async def _measure(tasks: int, seconds: float, killed: bool) -> Report:
    with tempfile.TemporaryDirectory() as directory, redirect_stdout(StringIO()):  # where their logs would be shown
        async with services_in(Path(directory) / "services") as services:
            return await outage(services, Path(directory), tasks=tasks, seconds=seconds, killed=killed)


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.system.outage", description="Take the server away while many commands run."
    )
    parser.add_argument("--seconds", type=float, default=120, help="how long it is away (default: 120)")
    parser.add_argument("--tasks", type=int, default=200, help="how many commands run (default: 200)")
    parser.add_argument("--stop", action="store_true", help="stop it with SIGTERM, not kill -9")
    options = parser.parse_args()
    if not 4 <= options.tasks <= MOST_TASKS:
        parser.error(f"--tasks must be from 4 to {MOST_TASKS}")
    report = asyncio.run(_measure(options.tasks, options.seconds, not options.stop))
    sys.stdout.write("\n".join([*report.lines(), ""]))


if __name__ == "__main__":
    main()
