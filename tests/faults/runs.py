"""One run under faults from its beginning to the verdict, as a test or the command line wants it."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.faults.load import KINDS, LONGEST, Load
from tests.faults.notes import Note, Notes
from tests.faults.rules import Verdict, judge
from tests.faults.stage import Stage, stage_in
from tests.faults.storm import Rules, Storm

QUIET_SECONDS = 200.0
"""After the last fault, everything that was accepted is over within this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What run is wanted."""

    seed: int
    rules: Rules
    agents: int = 3
    callers: int = 20
    kinds: Sequence[str] = tuple(KINDS)
    longest: int = LONGEST
    disks: bool = False
    """Everybody's data lies on a small disk of its own, and these are filled."""
    clocks: bool = False
    """Everybody has a wall clock of its own, and these are set."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a run came to."""

    verdict: Verdict
    done: Counter[str]
    statuses: Counter[str]
    asked: int
    kills: int
    quiet_seconds: float


async def run_storm(order: Order, directory: Path, shown: Callable[[Note], None] | None = None) -> Report:
    """A load, a storm over it, and the quiet after it. Raises what broke the harness itself."""
    chance = random.Random(order.seed)
    notes = Notes(directory, shown)
    try:
        words = {"agents": order.agents, "seed": order.seed}
        async with stage_in(directory, notes, **words, has_disks=order.disks, has_clocks=order.clocks) as stage:
            async with load_on(stage, notes, order.seed, kinds=order.kinds, longest=order.longest) as load:
                storm = Storm(stage, notes, order.rules, chance, lambda: load.over)
                calling = asyncio.create_task(load.run(order.callers))
                await _under(storm, calling)
                load.stop()
                quiet = await until_quiet(stage, notes, calling)
            await stage.close_down()
            notes.write("end", kills=storm.tally.kills, asked=load.asked)
    finally:
        notes.close()
    verdict = await asyncio.to_thread(judge, directory)
    statuses = Counter(str(task.status) for task in verdict.past.history.kept)
    return Report(verdict, storm.tally.done, statuses, load.asked, storm.tally.kills, quiet)


async def _under(storm: Storm, calling: asyncio.Task[None]) -> None:
    """The storm to its end. Raises at once what broke a caller: without a load it would be for nothing."""
    blowing = asyncio.create_task(storm.run())
    try:
        await asyncio.wait({blowing, calling}, return_when=asyncio.FIRST_COMPLETED)
        if calling.done():
            calling.result()
        await blowing
    finally:
        blowing.cancel()
        await asyncio.wait({blowing})


def load_on(
    stage: Stage,
    notes: Notes,
    seed: int,
    *,
    kinds: Sequence[str] = tuple(KINDS),
    longest: int = LONGEST,
    may_be_removed: bool = False,
) -> Load:
    """Callers of a stage's server."""
    return Load(
        stage.server.http,
        notes,
        stage.effects,
        chance=random.Random(seed + 1),
        living=stage.services.living,
        kinds=kinds,
        longest=longest,
        may_be_removed=may_be_removed,
    )


async def until_quiet(stage: Stage, notes: Notes, calling: asyncio.Task[None]) -> float:
    """Wait for the callers to see the end of what they asked for. What is not over by then, the checker will name."""
    loop = asyncio.get_running_loop()
    begin = loop.time()
    done, _ = await asyncio.wait({calling}, timeout=QUIET_SECONDS)
    if not done:
        notes.write("restless", seconds=QUIET_SECONDS)
        calling.cancel()
        await asyncio.wait({calling})
    else:
        calling.result()
        await stage.idle(QUIET_SECONDS)
    return loop.time() - begin
