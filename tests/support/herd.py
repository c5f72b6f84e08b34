"""A herd of agents comes back to a server that was killed, each with results to deliver; what that takes is measured.

python -m tests.support.herd --agents 1000
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, redirect_stdout, suppress
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path

from tests.support.herd_agents import Status, slots_of
from tests.support.processes import Server, Services, services_in, until
from tests.support.rest import Rest

PROCESSES = 4
BATCH = 1_000
GATHER_SECONDS = 120.0
"""How long the herd may take to come for the first time, and to be given its tasks."""
RETURN_SECONDS = 180.0
READ_PAUSE = 0.25
MIB = 1 << 20


@dataclass(slots=True)
class Herd:
    """The processes of a herd, which write down how their agents stand."""

    services: Services
    directory: Path
    count: int
    _files: list[Path] = field(default_factory=list)

    async def come(self, server: Server) -> None:
        """Start them."""
        each = -(-self.count // PROCESSES)
        for first in range(0, self.count, each):
            path = self.directory / f"herd-{first}.json"
            self._files.append(path)
            agents = min(each, self.count - first)
            flags = ("--agents", str(agents), "--first", str(first), "--status", str(path))
            await self.services.start("tests.support.herd_agents", "--server", server.grpc, *flags)

    @property
    def statuses(self) -> list[Status]:
        """How they stand now."""
        return [Status(**json.loads(path.read_text())) for path in self._files if path.exists()]

    def total(self, what: str) -> int:
        """One number, over all processes."""
        return sum(getattr(status, what) for status in self.statuses)

    async def until(self, what: str, number: int, seconds: float) -> None:
        """Wait until a number has been reached."""
        words = f"{number} {what}"
        await until(lambda: self.total(what) >= number or None, words, seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What was measured. Seconds are counted from the moment at which the new server was ready."""

    agents: int
    results: int
    refused: int
    back_seconds: float
    delivered_seconds: float
    final_seconds: float
    memory_before: int
    memory_after: int
    memory_most: int
    reads: int
    slowest_read: float
    unfinished: int

    def lines(self) -> Iterable[str]:
        """For people."""
        yield f"agents                     {self.agents:,}, with {self.results:,} results to deliver"
        yield f"all back                   {self.back_seconds:.1f} s after the restart"
        yield f"told to come again         {self.refused:,} times"
        yield f"all results acknowledged   {self.delivered_seconds:.1f} s after the restart"
        yield f"all tasks final            {self.final_seconds:.1f} s after the restart"
        yield f"memory of the server       {self.memory_before / MIB:.0f} MiB before it was killed"
        after = f"{self.memory_after / MIB:.0f} MiB after, {self.memory_most / MIB:.0f} MiB at most"
        yield f"                           {after}"
        yield f"reads over REST meanwhile  {self.reads}, the slowest {self.slowest_read * 1000:.0f} ms"


async def come_back(services: Services, directory: Path, agents: int) -> Report:
    """Let a herd come, be given tasks and lose its server; and come back to the next one."""
    server = await services.server()
    herd = Herd(services, directory, agents)
    await herd.come(server)
    await herd.until("connected", agents, GATHER_SECONDS)
    results = sum(map(slots_of, range(agents)))
    async with Rest(server) as rest:
        accepted = [id for left in range(results, 0, -BATCH) for id in await rest.echo(min(left, BATCH))]
    await herd.until("holding", results, GATHER_SECONDS)
    before = server.memory()
    refused = herd.total("refused")
    await server.kill()

    server = await services.server(again=server)
    ready, began = time.time(), time.monotonic()
    async with Rest(server) as rest, _reading(rest) as reads:
        await herd.until("back", agents, RETURN_SECONDS)
        await herd.until("delivered", results, RETURN_SECONDS)
        await rest.all_ended()
        final = time.monotonic() - began
        after, most = server.memory(), server.memory("VmHWM")
        completed = await _all_of(rest, "completed")
    return Report(
        agents=agents,
        results=results,
        refused=herd.total("refused") - refused,
        back_seconds=max(status.back_at for status in herd.statuses) - ready,
        delivered_seconds=max(status.delivered_at for status in herd.statuses) - ready,
        final_seconds=final,
        memory_before=before,
        memory_after=after,
        memory_most=most,
        reads=len(reads),
        slowest_read=max(reads),
        unfinished=len(set(accepted) - completed),
    )


async def _all_of(rest: Rest, status: str) -> set[str]:
    """The ids of all tasks with a status."""
    found: set[str] = set()
    page = await rest.get("/tasks", status=status, page_size=BATCH)
    found |= {task["id"] for task in page["tasks"]}
    while token := page["next_page_token"]:
        page = await rest.get("/tasks", status=status, page_size=BATCH, page_token=token)
        found |= {task["id"] for task in page["tasks"]}
    return found


@asynccontextmanager
async def _reading(rest: Rest) -> AsyncIterator[list[float]]:
    """Ask for tasks again and again, and note how long each answer takes."""
    seconds: list[float] = []

    async def read() -> None:
        while True:
            began = time.monotonic()
            await rest.get("/tasks", page_size=10)
            seconds.append(time.monotonic() - began)
            await asyncio.sleep(READ_PAUSE)

    reading = asyncio.create_task(read())
    try:
        yield seconds
    finally:
        reading.cancel()
        with suppress(asyncio.CancelledError):
            await reading


async def _measure(agents: int) -> None:
    with tempfile.TemporaryDirectory() as directory, redirect_stdout(StringIO()):  # where their logs would be shown
        async with services_in(Path(directory)) as services:
            report = await come_back(services, Path(directory), agents)
    sys.stdout.write("\n".join([*report.lines(), ""]))


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description="Have a herd of agents come back to a server that was killed.")
    parser.add_argument("--agents", type=int, default=1_000)
    asyncio.run(_measure(parser.parse_args().agents))


if __name__ == "__main__":
    main()
