"""What an agent can run: handlers by type. A handler gets its payload and a context, and returns how the work ended.

Work that others hold for the agent, as commands are held by a spawner, may outlive the agent's process. Its handler has
a `resume`, by which the next process takes it up again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from nodelink.plan import Plan
from nodelink.task import AttemptRef, Declined, Execution, Finished, Gone, LogStream, Reason, TaskSpec
from nodelink_agent.blobs import Blobs, State
from nodelink_agent.core.work import NewLimits
from nodelink_agent.output import Output


class Context(Protocol):
    """What a running attempt may know and say. Made by the pool; every call is cheap and none blocks."""

    @property
    def ref(self) -> AttemptRef:
        """The execution."""

    @property
    def spec(self) -> TaskSpec:
        """What was asked, the payload apart."""

    @property
    def execution(self) -> Execution:
        """What may happen to it when contact is lost."""

    @property
    def plan(self) -> Plan | None:
        """The approved plan that is to be applied: this one and no other; None: there is none."""

    @property
    def traceparent(self) -> str:
        """The W3C trace context that the attempt's own spans belong to; empty: none."""

    @property
    def deadline(self) -> float | None:
        """When the run timeout is up, on the event loop's clock, in seconds; None: never. `extend` moves it."""

    @property
    def limits(self) -> NewLimits | None:
        """Other limits than were asked for, if it was given any; None: it was not."""

    @property
    def lease_until(self) -> float | None:
        """Until when it may run as far as is known now, by CLOCK_BOOTTIME; None: without end."""

    @property
    def grace_seconds(self) -> float:
        """From the stop signal to the kill. Known once a stop has been asked for."""

    @property
    def cancelled(self) -> bool:
        """Whether a stop has been asked for."""

    @property
    def stop_reason(self) -> Reason | None:
        """Why a stop has been asked for; None: it has not."""

    @property
    def output(self) -> Output:
        """What the attempt prints. Costs nothing until something is printed or its directory is asked for."""

    @property
    def blobs(self) -> Blobs:
        """The server's blobs: what there is to work on, bytes down and up. Each piece is a sign of life."""

    @property
    def state(self) -> State:
        """The state of the task's workspace."""

    def listen(self) -> None:
        """From now on the handler ends by itself after a stop: until it has, something of it may be left."""

    async def stop_asked(self) -> None:
        """Return when a stop is asked for: a cancel, or the deadline."""

    def on_stop(self, tell: Callable[[float, Reason], None]) -> None:
        """Have this called when a stop is asked for, with the grace in seconds and the reason; at once if one has been.

        It says `listen` too.
        """

    def progress(self, fraction: float, message: str = "") -> None:
        """Report an advance from 0 to 1. Only the latest is sure to be sent."""

    def log(self, data: bytes, stream: LogStream = LogStream.STDOUT) -> None:
        """Append to the attempt's output."""

    def extend(
        self,
        *,
        timeout: float | None = None,
        total_timeout: float | None = None,
        heartbeat_timeout: float | None = None,
    ) -> None:
        """Give the work other limits, longer or shorter, in seconds from now. The server is told when it is there.

        ValueError: none is given, or one is not within its bounds.
        """

    def started(self, containment: str = "") -> None:
        """Say that the work has really begun, with how its processes are held together. Called once."""

    def outlives(self, outlives: bool) -> None:
        """Say whether the work goes on without this process, to be taken up by the next. At first it does not."""

    def cannot_be_stopped(self) -> None:
        """Say that the work must not be stopped any more, only waited for, whatever is asked."""


Ending = Finished | Gone | Declined
"""How work ended; that nobody saw how it ended; that it never began."""

Handler = Callable[[bytes, Context], Awaitable[Ending]]
Resume = Callable[[str, Context], Awaitable[Ending]]
"""Takes up work that an earlier process began, given the place that the journal names for it."""
InlineHandler = Callable[[bytes], Finished]


@dataclass(frozen=True, slots=True, kw_only=True)
class HandlerEntry:
    """One type. `inline`: runs at once on the agent's loop, for work of microseconds that never blocks.

    `place` names who holds its work, for the journal; empty: this process does.
    """

    type: str
    execution: Execution
    run: Handler | None = None
    inline: InlineHandler | None = None
    place: str = ""
    resume: Resume | None = None


class HandlerRegistry:
    """The handlers of one agent, by type. Fixed after start."""

    def __init__(self, entries: Iterable[HandlerEntry]) -> None:
        self._entries: dict[str, HandlerEntry] = {}
        for entry in entries:
            if entry.type in self._entries:
                raise ValueError(f"two handlers for type {entry.type!r}")
            self._entries[entry.type] = entry

    def __iter__(self) -> Iterator[HandlerEntry]:
        return iter(self._entries.values())

    def places(self) -> dict[str, str]:
        """Where the work of each type is done, except of those that are done inline."""
        return {entry.type: entry.place for entry in self if entry.inline is None and entry.run is not None}

    def get(self, task_type: str) -> HandlerEntry | None:
        """The handler of a type, or None if this agent has none."""
        return self._entries.get(task_type)
