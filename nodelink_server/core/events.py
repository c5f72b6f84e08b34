"""Who hears what. A listener has a bounded queue of its own, so that none delays the loop or another listener.

Revisions are in order of commit. A listener that resumes first reads what is kept behind its revision, then goes over
to what comes; it misses nothing and hears nothing twice, or it is told to `reset`.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from dataclasses import dataclass

import structlog

from nodelink_server.core.ports import Clock, EventName, Store, TaskEvent
from nodelink_server.core.tally import Tally

MOST_QUEUED = 4_096
PAGE = 1_000

log = structlog.get_logger(__name__)

_AS_AGENT_EVENT = {
    EventName.TASK_STARTED: "agent.started",
    EventName.TASK_PROGRESS: "agent.progress",
    EventName.TASK_COMPLETED: "agent.completed",
    EventName.TASK_FAILED: "agent.failed",
    EventName.TASK_TIMEOUT: "agent.failed",
    EventName.TASK_CANCELLED: "agent.failed",
    EventName.TASK_LOST: "agent.failed",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFilter:
    """What a listener wants: every given part must match. With an agent, the agent's runs are told as `agent.*`."""

    task_id: str | None = None
    agent_id: str | None = None
    pool: str | None = None
    type: str | None = None
    names: frozenset[str] = frozenset()

    def select(self, events: Iterable[TaskEvent]) -> list[TaskEvent]:
        """The events that match, in the listener's own terms."""
        chosen = [event for event in events if self._matches(event)]
        if self.agent_id is not None:
            chosen = [e for e in map(_as_agent_event, chosen) if e is not None]
        return [event for event in chosen if event.name in self.names] if self.names else chosen

    def _matches(self, event: TaskEvent) -> bool:
        return (
            (self.task_id is None or event.task_id == self.task_id)
            and (self.agent_id is None or event.agent_id == self.agent_id)
            and (self.pool is None or event.pool == self.pool)
            and (self.type is None or event.type == self.type)
            and (event.revision > 0 or self.task_id is not None or event.name == EventName.TASK_PROGRESS)
        )


def _as_agent_event(event: TaskEvent) -> TaskEvent | None:
    if event.name.startswith("agent."):
        return event
    name = _AS_AGENT_EVENT.get(EventName(event.name))
    return event._replace(name=name) if name else None


class _Listener:
    """One listener's queue. Too slow: it is told to begin again, and ends."""

    __slots__ = ("filter", "overflowed", "queue", "since", "wake")

    def __init__(self, filter: EventFilter, since: int) -> None:
        self.filter = filter
        self.since = since
        self.queue: deque[TaskEvent] = deque()
        self.overflowed = False
        self.wake = asyncio.Event()

    def put(self, events: Sequence[TaskEvent]) -> int:
        """Queue what matches. Returns how many events were dropped with an overflow."""
        chosen = self.filter.select(events)
        if not chosen or self.overflowed:
            return len(chosen)
        dropped = 0
        if len(self.queue) + len(chosen) > MOST_QUEUED:
            dropped = len(self.queue) + len(chosen)
            self.queue.clear()
            self.overflowed = True
        else:
            self.queue.extend(chosen)
        self.wake.set()
        return dropped


class EventBus:
    """The fan-out of events to listeners, by room (one task), by agent, or all."""

    def __init__(self, *, store: Store, clock: Clock, tally: Tally) -> None:
        self._store = store
        self._clock = clock
        self._tally = tally
        self._rooms: dict[str, set[_Listener]] = defaultdict(set)
        self._everywhere: set[_Listener] = set()
        self._callbacks: dict[str, list[Callable[[TaskEvent], None]]] = defaultdict(list)
        self._closing = False
        self.newest = 0
        """The revision of the newest event that was published."""

    @property
    def listeners(self) -> int:
        """How many listeners there are."""
        return len(self._everywhere) + sum(map(len, self._rooms.values()))

    def has_room(self, task_id: str) -> bool:
        """Whether anybody listens to this very task."""
        return task_id in self._rooms

    def publish(self, events: Sequence[TaskEvent]) -> None:
        """Tell the listeners. Only what is durable, in order of revision; or what is not kept (revision 0)."""
        if not events:
            return
        self.newest = max(self.newest, events[-1].revision)
        if self._callbacks:
            self._call_back(events)
        for listener in self._everywhere:
            self._tally.events_dropped += listener.put(events)
        if self._rooms:
            self._publish_in_rooms(events)

    def subscribe(self, names: Iterable[str], callback: Callable[[TaskEvent], None]) -> Callable[[], None]:
        """Have a function called, on the loop, for each event with one of these names. Returns the way to end it."""
        chosen = list(names)
        for name in chosen:
            self._callbacks[name].append(callback)

        def unsubscribe() -> None:
            for name in chosen:
                if callback in self._callbacks[name]:
                    self._callbacks[name].remove(callback)

        return unsubscribe

    async def watch(self, filter: EventFilter, *, after: int | None) -> AsyncGenerator[Sequence[TaskEvent], None]:
        """Events that match, in batches; the first is one `hello`.

        `after` None: from now, or the whole history of the filter's task. Ends when the bus closes, and after a
        `reset` for a listener that was too slow. A `reset` at the beginning says that what was asked for is kept no
        more; what comes goes on.
        """
        listener = _Listener(filter, self.newest)
        room = self._rooms[filter.task_id] if filter.task_id is not None else self._everywhere
        room.add(listener)
        try:
            yield [self._notice(EventName.HELLO)]
            async for batch in self._replay(listener, after):
                yield batch
            async for batch in self._live(listener):
                yield batch
        finally:
            room.discard(listener)
            if filter.task_id is not None and not room:
                self._rooms.pop(filter.task_id, None)

    def close(self) -> None:
        """End every listener, cleanly."""
        self._closing = True
        for listener in [*self._everywhere, *(one for room in self._rooms.values() for one in room)]:
            listener.wake.set()

    async def _replay(self, listener: _Listener, after: int | None) -> AsyncGenerator[Sequence[TaskEvent], None]:
        """What is kept behind `after` up to the listener's beginning."""
        if after is None:
            if listener.filter.task_id is not None:
                history = await self._store.history(listener.filter.task_id)
                chosen = listener.filter.select([e for e in history if e.revision <= listener.since])
                if chosen:
                    yield chosen
            return
        if after > listener.since or after < await self._store.oldest_revision():
            yield [self._notice(EventName.RESET)]
            return
        while after < listener.since and not self._closing:
            events = await self._store.events(after, PAGE)
            if not events:
                return
            chosen = listener.filter.select([e for e in events if after < e.revision <= listener.since])
            if chosen:
                yield chosen
            after = events[-1].revision

    async def _live(self, listener: _Listener) -> AsyncGenerator[Sequence[TaskEvent], None]:
        while not self._closing:
            await listener.wake.wait()
            listener.wake.clear()
            if listener.overflowed:
                yield [self._notice(EventName.RESET)]
                return
            batch = [e for e in listener.queue if e.revision == 0 or e.revision > listener.since]
            listener.queue.clear()
            if batch:
                yield batch

    def _notice(self, name: EventName) -> TaskEvent:
        return TaskEvent(0, name, self._clock.now(), data={"revision": self.newest})

    def _publish_in_rooms(self, events: Sequence[TaskEvent]) -> None:
        by_task: dict[str, list[TaskEvent]] = defaultdict(list)
        for event in events:
            if event.task_id in self._rooms:
                by_task[event.task_id].append(event)
        for task_id, chosen in by_task.items():
            for listener in self._rooms[task_id]:
                self._tally.events_dropped += listener.put(chosen)

    def _call_back(self, events: Sequence[TaskEvent]) -> None:
        for event in events:
            for callback in tuple(self._callbacks.get(event.name, ())):
                try:
                    callback(event)
                except Exception:
                    log.exception("listener_failed", event_name=event.name, task_id=event.task_id)
