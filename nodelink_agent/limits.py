"""How long a command may run: its timeout, the lease that its agent extends, and how long it may be silent.

Standard library only.
"""

from __future__ import annotations

from typing import NamedTuple

RUN_TIMEOUT = "run_timeout"
HEARTBEAT_TIMEOUT = "heartbeat_timeout"
LEASE_EXPIRED = "lease_expired"
TIMEOUT_GRACE = 10.0
LEASE_GRACE = 2.0

_NEVER = float("inf")


class Passed(NamedTuple):
    """A limit that has passed: what the command is told, and how long it has to obey."""

    reason: str
    grace_seconds: float


class Limits:
    """The limits of one command, by boottime. Each passes once."""

    def __init__(self, now: float, timeout_seconds: float | None, lease_until: float | None) -> None:
        self._run_until = _NEVER if timeout_seconds is None else now + timeout_seconds
        self._lease_until = _NEVER if lease_until is None else lease_until

    @property
    def next(self) -> float:
        """When the first of them passes; infinite if none will."""
        return min(self._run_until, self._lease_until)

    def run(self, until: float) -> None:
        """Another end of its run, earlier or later."""
        self._run_until = until

    def extend(self, lease_until: float) -> None:
        """A longer lease. It is never shortened, and who needs none gets none."""
        if self._lease_until != _NEVER:
            self._lease_until = max(self._lease_until, lease_until)

    def passed(self, now: float) -> Passed | None:
        """The limit that has passed, the earlier one if both have. None if none has, or it was told before."""
        if now < self.next:
            return None
        if self._run_until <= self._lease_until:
            self._run_until = _NEVER
            return Passed(RUN_TIMEOUT, TIMEOUT_GRACE)
        self._lease_until = _NEVER
        return Passed(LEASE_EXPIRED, LEASE_GRACE)


class Silence:
    """How long work may go without a sign of life. It passes once.

    Its clock must stand still while the machine sleeps: nobody gives a sign then.
    """

    def __init__(self, now: float, most_seconds: float | None = None) -> None:
        self.most_seconds = most_seconds
        """How long; None: for ever."""
        self._since = now
        self._has_passed = False

    @property
    def until(self) -> float:
        """When it has lasted too long; infinite if it never will."""
        return _NEVER if self.most_seconds is None or self._has_passed else self._since + self.most_seconds

    def sign(self, now: float) -> None:
        """There is a sign of life."""
        self._since = now

    def allow(self, now: float, most_seconds: float) -> None:
        """It may last so long from now on."""
        self.most_seconds, self._since = most_seconds, now

    def passed(self, now: float) -> Passed | None:
        """Whether it has lasted too long. None if not, or that was told before."""
        if now < self.until:
            return None
        self._has_passed = True
        return Passed(HEARTBEAT_TIMEOUT, TIMEOUT_GRACE)


def silence_message(seconds: float) -> str:
    """Why work was stopped that gave no sign of life, in words."""
    return f"no sign of life came for {seconds:g} s"
