"""Who runs what next. Free slots pull: nobody guesses who is free.

A queue per shape, of which memory holds the front; sessions with room that found nothing sleep in a roster, the least
loaded first, then the longest idle. Invariant: while a task waits in a front, no session that fits it sleeps with room
for it. So what fits nobody holds nothing back: of the queues that fit a session, it is given the first of the firsts.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain, count
from typing import TypeVar

import structlog

from nodelink.errors import StoreError
from nodelink_server.core.bell import Bell
from nodelink_server.core.fairness import Fairness
from nodelink_server.core.front import Front
from nodelink_server.core.limits import Limits
from nodelink_server.core.needs import parse_needs, place_of, shape_of
from nodelink_server.core.pauses import Pauses
from nodelink_server.core.ports import Clock, Place, Shape, Store
from nodelink_server.core.registry import TaskRegistry
from nodelink_server.core.reserving import Reserving
from nodelink_server.core.sends import Sends
from nodelink_server.core.session import AgentSession
from nodelink_server.core.states import QUEUED
from nodelink_server.core.task import Task

MOST_PER_LEASE = 1_024
MOST_TO_LOAD = 64
"""At most so many tasks of a lease have payloads that are too large to be at hand: they are loaded at once."""
MOST_SHARES = 10
_BEHIND_ALL = Place(1 << 62, 0)
RETRY_SECONDS = 1.0

log = structlog.get_logger(__name__)


Name = TypeVar("Name")


def _without_empty(index: Mapping[Name, dict[Shape, None]]) -> defaultdict[Name, dict[Shape, None]]:
    return defaultdict(dict, {name: shapes for name, shapes in index.items() if shapes})


class _Sleeper:
    """A session that found nothing. `turn` 0: it is not in the roster."""

    __slots__ = ("load", "turn", "wake")

    def __init__(self) -> None:
        self.wake = Bell()
        self.turn = 0
        self.load = 0.0


class Scheduler:
    """The waiting tasks and the sessions with room."""

    def __init__(
        self,
        *,
        store: Store,
        registry: TaskRegistry,
        clock: Clock,
        window: int,
        limits: Limits,
        fairness: Fairness,
        sends: Sends | None = None,
        pauses: Pauses | None = None,
    ) -> None:
        self._sends = sends or Sends(clock)
        self._store = store
        self._pauses = pauses or Pauses()
        self._registry = registry
        self._limits = limits
        self._fairness = fairness
        self._clock = clock
        self._window = window
        self._fronts: dict[Shape, Front[str]] = {}
        self._kinds: defaultdict[tuple[str, str], dict[Shape, None]] = defaultdict(dict)
        """The shapes that any agent may fit, by pool and type."""
        self._targets: defaultdict[str, dict[Shape, None]] = defaultdict(dict)
        """The shapes that only one agent fits, by its id."""
        self._arriving: dict[Shape, int] = defaultdict(int)
        self._roster: dict[str, list[tuple[float, int, AgentSession]]] = defaultdict(list)
        self._asleep: dict[AgentSession, _Sleeper] = {}
        self._turn = count(1)
        self._granting: set[str] = set()
        self._thirsty = asyncio.Event()
        self.reserving = Reserving(
            first=self._first_place,
            last_seen=self._seen_place,
            may_run=lambda shape, one: not self._is_gated(shape, one),
        )
        self._pulling: dict[AgentSession, None] = {}
        """The sessions that take work, in the order in which they have come."""
        self._is_held_up = False
        """Whether a session has waited for it to be known what comes next."""
        self.paused = False
        """Whether nothing is given away any more, whatever is paused: the server is stopping."""
        self.rounds = 0
        """How often the fronts were looked over and refilled."""

    def restore(self, shapes: Iterable[Shape]) -> None:
        """Know that tasks of these shapes wait in the database."""
        for shape in shapes:
            self._new_front(shape, all_behind=True)
        self._thirsty.set()

    # -- tasks --------------------------------------------------------------------------------------------------------

    def admit(self, task: Task) -> tuple[bool, Sequence[str]]:
        """Queue a committed pending task. Returns whether memory holds it, and the ids that it pushed out of memory.

        One that has been promised is held, and queued only if nothing comes of the promise; one that rests, when it is
        woken.
        """
        if task.id in self._granting or self._sends.is_resting(task.id):
            return True, ()
        shape = shape_of(task)
        kept, pushed_out = self._front(shape).offer(place_of(task), task.id)
        if kept:
            self._wake_one(shape)
        if shape.applies:
            self.reserving.watch(shape)
        return kept, [task_id for task_id in pushed_out if self.is_out_of_reach(task_id)]

    def send_failed(self, task_ids: Iterable[str], agent_id: str) -> None:
        """Tasks could not be sent to an agent. They rest, unless somebody else has room for them now."""
        for task_id in task_ids:
            task = self._registry.get(task_id)
            if task is not None:
                self._sends.failed(task_id, agent_id, rests=not self._has_other(shape_of(task), agent_id))

    def wake_rested(self, *, all: bool = False) -> None:
        """Queue what has rested long enough, or (`all`) everything that rests: somebody may have room for it."""
        drop: list[str] = []
        for task_id in self._sends.woken(all=all):
            task = self._registry.get(task_id)
            if task is not None and task.status in QUEUED:
                kept, pushed_out = self.admit(task)
                drop.extend(pushed_out if kept else [*pushed_out, task_id])
        if drop:
            self._registry.swap(put=(), drop=drop)

    def _has_other(self, shape: Shape, agent_id: str) -> bool:
        """Whether the session of another agent sleeps with room for a shape."""
        others = (one for one in self._asleep if one.agent_id != agent_id and one.room > 0)
        return any(one.fits(shape) and one.has_room_for(shape) for one in others)

    def choose(self, task: Task, shape: Shape) -> AgentSession | None:
        """The session for a task that is being submitted, its slot reserved; None if others wait or nobody has room."""
        if self.paused or self._arriving.get(shape) or not self._is_empty(shape):
            return None
        session = self._pop_sleeper(shape)
        if session is None:
            return None
        if (self._arriving or self._fronts) and self._is_wanted(session):
            self._push_sleeper(session)
            return None
        session.reserve(task)
        room = session.room
        if room > 0:
            self._push_sleeper(session, room)
        return session

    def _is_wanted(self, session: AgentSession) -> bool:
        """Whether there are others that wait, or will in a moment, and that a session has room for."""
        arriving = (shape for shape in self._arriving if session.fits(shape))
        waiting = (shape for shape in self._shapes_of(session) if not self._is_empty(shape)) if self._fronts else ()
        return any(self._could_take(session, shape) for shape in chain(arriving, waiting))

    def is_paused(self, shape: Shape) -> bool:
        """Whether somebody has paused what tasks of a shape belong to."""
        return self._pauses.over(shape.pool, shape.type) is not None

    def arriving(self, shape: Shape, change: int) -> None:
        """So many more (or fewer) tasks of a shape are being committed as pending: nobody may overtake them."""
        self._arriving[shape] += change
        if not self._arriving[shape]:
            del self._arriving[shape]

    def promise(self, task_id: str) -> None:
        """A task that is being committed as pending is somebody's already. Told of by `granted`, as a leased one."""
        self._granting.add(task_id)

    def is_promised(self, task_id: str) -> bool:
        """Whether a pending task is somebody's already."""
        return task_id in self._granting

    def granted(self, task_id: str) -> None:
        """What became of a leased task is known: its grant is committed, or it is to be admitted again."""
        self._granting.discard(task_id)

    def tidy(self) -> None:
        """Forget queues in which nothing waits. Callers choose the names of pools, so queues must not pile up."""
        for shape, front in list(self._fronts.items()):
            if self._trim(shape) is None and front.is_whole:
                del self._fronts[shape]
                self._index_of(shape).pop(shape, None)
        self._pulling = {session: None for session in self._pulling if session.is_open}
        self._kinds = _without_empty(self._kinds)
        self._targets = _without_empty(self._targets)

    def waiting_front(self) -> int:
        """How many waiting tasks memory holds."""
        return sum(len(front) for front in self._fronts.values())

    def waiting_for(self, session: AgentSession) -> int:
        """How many waiting tasks memory holds that a session could run, by their shape."""
        return sum(len(self._fronts[shape]) for shape in self._shapes_of(session) if self._trim(shape) is not None)

    def first_waiting(self, is_meant: Callable[[Shape], bool], most: int) -> Sequence[Task]:
        """Of the waiting tasks of some shapes that memory holds, the first, in their order."""
        found: dict[str, Task] = {}
        for place, task_id in heapq.merge(*(f.in_order() for shape, f in self._fronts.items() if is_meant(shape))):
            task = self._registry.get(task_id)
            if task is not None and self._waits_at(task, place):
                found[task_id] = task
            if len(found) >= most:
                break
        return list(found.values())

    # -- sessions -----------------------------------------------------------------------------------------------------

    async def lease(self, session: AgentSession) -> Sequence[Task]:
        """Wait for tasks that a session can run, and return as many as it has room for, their slots reserved.

        Cancelled: nothing was taken. Whoever is given tasks tells `granted` of each, and admits again what was not.
        """
        self._pulling[session] = None
        while True:
            tasks = self._take(session)
            if tasks:
                self._pass_on(session)
                return tasks
            if self.reserving.is_kept(session) and not self._is_held_up:  # what it was woken for, another one may have
                self._pass_on(session)
            await self._sleep(session)

    def has_room(self, session: AgentSession) -> None:
        """A session has got room: it looks for work, or is found by it."""
        sleeper = self._asleep.get(session)
        room = session.room
        if sleeper is None or room <= 0:
            return
        if any(self._could_take(session, shape) and not self._is_empty(shape) for shape in self._shapes_of(session)):
            sleeper.wake.ring()
        else:
            self._push_sleeper(session, room)

    def resume(self) -> None:
        """Grant again."""
        self.paused = False
        for session in list(self._asleep):
            self.has_room(session)

    def _take(self, session: AgentSession) -> list[Task]:
        tasks: list[Task] = []
        if self.paused:
            return tasks
        passed_over: list[str] = []
        to_load = 0
        shapes = [shape for shape in self._shapes_of(session) if not self.is_paused(shape)]
        firsts = [(first, shape) for shape in shapes if (first := self._bound(shape)) is not None]
        heapq.heapify(firsts)
        while len(tasks) < MOST_PER_LEASE and to_load < MOST_TO_LOAD and firsts:
            shape = firsts[0][1]
            if not self._could_take(session, shape) or self._limits.closed_gate(shape, session.agent_id) is not None:
                heapq.heappop(firsts)
                continue
            front = self._fronts[shape]
            if not len(front):  # what comes next of it is being read, and nobody shall overtake until then
                self._is_held_up = True
                break
            task = self._registry.get(front.take())
            assert task is not None
            if self._limits.reserve(task, session.agent_id):
                tasks.append(task)
                session.reserve(task)
                to_load += task.payload is None
                self._granting.add(task.id)
                self._fairness.took(task)
            else:
                passed_over.append(task.id)
            first = self._bound(shape)
            if first is None:
                heapq.heappop(firsts)
            else:
                heapq.heapreplace(firsts, (first, shape))
        if passed_over:
            self._registry.swap(put=(), drop=passed_over)
        self.reserve()
        return tasks

    def _pass_on(self, session: AgentSession) -> None:
        """What this session has left is somebody else's."""
        for shape in self._shapes_of(session):
            if not self._is_empty(shape):
                self._wake_one(shape)

    async def _sleep(self, session: AgentSession) -> None:
        sleeper = self._asleep[session] = _Sleeper()
        if session.room > 0:
            self._push_sleeper(session)
        try:
            await sleeper.wake.wait()
        except asyncio.CancelledError:
            del self._asleep[session]
            self._pulling.pop(session, None)
            self._pass_on(session)
            self.reserve()
            raise
        del self._asleep[session]

    def _shapes_of(self, session: AgentSession) -> list[Shape]:
        """The queues whose tasks a session could run."""
        kinds = [self._kinds.get((session.pool, type), ()) for type in sorted(session.types)]
        shapes = chain(*kinds, self._targets.get(session.agent_id, ()))
        return [shape for shape in shapes if session.fits(shape)]

    # -- the roster ---------------------------------------------------------------------------------------------------

    def _push_sleeper(self, session: AgentSession, room: int | None = None) -> None:
        """Put a session into the roster by its load. `room`: what it has, if that is known."""
        sleeper = self._asleep.get(session)
        load = (session.slots - (session.room if room is None else room)) / session.slots
        if sleeper is None or (sleeper.turn and sleeper.load == load):
            return
        sleeper.turn, sleeper.load = next(self._turn), load
        roster = self._roster[session.pool]
        heapq.heappush(roster, (load, sleeper.turn, session))
        if len(roster) > 2 * len(self._asleep) + 64:
            self._roster[session.pool] = self._rebuilt(roster)

    def _rebuilt(self, roster: list[tuple[float, int, AgentSession]]) -> list[tuple[float, int, AgentSession]]:
        """The roster without entries that count no more."""
        kept = [e for e in roster if (s := self._asleep.get(e[2])) is not None and s.turn == e[1]]
        heapq.heapify(kept)
        return kept

    def _pop_sleeper(self, shape: Shape) -> AgentSession | None:
        """Remove and return the best session that sleeps with room and fits."""
        if self.is_paused(shape):
            return None
        is_gated = self._limits.has_gates
        if is_gated and self._limits.closed_gate(shape, None) is not None:
            return None
        roster = self._roster.get(shape.pool)
        passed_over = []
        found = None
        while roster and found is None:
            entry = heapq.heappop(roster)
            session = entry[2]
            sleeper = self._asleep.get(session)
            if sleeper is None or sleeper.turn != entry[1]:
                continue
            if session.room <= 0:
                sleeper.turn = 0
            elif (
                session.fits(shape)
                and self._could_now(session, shape)
                and not (is_gated and self._is_gated(shape, session))
            ):
                sleeper.turn = 0
                found = session
            else:
                passed_over.append(entry)
        for entry in passed_over:
            heapq.heappush(self._roster[shape.pool], entry)
        return found

    def _is_gated(self, shape: Shape, session: AgentSession) -> bool:
        return self._limits.closed_gate(shape, session.agent_id) is not None

    def _could_take(self, session: AgentSession, shape: Shape) -> bool:
        """Whether a session that fits has room for the first task of a queue that is not paused, and is not kept for
        another one.
        """
        return not self.is_paused(shape) and self._could_now(session, shape)

    def _could_now(self, session: AgentSession, shape: Shape) -> bool:
        return session.has_room_for(shape) and self.reserving.may_have(session, shape)

    def reserve(self) -> None:
        """Keep agents for the applies that wait, and let those look that are kept for none any more. To be called when
        what has become of tasks is shown.
        """
        if not self.reserving.is_idle:
            for session in self.reserving.arrange(self._pulling):
                self.has_room(session)

    def _first_place(self, shape: Shape) -> Place | None:
        return self._bound(shape) if shape in self._fronts else None

    def _seen_place(self, shape: Shape) -> Place | None:
        """The same without a look at the tasks, which may be about to be shown: never behind it."""
        front = self._fronts.get(shape)
        return front.bound if front is not None else None

    def look_over(self) -> None:
        """Let somebody with room look at each queue in which something waits."""
        self.reserve()
        for shape in list(self._fronts):
            if not self._is_empty(shape):
                self._wake_one(shape)

    def _wake_one(self, shape: Shape) -> None:
        session = self._pop_sleeper(shape)
        if session is not None:
            self._asleep[session].wake.ring()

    # -- fronts -------------------------------------------------------------------------------------------------------

    def _front(self, shape: Shape) -> Front[str]:
        front = self._fronts.get(shape)
        return front if front is not None else self._new_front(shape)

    def _new_front(self, shape: Shape, *, all_behind: bool = False) -> Front[str]:
        front: Front[str] = Front(self._capacity(shape.pool), all_behind=all_behind)
        self._fronts[shape] = front
        if shape.applies:
            self.reserving.watch(shape)
        self._index_of(shape)[shape] = None
        return front

    def _index_of(self, shape: Shape) -> dict[Shape, None]:
        """Where it is found by the sessions that it may fit."""
        agent_id = parse_needs(shape.needs).agent_id
        return self._targets[agent_id] if agent_id else self._kinds[shape.pool, shape.type]

    def _capacity(self, pool: str) -> int:
        """How many tasks a new front of a pool holds: the window is shared by its types, but none gets too little."""
        types = 1 + sum(1 for shape in self._fronts if shape.pool == pool)
        return max(1, self._window // min(types, MOST_SHARES))

    def _is_empty(self, shape: Shape) -> bool:
        """Whether nothing of a shape waits, here or in the database."""
        front = self._fronts.get(shape)
        return front is None or (self._trim(shape) is None and front.is_whole)

    def is_out_of_reach(self, task_id: str) -> bool:
        """Whether a task that was pushed out of a front waits behind its horizon, so that memory lets go of it.

        It does not if its place has changed, or if it waits no more.
        """
        task = self._registry.get(task_id)
        if task is None or task.status not in QUEUED:
            return task is None
        return not self._front(shape_of(task)).reaches(place_of(task))

    def _trim(self, shape: Shape) -> Place | None:
        """The first place of a front that is still taken by a pending task, or None."""
        front = self._fronts[shape]
        while len(front):
            if front.wants_refill:
                self._thirsty.set()
            if self._is_waiting(front):
                return front.first
            front.take()
        if front.wants_refill:
            self._thirsty.set()
        return None

    def _bound(self, shape: Shape) -> Place | None:
        """Nothing that waits of a shape goes before this; None: nothing waits."""
        self._trim(shape)
        return self._fronts[shape].bound

    def _is_waiting(self, front: Front[str]) -> bool:
        task = self._registry.get(front.peek())
        return task is not None and self._waits_at(task, front.first)

    def _waits_at(self, task: Task, place: Place | None) -> bool:
        is_free = task.id not in self._granting and not self._sends.is_resting(task.id)
        return task.status in QUEUED and is_free and place_of(task) == place

    def nudge(self) -> None:
        """Have the fronts looked over."""
        self._thirsty.set()

    async def run_limits(self) -> None:
        """Bring back, when a place is free again, the first of those that wait for it, for ever."""
        while True:
            await self._limits.until_open(self._clock)
            free = self._limits.next_to_read()
            if free is not None:
                await self._bring_back(*free)

    async def _bring_back(self, key: str, places: int) -> None:
        try:
            tasks, found = await self._first_waiting(key, places)
        except StoreError as error:
            log.warning("waiting_not_read", key=key, error=error.message)
            await self._clock.sleep(RETRY_SECONDS)
            self._limits.read_again(key)
            return
        if not self._limits.read(key, found=found):
            return
        self._registry.swap(put=tasks)
        drop: list[str] = []
        for task in tasks:
            kept, pushed_out = self.admit(task)
            drop.extend(pushed_out if kept else [*pushed_out, task.id])
        self._registry.swap(put=(), drop=drop)
        self.reserve()

    async def _first_waiting(self, key: str, places: int) -> tuple[Sequence[Task], bool]:
        """Of the tasks that wait for a key, the first of each shape that lack nothing else; and whether there are any
        that wait for it.
        """
        wanted: list[Task] = []
        after: dict[Shape, Place] = {}
        while True:
            found = await self._store.waiting_on(key, after, places)
            by_shape: dict[Shape, list[Task]] = {}
            for task in found:
                by_shape.setdefault(shape_of(task), []).append(task)
            for shape, some in by_shape.items():
                ready = [task for task in some if self._limits.could_have(task, key)]
                wanted.extend(ready)
                goes_on = len(ready) < len(some) == places
                after[shape] = place_of(some[-1]) if goes_on else _BEHIND_ALL
            if all(after[shape] == _BEHIND_ALL for shape in by_shape):
                return wanted, bool(after)

    async def run(self) -> None:
        """Refill the fronts from the database as they run low, for ever."""
        while True:
            await self._thirsty.wait()
            self._thirsty.clear()
            fronts = list(self._fronts.items())
            refilled = [await self._refill(shape, front) for shape, front in fronts if front.wants_refill]
            self.rounds += all(refilled)

    async def _refill(self, shape: Shape, front: Front[str]) -> bool:
        """Returns whether the database has answered."""
        after, limit = front.begin_refill()
        try:
            found = await self._store.waiting(shape, after, limit)
        except StoreError as error:
            front.abandon_refill()
            log.warning("refill_failed", pool=shape.pool, type=shape.type, error=error.message)
            await self._clock.sleep(RETRY_SECONDS)
            self._thirsty.set()
            return False
        self.rounds += 1
        joined = front.end_refill([(place_of(task), task.id) for task in found])
        self._registry.swap(put=found[:joined])
        if joined and shape.applies:
            self.reserving.watch(shape)
            self.reserve()
        if front.wants_refill:
            self._thirsty.set()
        for _ in range(joined):
            self._wake_one(shape)
        self._go_on()
        return True

    def _go_on(self) -> None:
        """What comes next is known: let whoever was held up look again."""
        if self._is_held_up:
            self._is_held_up = False
            self.look_over()
