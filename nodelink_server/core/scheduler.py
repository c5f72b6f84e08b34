"""Who runs what next. Free slots pull: nobody guesses who is free.

A queue per shape, of which memory holds the front; sessions with room that found nothing sleep in a roster, the least
loaded first, then the longest idle. Invariant: while a task waits in a front, no session that fits it sleeps with room.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import count

import structlog

from nodelink.errors import StoreError
from nodelink.task import TaskStatus
from nodelink_server.core.front import Front
from nodelink_server.core.ports import Clock, Place, Shape, Store
from nodelink_server.core.registry import TaskRegistry
from nodelink_server.core.session import AgentSession
from nodelink_server.core.task import Task

MOST_PER_LEASE = 1_024
MOST_SHARES = 10
RETRY_SECONDS = 1.0

log = structlog.get_logger(__name__)


def shape_of(task: Task) -> Shape:
    """What decides which agents could run a task."""
    return Shape(task.spec.pool, task.spec.type)


def place_of(task: Task) -> Place:
    """A waiting task's place in its queue."""
    return Place(task.rank, task.key)


class _Sleeper:
    """A session that found nothing. `turn` 0: it is not in the roster."""

    __slots__ = ("load", "turn", "wake")

    def __init__(self) -> None:
        self.wake = asyncio.Event()
        self.turn = 0
        self.load = 0.0


class Scheduler:
    """The waiting tasks and the sessions with room."""

    def __init__(
        self, *, store: Store, registry: TaskRegistry, clock: Clock, window: int, shapes: Iterable[Shape] = ()
    ) -> None:
        self._store = store
        self._registry = registry
        self._clock = clock
        self._window = window
        self._fronts: dict[Shape, Front[str]] = {}
        self._arriving: dict[Shape, int] = defaultdict(int)
        self._roster: dict[str, list[tuple[float, int, AgentSession]]] = defaultdict(list)
        self._asleep: dict[AgentSession, _Sleeper] = {}
        self._turn = count(1)
        self._granting: set[str] = set()
        self._thirsty = asyncio.Event()
        self.paused = False
        self.rounds = 0
        """How often the fronts were looked over and refilled."""

    def restore(self, shapes: Iterable[Shape]) -> None:
        """Know that tasks of these shapes wait in the database."""
        for shape in shapes:
            self._fronts[shape] = Front(self._capacity(shape.pool), all_behind=True)
        self._thirsty.set()

    # -- tasks --------------------------------------------------------------------------------------------------------

    def admit(self, task: Task) -> tuple[bool, Sequence[str]]:
        """Queue a committed pending task. Returns whether memory holds it, and the ids that it pushed out of memory."""
        shape = shape_of(task)
        kept, pushed_out = self._front(shape).offer(place_of(task), task.id)
        if kept:
            self._wake_one(shape)
        return kept, [task_id for task_id in pushed_out if not self._has_moved_on(task_id)]

    def choose(self, shape: Shape) -> AgentSession | None:
        """The session for a task that is being submitted, its slot reserved; None if others wait or nobody has room."""
        if self.paused or self._arriving.get(shape) or not self._is_empty(shape):
            return None
        session = self._pop_sleeper(shape)
        if session is None:
            return None
        session.reserve(1)
        if session.room > 0:
            self._push_sleeper(session)
        return session

    def arriving(self, shape: Shape, change: int) -> None:
        """So many more (or fewer) tasks of a shape are being committed as pending: nobody may overtake them."""
        self._arriving[shape] += change
        if not self._arriving[shape]:
            del self._arriving[shape]

    def granted(self, task_id: str) -> None:
        """What became of a leased task is known: its grant is committed, or it is to be admitted again."""
        self._granting.discard(task_id)

    def tidy(self) -> None:
        """Forget queues in which nothing waits. Callers choose the names of pools, so queues must not pile up."""
        for shape, front in list(self._fronts.items()):
            if self._trim(shape) is None and front.is_whole:
                del self._fronts[shape]

    def waiting_front(self) -> int:
        """How many waiting tasks memory holds."""
        return sum(len(front) for front in self._fronts.values())

    # -- sessions -----------------------------------------------------------------------------------------------------

    async def lease(self, session: AgentSession) -> Sequence[Task]:
        """Wait for tasks that a session can run, and return as many as it has room for, their slots reserved.

        Cancelled: nothing was taken. Whoever is given tasks tells `granted` of each, and admits again what was not.
        """
        while True:
            tasks = self._take(session)
            if tasks:
                self._pass_on(session)
                return tasks
            await self._sleep(session)

    def has_room(self, session: AgentSession) -> None:
        """A session has got room: it looks for work, or is found by it."""
        sleeper = self._asleep.get(session)
        if sleeper is None or session.room <= 0:
            return
        if any(not self._is_empty(shape) for shape in self._shapes_of(session)):
            sleeper.wake.set()
        else:
            self._push_sleeper(session)

    def resume(self) -> None:
        """Grant again."""
        self.paused = False
        for session in list(self._asleep):
            self.has_room(session)

    def _take(self, session: AgentSession) -> list[Task]:
        tasks: list[Task] = []
        if self.paused:
            return tasks
        limit = min(session.room, MOST_PER_LEASE)
        shapes = [shape for shape in self._shapes_of(session) if self._trim(shape) is not None]
        while len(tasks) < limit and shapes:
            shape = min(shapes, key=self._first_of)
            task = self._registry.get(self._fronts[shape].take())
            assert task is not None
            tasks.append(task)
            self._granting.add(task.id)
            if self._trim(shape) is None:
                shapes.remove(shape)
        session.reserve(len(tasks))
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
            self._pass_on(session)
            raise
        del self._asleep[session]

    def _shapes_of(self, session: AgentSession) -> list[Shape]:
        return [Shape(session.pool, type) for type in session.types if Shape(session.pool, type) in self._fronts]

    # -- the roster ---------------------------------------------------------------------------------------------------

    def _push_sleeper(self, session: AgentSession) -> None:
        sleeper = self._asleep.get(session)
        load = session.busy / session.slots
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
            elif shape.type in session.types:
                sleeper.turn = 0
                found = session
            else:
                passed_over.append(entry)
        for entry in passed_over:
            heapq.heappush(self._roster[shape.pool], entry)
        return found

    def _wake_one(self, shape: Shape) -> None:
        session = self._pop_sleeper(shape)
        if session is not None:
            self._asleep[session].wake.set()

    # -- fronts -------------------------------------------------------------------------------------------------------

    def _front(self, shape: Shape) -> Front[str]:
        front = self._fronts.get(shape)
        if front is None:
            front = self._fronts[shape] = Front(self._capacity(shape.pool))
        return front

    def _capacity(self, pool: str) -> int:
        """How many tasks a new front of a pool holds: the window is shared by its types, but none gets too little."""
        types = 1 + sum(1 for shape in self._fronts if shape.pool == pool)
        return max(1, self._window // min(types, MOST_SHARES))

    def _is_empty(self, shape: Shape) -> bool:
        """Whether nothing of a shape waits, here or in the database."""
        front = self._fronts.get(shape)
        return front is None or (self._trim(shape) is None and front.is_whole)

    def _has_moved_on(self, task_id: str) -> bool:
        """Whether a task is shown in another status than pending, so that its place in a queue means nothing."""
        task = self._registry.get(task_id)
        return task is not None and task.status is not TaskStatus.PENDING

    def _first_of(self, shape: Shape) -> Place:
        first = self._fronts[shape].first
        assert first is not None
        return first

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

    def _is_waiting(self, front: Front[str]) -> bool:
        task = self._registry.get(front.peek())
        return (
            task is not None
            and task.status is TaskStatus.PENDING
            and task.id not in self._granting
            and place_of(task) == front.first
        )

    def nudge(self) -> None:
        """Have the fronts looked over."""
        self._thirsty.set()

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
        if front.wants_refill:
            self._thirsty.set()
        for _ in range(joined):
            self._wake_one(shape)
        return True
