"""Which places under limits are taken, which rates have room, and for which of them tasks wait in the database alone.

A lock is a limit of one; a rate is a limit whose places stay taken for a time, whatever becomes of who took them. The
database decides who has a place; this only saves asking it in vain, and keeps the order. A task that finds no place
leaves memory. When there is one again, the first that wait for it are read anew, and until they are there the key is
closed: nobody gets it. What is set for all tasks, or those of a pool, a type or an agent, is a gate: nothing leaves
memory because of it, and who has room is told when it opens.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import count
from typing import NamedTuple

from nodelink.task import Rate, Reason, TaskSpec, WhenTaken
from nodelink_server.core.attempt import Hold
from nodelink_server.core.clock import ControlTime, set_within
from nodelink_server.core.needs import shape_of
from nodelink_server.core.ports import Clock, RateUse, Shape
from nodelink_server.core.task import Task, rate_key, workspace_key

OURS = "\x1f"
"""What the keys begin with that no caller can write."""
RUNNING = "running"
DOUBT_MS = 1_000
"""How long a place is let alone that the database has found to be another's."""


def name_of(key: str) -> str:
    """How people call a key: `pool:default`, `workspace:site`; `key:NAME` is what tasks name as a lock or a limit."""
    return key[len(OURS) :] if key.startswith(OURS) else f"key:{key}"


def key_of(name: str) -> str:
    """The key that people call so."""
    kind, _, rest = name.partition(":")
    return rest if kind == "key" else OURS + name


class Blocking(NamedTuple):
    """What a task lacks: a place under a key. `opens_at`: when there is one for certain, in control time."""

    key: str
    opens_at: int | None = None


class Reservation(NamedTuple):
    """The places that a task has, or is about to have."""

    holds: tuple[Hold, ...]
    uses: tuple[RateUse, ...] = ()


_NOTHING = Reservation(())


def keys_of(task: Task) -> Mapping[str, int]:
    """The keys of which a task must have a place while it is with an agent, each with how many places there are."""
    lock, spec = task.lock, task.spec
    if not (spec.limits or spec.workspace):
        return {lock: 1} if lock else {}
    keys = dict(spec.limits)
    if spec.workspace:
        keys[workspace_key(spec.workspace)] = 1
    if lock:
        keys[lock] = 1
    return keys


class Limits:
    """The places of one server's tasks. Lives on the loop. `on_room`: called when a gate has opened."""

    def __init__(
        self, control: ControlTime, *, max_running: int = 0, on_room: Callable[[], None] = lambda: None
    ) -> None:
        self._control = control
        self._max_running = max_running
        self._on_room = on_room
        self._set: dict[str, int] = {}
        self._held: defaultdict[str, dict[int, str]] = defaultdict(dict)
        self._used: defaultdict[str, dict[int, int]] = defaultdict(dict)
        self._bounds: dict[str, Counter[int]] = {}
        """By key, what those who have a place say of how many there are, and how many say it."""
        self._said: dict[tuple[str, str], int] = {}
        self._adopted: dict[str, list[Hold]] = {}
        """The places of tasks that were given to agents before a gate was set, by id. Only memory knows of them."""
        self._reserved: dict[str, Reservation] = {}
        self._with_agents: set[str] = set()
        """Of those that have something reserved, the ones that durably have it."""
        self._most: dict[str, int] = {}
        self._opened = False
        self._closed: set[str] = set()
        self._passed_over: set[str] = set()
        self._to_read: dict[str, None] = {}
        self._openings: list[tuple[int, str]] = []
        self._opens_at: dict[str, int] = {}
        self.wake = asyncio.Event()
        """Set when there is something to read, or the first rate opens earlier than it did."""

    def restore(
        self,
        holds: Mapping[Hold, str],
        limits: Mapping[str, int],
        rates: Mapping[Hold, int],
        granted: Sequence[Task] = (),
        planned: Sequence[Task] = (),
    ) -> None:
        """Know who has what, and until when rates are used up. That others wait for it can be. `planned`: those that
        have places and are with no agent.
        """
        keys = {task.id: keys_of(task) for task in (*granted, *planned)}
        self._set = {key_of(name): most for name, most in limits.items()}
        if self._max_running:
            self._set[OURS + RUNNING] = min(self._max_running, self._set.get(OURS + RUNNING, self._max_running))
        reserved: defaultdict[str, list[Hold]] = defaultdict(list)
        for hold, task_id in holds.items():
            self._hold(hold, task_id, keys.get(task_id, {}).get(hold.key))
            reserved[task_id].append(hold)
            self._most[hold.key] = 1
        for task in planned:
            reserved.pop(task.id, None)
        self._reserved = {task_id: Reservation(tuple(some)) for task_id, some in reserved.items()}
        self._with_agents = set(self._reserved)
        for (key, place), until in rates.items():
            self._used[key][place] = until
            self._most[key] = 1
        for key, used in self._used.items():
            self._will_open(key, min(used.values()))
        self.adopt(granted)

    # -- what is set --------------------------------------------------------------------------------------------------

    def set(self, name: str, most: int | None) -> None:
        """Let so many tasks be with agents at a time that a limit is about; None: any number."""
        key = key_of(name)
        if most is None:
            self._set.pop(key, None)
        else:
            self._set[key] = most
        if key == OURS + RUNNING and self._max_running:
            self._set[key] = self._max_running if most is None else min(self._max_running, most)
        self._left(key)
        self._on_room()

    def adopt(self, granted: Iterable[Task]) -> None:
        """Let tasks that are with agents count under the gates that are set by now, if they do not yet."""
        counted = {key: set(self._held.get(key, {}).values()) for key in self._set}
        free = {key: _free_from(self._held[key]) for key in self._set}
        for task in granted:
            agent_id = task.attempt.agent_id if task.attempt is not None else None
            for key in self._gates(task.spec.pool, task.spec.type, agent_id):
                if task.id not in counted[key]:
                    hold = Hold(key, next(free[key]))
                    self._hold(hold, task.id, None)
                    self._adopted.setdefault(task.id, []).append(hold)

    @property
    def has_adopted(self) -> bool:
        """Whether any task has places that only memory knows of."""
        return bool(self._adopted)

    def is_adopted(self, task_id: str) -> bool:
        """Whether a task has places that only memory knows of."""
        return task_id in self._adopted

    def limit(self, key: str) -> int | None:
        """How many places a key has by what is set; None: nothing is."""
        return self._set.get(key)

    def all_set(self) -> Mapping[str, int]:
        """What is set, by name."""
        return {name_of(key): most for key, most in self._set.items()}

    def taken(self, key: str) -> int:
        """How many places of a key are taken."""
        return len(self._held.get(key, ()))

    def is_shut(self, key: str) -> bool:
        """Whether a limit is set, and reached."""
        return key in self._set and self.taken(key) >= self._set[key]

    def may_be_wanted(self, key: str) -> bool:
        """Whether tasks may wait for a place of a key: all are taken, or some have asked in vain."""
        said = (*self._bounds.get(key, ()), *((self._set[key],) if key in self._set else ()))
        return key in self._most or (bool(said) and self.taken(key) >= min(said))

    def held(self) -> Iterator[tuple[str, Mapping[int, str]]]:
        """Every key of which a place is taken, with the ids of the tasks by place."""
        return ((key, held) for key, held in self._held.items() if held)

    # -- gates --------------------------------------------------------------------------------------------------------

    @property
    def has_gates(self) -> bool:
        """Whether anything is set that could be closed."""
        return bool(self._set)

    def closed_gate(self, shape: Shape, agent_id: str | None) -> str | None:
        """The limit by which no task of a shape may be given to an agent now; None: none."""
        if not self._set:
            return None
        gates = self._gates(shape.pool, shape.type, agent_id)
        return next((key for key in gates if len(self._held.get(key, ())) >= self._set[key]), None)

    def _gates(self, pool: str, type: str, agent_id: str | None) -> list[str]:
        names = [RUNNING, f"pool:{pool}", f"type:{type}"]
        if agent_id is not None:
            names.append(f"agent:{agent_id}")
        return [OURS + name for name in names if OURS + name in self._set]

    # -- places -------------------------------------------------------------------------------------------------------

    def reserve(self, task: Task, agent_id: str) -> bool:
        """Let a task have all its places, its agent's gates being open. False: there is none under one of its keys, and
        the task has to be read again some day; or it waits by the database alone, and its last attempt's places are
        about to be freed.
        """
        if task.id in self._reserved:
            return task.id not in self._with_agents
        spec = task.spec
        if not (self._set or spec.limits or spec.rates or spec.workspace or task.lock):
            return True
        keys, rates = ({}, []) if task.has_plan else (keys_of(task), _rates_of(spec))  # what it has, it has kept
        if not (keys or rates or self._set):
            return True
        blocking = self.blocking(task)
        if blocking is not None:
            self._miss(task, blocking)
            return False
        gates = self._gates(spec.pool, spec.type, agent_id)
        holds = [Hold(key, _lowest_free(self._held.get(key, {}))) for key in (*keys, *gates)]
        now = self._control.now()
        uses = [self._use(key, rate, now) for key, rate in rates]
        for hold in holds:
            self._hold(hold, task.id, keys.get(hold.key))
        if holds or uses:
            self._reserved[task.id] = Reservation(tuple(holds), tuple(uses))
        return True

    def reservation(self, task_id: str) -> Reservation:
        """The places that a task has, or is about to have. Those under rates are taken from now on."""
        reserved = self._reserved.get(task_id, _NOTHING)
        if not reserved.uses:
            return reserved
        now = self._control.now()
        uses = tuple(RateUse(key, place, now, now + until - since) for key, place, since, until in reserved.uses)
        ours = tuple(use for old, use in zip(reserved.uses, uses, strict=True) if self._has_still(old))
        for use in ours:
            self._used[use.key][use.place] = use.until
        self._reserved[task_id] = Reservation(reserved.holds, ours)
        return Reservation(reserved.holds, uses)  # what is another's by now, the database refuses

    def _has_still(self, use: RateUse) -> bool:
        """Whether a place under a rate is as it was taken: its time may be over, and another may have it since."""
        return self._used.get(use.key, {}).get(use.place) == use.until

    def granted(self, task_id: str) -> None:
        """What was reserved is the task's, durably: the places under rates are taken, and free themselves."""
        reserved = self._reserved.get(task_id)
        if reserved is not None and not reserved.holds:
            del self._reserved[task_id]
        elif reserved is not None:
            self._reserved[task_id] = Reservation(reserved.holds)
            self._with_agents.add(task_id)

    def give_back(self, task_id: str) -> None:
        """A task does not get after all what was reserved for it."""
        reserved = self._reserved.pop(task_id, _NOTHING)
        for use in reserved.uses:
            if self._has_still(use):
                del self._used[use.key][use.place]
            self._left(use.key)
        self._free(task_id, reserved.holds)
        self.tell_opened()

    def tell_opened(self) -> None:
        """Tell whoever has room of gates that have opened."""
        if self._opened:
            self._opened = False
            self._on_room()

    def refused(self, task: Task) -> None:
        """The database has other holders than was believed: their places are nobody's to have, for a moment."""
        reserved = self._reserved.pop(task.id, _NOTHING)
        for key, place in reserved.holds:
            self._held[key][place] = ""
            self._let_go(task.id, key)
            self._will_open(key, self._control.now() + DOUBT_MS)
        for key, _ in _rates_of(task.spec):
            self._will_open(key, self._control.now() + DOUBT_MS)
        for key in (*keys_of(task), *(key for key, _ in _rates_of(task.spec))):
            self._most.setdefault(key, 1)

    def freed(self, task_id: str, holds: Sequence[Hold]) -> None:
        """Places are a task's no more, and nor are those that only memory knows of. `tell_opened` is to be called when
        all that goes with it is shown.
        """
        self._reserved.pop(task_id, None)
        self._with_agents.discard(task_id)
        self._free(task_id, (*holds, *self._adopted.pop(task_id, ())))

    def left(self, task: Task) -> None:
        """A task has ended that waited. It may have been the one in memory behind which the others wait."""
        for key in (*keys_of(task), *(key for key, _ in _rates_of(task.spec))):
            self._left(key)

    def blocking(self, task: Task) -> Blocking | None:
        """What a task lacks, beside what is open to nobody; None: nothing."""
        if task.id in self._reserved or task.has_plan:
            return None
        for key, most in keys_of(task).items():
            if key in self._closed or len(self._held.get(key, ())) >= self.places(key, most):
                return Blocking(key)
        now = self._control.now()
        for key, rate in _rates_of(task.spec):
            taken = sorted(until for until in self._used.get(key, {}).values() if until > now)
            if len(taken) >= rate.most:
                return Blocking(key, taken[len(taken) - rate.most])
            if key in self._closed:
                return Blocking(key, now)
        return None

    def explain(self, task: Task) -> tuple[Reason, str] | None:
        """Why a waiting task gets no place, in words; None: nothing of this keeps it."""
        blocking = self.blocking(task)
        if blocking is None:
            gate = self.closed_gate(shape_of(task), None)
            return None if gate is None else (Reason.LIMIT, f"limit {name_of(gate)} ({self._set[gate]}) is reached")
        key, holders = blocking.key, self.holders(blocking.key)
        by = f"held by task {holders[0]}" if holders else "being handed over"
        if key == task.lock:
            return Reason.LOCK, f"lock {key!r} is {by}"
        if key == workspace_key(task.spec.workspace):
            return Reason.LOCK, f"workspace {task.spec.workspace!r} is {by}"
        if key in task.spec.limits:
            most = self.places(key, task.spec.limits[key])
            if not most:
                return Reason.LIMIT, f"limit {key!r} is set to 0"
            return Reason.LIMIT, f"limit {key!r}: {len(holders)} of {most} place(s) are taken, the first {by}"
        seconds = max(0, (blocking.opens_at or 0) - self._control.now()) / 1000
        return Reason.RATE, f"rate {name_of(key).removeprefix('rate:')!r} has room again in {seconds:.1f} seconds"

    def holders(self, key: str) -> Sequence[str]:
        """The ids of the tasks that have a place of a key, or are about to."""
        return [task_id for _, task_id in sorted(self._held.get(key, {}).items()) if task_id]

    def is_to_be_skipped(self, task: Task) -> bool:
        """Whether a task that is ready for the first time lacks a place, and does not wait for one."""
        is_new = task.spec.when_taken is WhenTaken.SKIP and not task.grants
        return is_new and self.blocking(task) is not None

    def in_the_way(self, task: Task) -> Sequence[str]:
        """Of each key of which a task lacks a place, the tasks that have been there longest, as many as must go."""
        found: dict[str, None] = {}
        for key, most in keys_of(task).items():
            held = self._held.get(key, {})
            too_many = len(held) - self.places(key, most) + 1
            found.update(dict.fromkeys([task_id for task_id in held.values() if task_id][: max(0, too_many)]))
        return list(found)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is held and nobody is known to wait."""
        return not (any(self._held.values()) or self._most or self._reserved)

    # -- those who wait -----------------------------------------------------------------------------------------------

    def next_to_read(self) -> tuple[str, int] | None:
        """A closed key whose waiting tasks are to be read, and how many of them at least; None: there is none."""
        key = next(iter(self._to_read), None)
        if key is None:
            return None
        del self._to_read[key]
        self._passed_over.discard(key)
        return key, max(1, self._free_places(key))

    def next_opening(self) -> int | None:
        """When the next rate opens for which tasks wait, in control time; None: none does."""
        return self._openings[0][0] if self._openings else None

    async def until_open(self, clock: Clock) -> None:
        """Wait until there is something to read."""
        while not self._to_read:
            opens_at = self.next_opening()
            if opens_at is None:
                await self.wake.wait()
            else:
                await set_within(self.wake, clock, max(0.0, (opens_at - self._control.now()) / 1000))
            self.wake.clear()
            self._open_rates()

    def read_again(self, key: str) -> None:
        """Those who wait for a closed key are still to be read."""
        self._to_read[key] = None
        self.wake.set()

    def read(self, key: str, *, found: bool) -> bool:
        """The first of those who wait have been read, if there were any. Opens the key. False: somebody who may have
        been missed has come meanwhile, so it stays closed, to be read again.
        """
        if key in self._passed_over:
            self.read_again(key)
            return False
        self._closed.discard(key)
        if not found:
            self._most.pop(key, None)
        return True

    def could_have(self, task: Task, key: str) -> bool:
        """Whether nothing but a closed key keeps a task that waits for it from its places. If something does, it waits
        for that.
        """
        was_closed = key in self._closed
        self._closed.discard(key)
        try:
            blocking = self.blocking(task)
        finally:
            if was_closed:
                self._closed.add(key)
        if blocking is None:
            return True
        self._want(task, blocking, reading=key)
        return False

    def tidy(self) -> None:
        """Forget rates that have not been used for long. Callers choose their names, so they must not pile up."""
        now = self._control.now()
        for key in list(self._used):
            self._forget_used(key, now)

    # -- inside -------------------------------------------------------------------------------------------------------

    def places(self, key: str, most: int) -> int:
        """How many places a key has for a task that says so many: no more than anybody says who has one, or is set."""
        said = self._bounds.get(key)
        return min(most, self._set.get(key, most), *said) if said else min(most, self._set.get(key, most))

    def _hold(self, hold: Hold, task_id: str, most: int | None) -> None:
        """A task has a place. `most`: how many places the key has, as the task says; None: it says nothing of it."""
        self._held[hold.key][hold.place] = task_id
        if most is not None:
            self._bounds.setdefault(hold.key, Counter())[most] += 1
            self._said[task_id, hold.key] = most

    def _let_go(self, task_id: str, key: str) -> None:
        most = self._said.pop((task_id, key), None)
        if most is not None:
            bounds = self._bounds[key]
            bounds[most] -= 1
            if not bounds[most]:
                del bounds[most]
            if not bounds:
                del self._bounds[key]

    def _free_places(self, key: str) -> int:
        """How many more may have a place of a key for which tasks wait."""
        now = self._control.now()
        used = sum(until > now for until in self._used.get(key, {}).values())
        return self._most.get(key, 1) - len(self._held.get(key, ())) - used

    def _use(self, key: str, rate: Rate, now: int) -> RateUse:
        """The lowest place under a rate that is free, taken from now on."""
        used = self._used[key]
        place = _lowest_free({place: until for place, until in used.items() if until > now})
        used[place] = now + rate.per_ms
        if key in self._most:
            self._will_open(key, min(until for until in used.values() if until > now))
        return RateUse(key, place, now, now + rate.per_ms)

    def _free(self, task_id: str, holds: Sequence[Hold]) -> None:
        opened = False
        for key, place in holds:
            held = self._held.get(key)
            if held is not None and held.get(place) in (task_id, ""):
                opened = opened or (key in self._set and len(held) >= self._set[key])
                del held[place]
                self._let_go(task_id, key)
                if not held:
                    del self._held[key]
            self._left(key)
        self._opened = self._opened or opened

    def _left(self, key: str) -> None:
        """Somebody has left a key, or its place: who waits for it is to be read."""
        if key in self._most and self._free_places(key) > 0:
            self._closed.add(key)
            self.read_again(key)

    def _miss(self, task: Task, blocking: Blocking) -> None:
        """A task leaves memory for want of a place. Those who wait behind it for other keys of its are to be read."""
        self._want(task, blocking)
        for key in (*keys_of(task), *(key for key, _ in _rates_of(task.spec))):
            if key != blocking.key and key not in self._closed:
                self._left(key)

    def _want(self, task: Task, blocking: Blocking, *, reading: str = "") -> None:
        key = blocking.key
        self._most[key] = max(self._most.get(key, 1), _most_of(task, key))
        if key in self._closed and key != reading:
            self._passed_over.add(key)
        if blocking.opens_at is not None:
            self._will_open(key, blocking.opens_at)

    def _will_open(self, key: str, at: int) -> None:
        """Look then for those who wait for a rate."""
        if at < self._opens_at.get(key, at + 1):
            self._opens_at[key] = at
            heapq.heappush(self._openings, (at, key))
            self.wake.set()

    def _open_rates(self) -> None:
        now = self._control.now()
        while self._openings and self._openings[0][0] <= now:
            at, key = heapq.heappop(self._openings)
            if self._opens_at.get(key) != at:
                continue
            del self._opens_at[key]
            self._forget_used(key, now)
            self._forget_doubts(key)
            self._left(key)
            if self._used.get(key) and key in self._most:
                self._will_open(key, min(self._used[key].values()))

    def _forget_doubts(self, key: str) -> None:
        """The places that were found to be others' are tried again: the others may have freed them meanwhile."""
        held = self._held.get(key, {})
        for place in [place for place, task_id in held.items() if not task_id]:
            del held[place]
            self._opened = self._opened or key in self._set
        if key in self._held and not held:
            del self._held[key]
        self.tell_opened()

    def _forget_used(self, key: str, now: int) -> None:
        """Forget the places of a rate that are free again."""
        used = {place: until for place, until in self._used.get(key, {}).items() if until > now}
        if used:
            self._used[key] = used
        else:
            self._used.pop(key, None)


def _rates_of(spec: TaskSpec) -> list[tuple[str, Rate]]:
    return [(rate_key(name), rate) for name, rate in spec.rates.items()] if spec.rates else []


def _most_of(task: Task, key: str) -> int:
    """How many places a key has for a task: of its limits, its lock or its rates."""
    rates = {name: rate.most for name, rate in _rates_of(task.spec)}
    return {**rates, **keys_of(task)}.get(key, 1)


def _free_from(taken: Mapping[int, object]) -> Iterator[int]:
    """The free places, the lowest first."""
    return (place for place in count() if place not in taken)


def _lowest_free(taken: Mapping[int, object]) -> int:
    place = 0
    while place in taken:
        place += 1
    return place
