"""Both stores give the same answers to the same batches, whatever is in them: seeded batches that get in each other's
way, over few tasks, keys, places and unique keys.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from nodelink.plan import PLAN_AND_APPLY
from nodelink.task import Rate, TaskStatus
from nodelink.values import evolve
from nodelink_server.core import task as moves
from nodelink_server.core.attempt import Hold
from nodelink_server.core.needs import place_of, shape_of
from nodelink_server.core.ports import (
    Batch,
    Change,
    Evidence,
    IdempotencyKey,
    Place,
    RateUse,
    Receipt,
    Shape,
    Store,
    TaskQuery,
)
from nodelink_server.core.task import Task, rate_key, workspace_key
from nodelink_server.core.task_record import LateResult
from nodelink_server.store.disk import Disk
from nodelink_server.store.memory import MemoryStore
from nodelink_server.store.sql import open_store
from tests.server.store import lives
from tests.server.store.lives import NOW

BATCHES = 80
AT_ONCE = 6
BATCHES_PER_TASK = 4
TASKS = [f"t{number}" for number in range(AT_ONCE + BATCHES // BATCHES_PER_TASK)]
LOCKS = ["", "k", "l"]
UNIQUE = ["", "", "u", "v"]
LIMITS: list[dict[str, int]] = [{}, {}, {"k": 2}, {"l": 1, "m": 3}]
RATES: list[dict[str, Rate]] = [{}, {}, {"k": Rate(2, 25)}, {"l": Rate(1, 40), "m": Rate(2, 5)}]
NEEDS: list[dict[str, object]] = [{}, {}, {"slots": 2}, {"agent_id": "a", "resources": {"cpu": 500}}]
FAIR = ["", "", "f", "g"]
KEYS = [*LOCKS, "m", rate_key("k"), rate_key("l"), workspace_key("w"), "nobody's"]
PLACES = [Hold(key, place) for key in "klm" for place in range(3)]
S = TaskStatus


class Chance:
    """Makes batches out of what is stored, by a seed: some of it right, some stale, some too early."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._fence = 0
        self._batches = 0

    def batch(self, stored: dict[str, Task], now: int) -> Batch:
        """A batch of a few changes of the tasks whose turn it is."""
        self._batches += 1
        changes = [change for _ in range(self._random.randint(1, 5)) for change in self._change(stored, now)]
        evidence = [self._evidence() for _ in range(self._random.randint(0, 1))]
        return Batch(now=now, control_ms=now - NOW, changes=changes, evidence=evidence)

    def _change(self, stored: dict[str, Task], now: int) -> Iterator[Change]:
        name = TASKS[self._batches // BATCHES_PER_TASK + self._random.randrange(AT_ONCE)]
        task = stored.get(name)
        if task is None or self._random.random() < 0.1:
            yield self._new(name)
            return
        if self._random.random() < 0.15:
            task = replace(task, revision=task.revision - 1)
        gives_up = task.unique_key and self._random.random() < 0.1
        made = lives.after(task, moves.key_given_up(task)) if gives_up else self._next(task, now)
        if made is not None:
            yield self._with_places(task, made)

    def _new(self, name: str) -> Change:
        task = self._asked(name)
        if self._random.random() < 0.1:
            task = lives.limited(name, deadline=self._random.randrange(1_000))
        named = IdempotencyKey(caller="local", key=self._random.choice("ab"), digest=self._random.choice([b"1", b"2"]))
        change = lives.accept(task, idempotency=named if self._random.random() < 0.3 else None)
        return change if self._random.random() < 0.7 else replace(change, takes=self._places(task))

    def _asked(self, name: str) -> Task:
        """A new task that asks for some of what there is."""
        choice = self._random.choice
        fair = choice(FAIR)
        spec = lives.new(
            name,
            type=choice(["echo", PLAN_AND_APPLY]),
            lock=choice(LOCKS),
            limits=choice(LIMITS),
            rates=choice(RATES),
            workspace=choice(["", "", "w"]),
            unique_key=choice(UNIQUE),
            fairness_key=fair,
            **choice(NEEDS),  # type: ignore[arg-type]  # names of fields
        ).spec
        tag = self._random.randrange(100) if fair else None
        return evolve(lives.exclusive(name), spec=spec, rank=self._random.randrange(4), fair_tag=tag)

    def _places(self, task: Task) -> tuple[Hold, ...]:
        """Places of all keys of a task, perhaps taken."""
        single = [Hold(task.lock)] if task.lock else []
        several = [Hold(key, self._random.randrange(most)) for key, most in task.spec.limits.items()]
        return (*single, *(hold for hold in several if hold.key != task.lock))

    def _grant(self, task: Task, now: int) -> Change:
        since = now - NOW
        uses = [
            RateUse(rate_key(key), self._random.randrange(rate.most), since, since + rate.per_ms)
            for key, rate in task.spec.rates.items()
        ]
        return lives.grant(task, fence=self._fence, now=now, takes=self._places(task), uses=uses)

    def _grant_kept(self, task: Task, now: int) -> Change:
        """It is granted with what it has kept, and some more."""
        return lives.grant(task, fence=self._fence, now=now, takes=(*task.holds, *self._some_places()))

    def _is_to_plan(self, task: Task) -> bool:
        return task.spec.type == PLAN_AND_APPLY and not task.has_plan

    def _moved(self, task: Task) -> Change:
        """It gets another place in its queue and in its line."""
        tag = None if task.fair_tag is None else self._random.randrange(100)
        return lives.after(task, evolve(task, rank=self._random.randrange(4), fair_tag=tag))

    def _prioritized(self, task: Task, now: int) -> Change:
        """It gets another priority, and with it perhaps another place."""
        return lives.prioritize(task, self._random.randint(1, 9), rank=self._random.randrange(4), at=now)

    def _next(self, task: Task, now: int) -> Change | None:
        """What can become of it."""
        self._fence += 1
        match task.status:
            case S.PENDING:
                moves = [
                    lambda: self._grant(task, now),
                    lambda: self._grant(task, now),
                    lambda: self._moved(task),
                    lambda: self._prioritized(task, now),
                    lambda: lives.cancel(task, now=now),
                ]
            case S.SENT:
                moves = [
                    lambda: lives.start(task, at=now),
                    lambda: lives.give_back(task, now=now),
                    lambda: lives.settle(task, now=now, begun=False),
                    lambda: lives.fail(task, now=now, begun=False),
                    lambda: lives.stop(task, now=now),
                    lambda: lives.doubt(task, at=now),
                ]
            case S.SCHEDULED:
                moves = [
                    lambda: lives.ready_again(task, now=now),
                    lambda: self._prioritized(task, now),
                    lambda: lives.cancel(task, now=now),
                    lambda: lives.skip(task, now=now),
                ]
            case S.IN_PROGRESS:
                moves = [
                    lambda: lives.settle(task, now=now),
                    lambda: lives.doubt(task, at=now),
                    lambda: lives.fail(task, now=now),
                    *([lambda: lives.drain(task, now=now)] if not task.has_plan else []),
                    *([lambda: lives.plan(task, now=now)] * 4 if self._is_to_plan(task) else []),
                ]
            case S.PLAN_COMPLETED:
                deadline = self._random.choice([None, self._random.randrange(500)])
                approve = lives.approve(task, now=now, queue_deadline=deadline)
                moves = [lambda: approve, lambda: approve, lambda: lives.cancel(task, now=now)]
            case S.APPLY_PENDING:
                grant = self._grant_kept(task, now)
                moves = [lambda: grant, lambda: grant, lambda: self._moved(task), lambda: lives.cancel(task, now=now)]
            case S.CANCELLING:
                moves = [lambda: lives.settle(task, now=now), lambda: lives.doubt(task, at=now)]
            case S.UNKNOWN:
                moves = [
                    lambda: lives.recover(task, at=now),
                    lambda: lives.run_again(task, now=now),
                    lambda: lives.resolve(task, completed=self._random.random() < 0.5, now=now),
                ]
            case _:
                return None
        return self._random.choice(moves)()

    def _with_places(self, before: Task, change: Change) -> Change:
        """As the core would have it, or now and then not."""
        if self._random.random() < 0.1:
            return replace(change, takes=self._some_places(), frees=self._some_places())
        held, holds = before.holds, change.task.holds
        takes = tuple(hold for hold in holds if hold not in held)
        return replace(change, takes=takes, frees=tuple(hold for hold in held if hold not in holds))

    def _some_places(self) -> tuple[Hold, ...]:
        return tuple(self._random.sample(PLACES, self._random.randrange(3)))

    def _evidence(self) -> Evidence:
        late = LateResult(self._random.randint(1, 2), self._random.randint(1, 3), "a", NOW, "gone")
        return Evidence(self._random.randint(1, 8), late)


def told(receipt: Receipt) -> dict[str, object]:
    return {
        "revisions": list(receipt.revisions),
        "keys": list(receipt.keys),
        "events": list(receipt.events),
        "replays": dict(receipt.replays),
        "locked": set(receipt.locked),
        "clashes": dict(receipt.clashes),
    }


async def kept(store: Store) -> dict[str, object]:
    boot = await store.boot(NOW)
    waiting = [await store.waiting(shape, None, 100) for shape in boot.shapes]
    behind = {shape_of(tasks[0]): place_of(tasks[0]) for tasks in waiting}
    return {
        "shapes": list(boot.shapes),
        "rates": dict(boot.rates),
        "lines": dict(boot.lines),
        "waiting": [list(tasks) for tasks in waiting],
        "counts": await store.counts(),
        "holds": dict(boot.holds),
        "granted": sorted(boot.granted, key=lambda task: task.key),
        "records": [await store.read(name) for name in TASKS],
        "histories": [await store.history(name) for name in TASKS],
        "before": [await store.count_before(Shape("default", "echo"), Place(7, key), 5) for key in (0, 9, 1_000)],
        "to apply": [await store.count_before(Shape("default", PLAN_AND_APPLY, "", True), Place(7, 1_000), 5)],
        "expiring": await store.expiring(None, 100),
        "planned": list(boot.planned),
        "plans": list((await store.list(TaskQuery(page_size=9, has_plan=True))).records),
        "limited": await store.limited(None, 100),
        "retrying": await store.retrying(None, 100),
        "first": [list(await store.waiting_on(key, {}, most)) for key in KEYS for most in (1, 2, 9)],
        "behind": [list(await store.waiting_on(key, behind, most)) for key in KEYS for most in (1, 9)],
        "events": await store.events(0, 10_000),
    }


@pytest.mark.parametrize("seed", range(8))
async def test_both_stores_answer_alike(tmp_path: Path, seed: int) -> None:
    chance, memory = Chance(seed), MemoryStore(Disk())
    await memory.boot(NOW)
    refused: set[str] = set()
    async with open_store(f"sqlite:///{tmp_path}/nodelink.db", ids=lambda: "cluster") as sqlite:
        await sqlite.boot(NOW)
        for number in range(BATCHES):
            stored = {task.id: task for task in await memory.find(TASKS)}
            batch = chance.batch(stored, NOW + 10 * number)
            wanted = told(await memory.apply(batch))
            assert told(await sqlite.apply(batch)) == wanted
            refused |= {name for name in ("replays", "locked", "clashes") if wanted[name]}
            if number % 10 == 0:
                assert await kept(sqlite) == await kept(memory)
                for store in (sqlite, memory):
                    await forget_rates(store)
        assert await kept(sqlite) == await kept(memory)

    assert refused >= {"locked", "clashes"}


async def forget_rates(store: Store) -> None:
    """Forget which places under rates were taken that are free again."""
    await store.sweep(finished_before=0, events_before=0, keys_before=0, sessions_before=0, limit=1)


async def test_whatever_happens_histories_are_what_was_told() -> None:
    told: set[str] = set()
    for seed in range(40):
        chance, store = Chance(seed), MemoryStore(Disk())
        for number in range(BATCHES):
            stored = {task.id: task for task in await store.find(TASKS)}
            await store.apply(chance.batch(stored, NOW + 10 * number))
        events = await store.events(0, 10_000)
        told |= {event.name for event in events}
        for name in TASKS:
            assert await store.history(name) == [event for event in events if event.task_id == name], (seed, name)

    assert told >= {"task.unknown", "task.recovered", "task.cancelling", "task.retrying", "task.skipped"}
    assert told >= {"task.plan_completed", "task.apply_pending"}
