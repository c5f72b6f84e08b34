"""Who hears what. A listener has a bounded queue of its own, so that none delays the loop or another listener.

Revisions are in order of commit. A listener that resumes first reads what is kept behind its revision, then goes over
to what comes; it misses nothing and hears nothing twice, or it is told to `reset`. One for whom nothing comes is told
now and then how far everything was looked at, so that it can resume from there however long the silence was.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import structlog

from nodelink.errors import Overloaded
from nodelink_server.core.ports import Clock, EventName, LateEvents, Store, TaskEvent
from nodelink_server.core.tally import Tally

MOST_QUEUED = 4_096
MOST_QUEUED_CHARS = 16 << 20
"""How much output may wait for one listener, beside the events themselves."""
MOST_LISTENERS = 5_000
PAGE = 1_000
BOOKMARK_SECONDS = 5.0
OVERLOADED_SECONDS = 5.0

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

EVENT_NAMES = frozenset({*map(str, EventName), *_AS_AGENT_EVENT.values()} - {EventName.HELLO, EventName.RESET})
"""What a filter may name."""


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
        if isinstance(events, LateEvents) and self.names and self.agent_id is None:
            return [event for event in events.named(self.names) if self._matches(event)]
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
    if event.name.startswith("agent.") or event.name == EventName.ALERT_RAISED:
        return event
    name = _AS_AGENT_EVENT.get(EventName(event.name))
    return event._replace(name=name) if name else None


@dataclass(frozen=True, slots=True)
class Heard:
    """What a listener is told at once: events, in order.

    `upto`: with these it has been told everything that matches up to this revision, and may resume behind it.
    0: nothing new is said about that; the events' own revisions tell enough.
    """

    events: Sequence[TaskEvent] = ()
    upto: int = 0

    def __iter__(self) -> Iterator[TaskEvent]:
        return iter(self.events)

    def __len__(self) -> int:
        return len(self.events)


class _Listener:
    """One listener's queue. Too slow: it is told to begin again, and ends."""

    __slots__ = ("_chars", "_queue", "_told", "_upto", "filter", "overflowed", "since", "wake")

    def __init__(self, filter: EventFilter, since: int) -> None:
        self.filter = filter
        self.since = since
        self.overflowed = False
        self.wake = asyncio.Event()
        self._queue: list[TaskEvent] = []
        self._chars = 0
        self._told = 0
        self._upto = 0

    def put(self, chosen: Sequence[TaskEvent], chars: int) -> int:
        """Queue what matches, with so much output. Returns how many events were dropped with an overflow."""
        if self.overflowed:
            return len(chosen)
        self._chars += chars
        self.wake.set()
        if len(self._queue) + len(chosen) > MOST_QUEUED or self._chars > MOST_QUEUED_CHARS:
            dropped = len(self._queue) + len(chosen)
            self._queue.clear()
            self.overflowed = True
            return dropped
        self._queue.extend(chosen)
        self._told = max(self._told, chosen[-1].revision)
        return 0

    def mark(self, revision: int) -> None:
        """Everything up to this revision has been looked at: say so, unless an event says as much."""
        if self._told < revision and not self.overflowed:
            self._told = self._upto = revision
            self.wake.set()

    def take(self) -> Heard:
        """Everything that waits."""
        self.wake.clear()
        events, upto = self._queue, self._upto
        self._queue, self._chars, self._upto = [], 0, 0
        return Heard(events, upto if upto > max((event.revision for event in events), default=0) else 0)


def _chars(event: TaskEvent) -> int:
    """How much text an event carries that is its own alone."""
    if event.revision or event.data is None:
        return 0
    return len(str(event.data.get("text", "")))


class EventBus:
    """The fan-out of events to listeners, by room (one task), by agent, or all. Those who want the same share it."""

    def __init__(self, *, store: Store, clock: Clock, tally: Tally, most_listeners: int = MOST_LISTENERS) -> None:
        self._store = store
        self._clock = clock
        self._tally = tally
        self._most_listeners = most_listeners
        self._rooms: dict[str, dict[EventFilter, set[_Listener]]] = {}
        self._everywhere: dict[EventFilter, set[_Listener]] = {}
        self._callbacks: dict[str, list[Callable[[TaskEvent], None]]] = defaultdict(list)
        self._closing = False
        self.listeners = 0
        """How many listeners there are."""
        self.newest = 0
        """The revision of the newest event that was published."""

    @property
    def is_closing(self) -> bool:
        """Whether listeners end because the bus has closed, and no new ones stay."""
        return self._closing

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
        self._tell(self._everywhere, events)
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

    async def watch(self, filter: EventFilter, *, after: int | None) -> AsyncGenerator[Heard, None]:
        """Events that match, in batches; the first is one `hello`, and comes before anything is awaited.

        `after` None: from now, or the whole history of the filter's task. Ends when the bus closes, and after a
        `reset` for a listener that was too slow. A `reset` at the beginning says that what was asked for is kept no
        more; what comes goes on. An empty batch says how far everything was looked at although nothing matched.

        Raises `Overloaded` at once if there are too many listeners, `StoreUnavailable` if what is kept cannot be read.
        """
        if self.listeners >= self._most_listeners:
            raise Overloaded(f"there are {self._most_listeners} listeners already", retry_after=OVERLOADED_SECONDS)
        listener = _Listener(filter, self.newest)
        self._add(listener)
        try:
            from_now = after is None and filter.task_id is None
            yield Heard([self._notice(EventName.HELLO, self.newest)], listener.since if from_now else 0)
            async for heard in self._replay(listener, after):
                yield heard
            async for heard in self._live(listener):
                yield heard
        finally:
            self._remove(listener)

    async def run(self) -> None:
        """Tell those for whom nothing comes how far everything was looked at, for ever."""
        while True:
            await self._clock.sleep(BOOKMARK_SECONDS)
            for listener in self._all():
                listener.mark(self.newest)

    def close(self) -> None:
        """End every listener, cleanly."""
        self._closing = True
        for listener in self._all():
            listener.wake.set()

    def _add(self, listener: _Listener) -> None:
        task_id = listener.filter.task_id
        groups = self._everywhere if task_id is None else self._rooms.setdefault(task_id, {})
        groups.setdefault(listener.filter, set()).add(listener)
        self.listeners += 1

    def _remove(self, listener: _Listener) -> None:
        task_id = listener.filter.task_id
        groups = self._everywhere if task_id is None else self._rooms[task_id]
        groups[listener.filter].discard(listener)
        self.listeners -= 1
        if not groups[listener.filter]:
            del groups[listener.filter]
        if task_id is not None and not groups:
            del self._rooms[task_id]

    def _all(self) -> list[_Listener]:
        places = [self._everywhere, *self._rooms.values()]
        return [listener for groups in places for group in groups.values() for listener in group]

    async def _replay(self, listener: _Listener, after: int | None) -> AsyncGenerator[Heard, None]:
        """What is kept behind `after` up to the listener's beginning."""
        if after is None:
            if listener.filter.task_id is not None:
                history = await self._store.history(listener.filter.task_id)
                chosen = listener.filter.select([e for e in history if e.revision <= listener.since])
                if chosen:
                    yield Heard(chosen)
            return
        is_lost = after > listener.since
        while after < listener.since and not self._closing:
            events = await self._store.events(after, PAGE)
            is_lost = after < await self._store.oldest_revision()  # perhaps only now: it is swept while it is read
            if is_lost or not events:
                break
            chosen = listener.filter.select([e for e in events if after < e.revision <= listener.since])
            if chosen:
                yield Heard(chosen)
            after = events[-1].revision
        if is_lost:
            yield Heard([self._notice(EventName.RESET, listener.since)], listener.since)

    async def _live(self, listener: _Listener) -> AsyncGenerator[Heard, None]:
        while not self._closing:
            await listener.wake.wait()
            if listener.overflowed:
                yield Heard([self._notice(EventName.RESET, self.newest)])
                return
            heard = listener.take()
            if heard.events or heard.upto:
                yield heard

    def _notice(self, name: EventName, revision: int) -> TaskEvent:
        """Something that is said to one listener, and behind which revision it goes on."""
        return TaskEvent(0, name, self._clock.now(), data={"revision": revision})

    def _publish_in_rooms(self, events: Sequence[TaskEvent]) -> None:
        by_task: dict[str, list[TaskEvent]] = defaultdict(list)
        for event in events:
            if event.task_id in self._rooms:
                by_task[event.task_id].append(event)
        for task_id, chosen in by_task.items():
            self._tell(self._rooms[task_id], chosen)

    def _tell(self, groups: dict[EventFilter, set[_Listener]], events: Sequence[TaskEvent]) -> None:
        for filter, group in groups.items():
            chosen = filter.select(events)
            if not chosen:
                continue
            chars = sum(map(_chars, chosen))
            for listener in group:
                self._tally.events_dropped += listener.put(chosen, chars)

    def _call_back(self, events: Sequence[TaskEvent]) -> None:
        for event in events:
            for callback in tuple(self._callbacks.get(event.name, ())):
                try:
                    callback(event)
                except Exception:
                    log.exception("listener_failed", event_name=event.name, task_id=event.task_id)
