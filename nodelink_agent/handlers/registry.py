"""What an agent can run: handlers by type. A handler gets its payload and a context, and returns how it ended."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from nodelink.task import AttemptRef, Execution, Finished, LogStream, Reason, TaskSpec
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
    def traceparent(self) -> str:
        """The W3C trace context that the attempt's own spans belong to; empty: none."""

    @property
    def deadline(self) -> float | None:
        """When the run timeout is up, on the event loop's clock, in seconds; None: never."""

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

    async def stop_asked(self) -> None:
        """Return when a stop is asked for: a cancel, or the deadline."""

    def progress(self, fraction: float, message: str = "") -> None:
        """Report an advance from 0 to 1. Only the latest is sure to be sent."""

    def log(self, data: bytes, stream: LogStream = LogStream.STDOUT) -> None:
        """Append to the attempt's output."""

    def started(self, containment: str = "") -> None:
        """Say that the work has really begun, with how its processes are held together. Called once."""


Handler = Callable[[bytes, Context], Awaitable[Finished]]
InlineHandler = Callable[[bytes], Finished]


@dataclass(frozen=True, slots=True, kw_only=True)
class HandlerEntry:
    """One type. `inline`: runs at once on the agent's loop, for work of microseconds that never blocks."""

    type: str
    execution: Execution
    run: Handler | None = None
    inline: InlineHandler | None = None


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

    def get(self, task_type: str) -> HandlerEntry | None:
        """The handler of a type, or None if this agent has none."""
        return self._entries.get(task_type)
