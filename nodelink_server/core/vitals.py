"""Whether the server can do its work: the writer and the loops that hand work out are watched from within.

Every second each of them is given a reason to turn, and must have turned since: whatever is in the middle of one piece
of work for three seconds, or does not take what waits for it, stands still. What stands still is told of within five
seconds, and as soon as it goes on. Nothing here is paid for by the task.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import structlog

from nodelink_server.core.clock import moment_text
from nodelink_server.core.ports import Clock

LOOK_SECONDS = 1.0
STILL_SECONDS = 3.0
WRITER = "the writer"
FEEDERS = "the grants of waiting tasks"
STOPPING = "the server is stopping"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """Whether the server can do its work. `message` says what is wrong and since when; empty: nothing is."""

    database: bool
    dispatch: bool
    draining: bool
    message: str

    @property
    def is_ready(self) -> bool:
        """Whether nothing is wrong."""
        return self.database and self.dispatch and not self.draining


class Loop(Protocol):
    """A loop that can be watched. `rounds` counts the pieces of work that it has finished."""

    @property
    def rounds(self) -> int:
        """How many pieces of work it has finished."""

    def nudge(self) -> None:
        """Have it turn once, through whatever it takes its work from, if it does not turn by itself."""


class Writer(Loop, Protocol):
    """The loop that commits. `failing` says why the last commit failed, `failing_since` since when (epoch ms)."""

    failing: str
    failing_since: int


class _Watch:
    """What is known of one loop."""

    __slots__ = ("_loop", "_moved", "_moved_at", "_rounds", "name", "stands_still")

    def __init__(self, name: str, loop: Loop) -> None:
        self.name = name
        self._loop = loop
        self._rounds = -1
        self._moved = 0.0
        self._moved_at = 0
        self.stands_still = False

    def look(self, now: float, now_ms: int, late: float) -> None:
        """See whether it has turned. The `late` seconds in which nobody could turn are not held against it."""
        rounds = self._loop.rounds
        if rounds == self._rounds:
            self._moved += late
        else:
            self._rounds, self._moved, self._moved_at = rounds, now, now_ms
        stands_still = now - self._moved >= STILL_SECONDS
        if stands_still != self.stands_still:
            self._tell(stands_still)
        self._loop.nudge()

    @property
    def complaint(self) -> str:
        """What is wrong with it, and since when."""
        return f"{self.name} stands still since {moment_text(self._moved_at)}"

    def _tell(self, stands_still: bool) -> None:
        self.stands_still = stands_still
        if stands_still:
            log.error("stands_still", part=self.name, since=moment_text(self._moved_at))
        else:
            log.info("goes_on", part=self.name)


class Vitals:
    """The watch over the writer and the dispatch loops."""

    def __init__(
        self, *, clock: Clock, writer: Writer, dispatch: Mapping[str, Loop], feeding_since: Callable[[], float | None]
    ) -> None:
        """`dispatch`: by the names under which they are complained of. `feeding_since`: when the oldest grant that is
        being prepared was begun, in monotonic seconds; None: none is.
        """
        self._clock = clock
        self._failing = writer
        self._feeding_since = feeding_since
        self._writer = _Watch(WRITER, writer)
        self._dispatch = [_Watch(name, loop) for name, loop in dispatch.items()]
        self._stuck_feeders = ""
        self._draining = False
        self._told: Health | None = None
        self._news = asyncio.Event()

    def health(self) -> Health:
        """Whether the server can do its work now."""
        still = [watch.complaint for watch in self._dispatch if watch.stands_still]
        still += [self._stuck_feeders] if self._stuck_feeders else []
        away = self._complaint_of_database()
        wrong = [*away, *still, *([STOPPING] if self._draining else [])]
        return Health(database=not away, dispatch=not still, draining=self._draining, message="; ".join(wrong))

    async def changed(self, seen: Health) -> Health:
        """The health as soon as it is another one than `seen`."""
        while (health := self.health()) == seen:
            self._tell()  # what has come since the last look is known to somebody now: that it goes will be news
            await self._news.wait()
        return health

    def drain(self) -> None:
        """The server is about to stop."""
        self._draining = True
        self._tell()

    async def run(self) -> None:
        """Look each second, for ever."""
        looked = self._clock.monotonic()
        while True:
            now = self._clock.monotonic()
            self._look(late=max(0.0, now - looked - LOOK_SECONDS))
            looked = now
            await self._clock.sleep(LOOK_SECONDS)

    def _look(self, *, late: float) -> None:
        now, now_ms = self._clock.monotonic(), self._clock.now()
        for watch in (self._writer, *self._dispatch):
            watch.look(now, now_ms, late)
        self._look_at_feeders()
        self._tell()

    def _look_at_feeders(self) -> None:
        since = self._feeding_since()
        seconds = 0.0 if since is None else self._clock.monotonic() - since
        if seconds < STILL_SECONDS:
            self._stuck_feeders = ""
        elif not self._stuck_feeders:
            began = moment_text(self._clock.now() - int(seconds * 1000))
            self._stuck_feeders = f"{FEEDERS} stand still since {began}"
            log.error("stands_still", part=FEEDERS, since=began)

    def _complaint_of_database(self) -> list[str]:
        if self._failing.failing:
            since = moment_text(self._failing.failing_since)
            return [f"the database cannot be written to since {since}: {self._failing.failing}"]
        return [self._writer.complaint] if self._writer.stands_still else []

    def _tell(self) -> None:
        """Wake whoever waits, if there is news."""
        health = self.health()
        if health != self._told:
            self._told = health
            self._news.set()
            self._news = asyncio.Event()
