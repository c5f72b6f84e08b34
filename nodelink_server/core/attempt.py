"""One try at a task on one agent: what it was given, how it ended if its task went on, and that it shall stop."""

from __future__ import annotations

from typing import NamedTuple

from nodelink.plan import Plan
from nodelink.task import LogStream, Reason
from nodelink.values import value


class Hold(NamedTuple):
    """A place under a limit: one of those from 0 to one less than the limit. A lock has one place."""

    key: str
    place: int = 0


class Planned(NamedTuple):
    """A plan that an attempt has made, and who has approved it.

    The plan never changes. `at`, `approved_at`: wall-clock milliseconds. `holds`: the places that its task keeps from
    then on until it has ended.
    """

    plan: Plan
    attempt: int
    at: int
    holds: tuple[Hold, ...] = ()
    approved_by: str = ""
    approved_at: int | None = None


class Extension(NamedTuple):
    """Other limits of an attempt than its task asks for. None: as the task asks.

    `number` counts the extensions; `heard` is the number of the last one among them that the work gave itself.
    `run_until`: in control time.
    """

    number: int
    run_until: int | None = None
    heartbeat_timeout_ms: int | None = None
    heard: int = 0


@value
class Attempt:
    """One try at a task on one agent, granted in one of its sessions."""

    number: int
    fence: int
    agent_id: str
    session: int
    sent_at: int
    started_at: int | None = None
    containment: str = ""
    lease_ms: int | None = None
    """The execution lease under which it was granted, in control time; None: it has none, and never expires."""
    holds: tuple[Hold, ...] = ()
    """The places that it was given, of its task's keys and of the server's limits."""
    extension: Extension | None = None


class Failure(NamedTuple):
    """How an attempt ended after which its task is tried again. `next_at`: about when; wall-clock milliseconds.

    `stdout_total`, `stderr_total`: the lengths of what it printed, gaps included; None: not known. `retry_after_ms`:
    the wait before the next try that it asked for; None: it asked for none.
    """

    reason: str
    message: str
    next_at: int
    exit_code: int | None = None
    signal: int | None = None
    category: str = ""
    stdout_total: int | None = None
    stderr_total: int | None = None
    retry_after_ms: int | None = None

    @property
    def log_totals(self) -> dict[LogStream, int]:
        """The lengths of what it printed, of the streams that it had."""
        totals = {LogStream.STDOUT: self.stdout_total, LogStream.STDERR: self.stderr_total}
        return {stream: total for stream, total in totals.items() if total is not None}


DRAINED = "drained"
"""How an attempt stands that was stopped because its agent was to be empty."""
PLANNED = "planned"
"""How an attempt stands that has made a plan, which its task is to apply when it is approved."""


@value
class Superseded:
    """An attempt that its task has left behind.

    `state`: void (proved never to have begun), lost, drained (stopped because its agent was to be empty), planned,
    failed or timeout. `failure`: what is known of the end of one that told it: that was drained, has planned, failed or
    ran out of time. `plan`: what it has made, if it has planned, else what it was to apply; None: nothing.
    """

    attempt: Attempt
    state: str
    ended_at: int
    failure: Failure | None = None
    plan: Planned | None = None

    @property
    def has_failed(self) -> bool:
        """Whether its task was, or is to be, tried again because of how it ended."""
        return self.failure is not None and self.state not in (DRAINED, PLANNED)


@value
class Stop:
    """That a granted task shall stop: asked once, repeated to the agent until it answers."""

    reason: Reason
    message: str
    grace_ms: int
    asked_at: int
