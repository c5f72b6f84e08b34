"""Many listeners to events: how long it takes until they hear, and whether those who do not read delay the others.

The tasks of the rooms are tried again and again by light agents: each time they are sent, begin, fail and wait, which
is four events in commits as any. Listeners are in processes of their own.
"""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import grpc

from benchmarks.bare_agent import BareAgent
from benchmarks.cpu import cpu_seconds
from benchmarks.helper import Helper, helping
from benchmarks.measurement import LONG_SECONDS, Figure, Measurement, times_of
from benchmarks.raw import OPTIONS
from benchmarks.system import addresses_of, server
from nodelink import wire
from nodelink.task import AttemptRef, Finished, Outcome, Started, TaskResponse
from nodelink.v1 import agent_pb2, task_pb2, task_pb2_grpc

PER_ROOM = 10
EVERYWHERE = 10
STALLED_IN_TEN = 2
"""In every second room two of ten stall, and one of those that hear everything: a tenth of all."""
EVENTS_A_TRY = 4
EVENTS_PER_SECOND = 1_000
MOST_TRIES = 100
SECONDS = 20.0
WARM_UP_SECONDS = 5.0
SETTLE_SECONDS = 2.0
HELPERS = 2
POOL = "rooms"
AGENT = 0xE0
TENTHS_A_MS = 10.0


class Sizes(NamedTuple):
    """How many rooms there are, how often a second something happens in all of them together, and for how long."""

    rooms: int
    events_per_second: float
    seconds: float


def listeners(count: int, *, events_per_second: float = EVENTS_PER_SECOND, seconds: float = SECONDS) -> Measurement:
    """The measurement."""
    sizes = Sizes(max(count // PER_ROOM, 2), events_per_second, seconds)
    return Measurement(
        name="scale: listeners",
        how=f"{sizes.rooms * PER_ROOM:,} SSE listeners in rooms of {PER_ROOM} and {EVERYWHERE} to everything, a tenth "
        f"of them stalled; about {events_per_second:,.0f} events a second for {seconds:g} s; delays by the wall clock: "
        "of task.sent from when the agent had the task, just after the commit; of all from their own time, before it",
        figures=(
            Figure(key="scale.events.rate", name="events that were told", unit="events/s"),
            *times_of("scale.listener", "commit to listener"),
            *times_of("scale.listener.apart", "commit to listener, room without anybody who stalls"),
            *times_of("scale.listener.beside", "commit to listener, room with two who stall"),
            *times_of("scale.listener.all", "commit to listener of everything"),
            *times_of("scale.listener.own", "event's own time to listener"),
            Figure(key="scale.listener.missed", name="events missed by listeners that read", unit="events"),
            Figure(
                key="scale.listener.reset", name="listeners that read and were told to begin again", unit="listeners"
            ),
            Figure(key="scale.events.share", name="server meanwhile", unit="of a core"),
        ),
        run=partial(_measure, sizes),
        most_seconds=LONG_SECONDS,
    )


def plan_of(rooms: Sequence[str]) -> list[tuple[str, bool]]:
    """Who listens where, and who stalls: all listeners, those to everything last."""
    inside = [
        (room, place % 2 == 0 and number < STALLED_IN_TEN)
        for place, room in enumerate(rooms)
        for number in range(PER_ROOM)
    ]
    return inside + [("", number == 0) for number in range(EVERYWHERE)]


async def _measure(sizes: Sizes, directory: Path) -> Mapping[str, float]:
    async with (
        server(directory) as (address, process),
        grpc.aio.insecure_channel(address, options=OPTIONS) as channel,
    ):
        rooms = await _rooms(channel, sizes)
        plan = plan_of(rooms)
        http = addresses_of(directory)["http"]
        async with _listening(http, plan) as helpers, _trying(address, sizes) as given:
            await asyncio.sleep(WARM_UP_SECONDS)
            cpu, since = cpu_seconds([process.pid]), time.time()
            await asyncio.sleep(sizes.seconds)
            used, until = cpu_seconds([process.pid]) - cpu, time.time()
            await asyncio.sleep(SETTLE_SECONDS)
            for helper in helpers:
                helper.tell(json.dumps({"since": since, "until": until, "given": given}))
            heard = [one for helper in helpers for one in await helper.hear()]
    dealt = [listener for share in _shares(plan) for listener in share]
    return {**figures_of(dealt, heard, until - since), "scale.events.share": used / (until - since)}


def figures_of(
    plan: Sequence[tuple[str, bool]], heard: Sequence[Mapping[str, Any]], seconds: float
) -> dict[str, float]:
    """What the listeners have heard, as figures. Only of those that read."""
    beside = {room for room, stalls in plan if stalls}
    delays: defaultdict[str, Counter[int]] = defaultdict(Counter)
    own: Counter[int] = Counter()
    counts: defaultdict[str, list[int]] = defaultdict(list)
    resets = 0
    for (room, stalls), one in zip(plan, heard, strict=True):
        if stalls:
            continue
        where = "all" if not room else "beside" if room in beside else "apart"
        for tenths, times in one["sent"]:
            delays[where][tenths] += times
        own.update(dict(one["own"]))
        counts[room].append(one["count"])
        resets += one["reset"]
    everybody = sum(delays.values(), Counter())
    found = {
        "scale.events.rate": max(counts[""]) / seconds,
        "scale.listener.missed": float(sum(max(each) - one for each in counts.values() for one in each)),
        "scale.listener.reset": float(resets),
    }
    parts = {f".{where}": delays[where] for where in ("apart", "beside", "all")}
    for key, of in {"": everybody, **parts, ".own": own}.items():
        found |= {f"scale.listener{key}.p{percent}": percentile_of(of, percent) / TENTHS_A_MS for percent in (50, 99)}
    return found


def percentile_of(counts: Mapping[int, int], percent: int) -> int:
    """The smallest value that at least so many of a hundred do not exceed, of values and how often each came."""
    wanted, seen = sum(counts.values()) * percent / 100, 0
    for value in sorted(counts):
        seen += counts[value]
        if seen >= wanted:
            return value
    raise ValueError("nothing came")


async def _rooms(channel: grpc.aio.Channel, sizes: Sizes) -> list[str]:
    """Tasks that are tried many times."""
    service = task_pb2_grpc.TaskServiceStub(channel)
    spec = task_pb2.TaskSpec(type="echo", payload=b"1", pool=POOL)
    spec.retry.max_attempts = MOST_TRIES
    requests = [task_pb2.SubmitTaskRequest(spec=spec)] * sizes.rooms
    answer = await service.BatchSubmitTasks(task_pb2.BatchSubmitTasksRequest(requests=requests))
    return [outcome.task_id for outcome in answer.outcomes]


@asynccontextmanager
async def _listening(http: str, plan: Sequence[tuple[str, bool]]) -> AsyncIterator[list[Helper]]:
    async with AsyncExitStack() as stack:
        shares = [{"http": http, "listeners": share} for share in _shares(plan)]
        helpers = [await stack.enter_async_context(helping("benchmarks.scale.listening", share)) for share in shares]
        for helper in helpers:
            assert await helper.hear() == "listening"
        yield helpers


def _shares(plan: Sequence[tuple[str, bool]]) -> list[Sequence[tuple[str, bool]]]:
    return [plan[number::HELPERS] for number in range(HELPERS)]


@asynccontextmanager
async def _trying(address: str, sizes: Sizes) -> AsyncIterator[dict[str, float]]:
    """An agent with which every try fails, to be made again after a while: so something happens at a steady rate.

    Gives when each attempt had come to the agent, by `task:attempt`, on the wall clock.
    """
    pause_ms = round(sizes.rooms * EVENTS_A_TRY / sizes.events_per_second * 1000)
    needed = (sizes.seconds + WARM_UP_SECONDS) * 1000 / pause_ms
    assert needed < MOST_TRIES, "the tasks would have failed for good before the end"
    given: dict[str, float] = {}
    chance = random.Random(1)

    def answer(frame: agent_pb2.ConnectResponse) -> list[TaskResponse]:
        refs = [wire.ref_of(task.ref) for task in frame.tasks]
        given.update(dict.fromkeys((f"{ref.task_id}:{ref.attempt}" for ref in refs), time.time()))
        return [TaskResponse(ref, update) for ref in refs for update in (Started(), failed(ref))]

    def failed(ref: AttemptRef) -> Finished:
        """The first try is made again sooner, or the tasks would go in step for ever."""
        pause = chance.uniform(0, pause_ms) if ref.attempt == 1 else pause_ms
        return Finished(outcome=Outcome.FAILED, retry_after_ms=round(pause))

    living = asyncio.create_task(BareAgent(AGENT, address, pool=POOL, slots=sizes.rooms, answer=answer).live())
    try:
        yield given
    finally:
        living.cancel()
        await asyncio.gather(living, return_exceptions=True)
