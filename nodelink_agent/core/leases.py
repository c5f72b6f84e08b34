"""Until when attempts may begin, and replayable ones may run, as the agent counts it.

The server counts a lease from the receipt of a heartbeat; the agent counts it from the sending of the last one that was
acknowledged, and takes a margin off. So the agent's lease is always over first, whatever was lost or delayed between
them. Moments are CLOCK_BOOTTIME, which goes on while the machine is suspended.
"""

from __future__ import annotations

import math

from nodelink.task import AttemptRef
from nodelink_agent.core.work import Extension

LEAST_MARGIN_MS = 10_000
MARGIN_PART = 20
"""The margin is at least a twentieth of the lease."""
SHORT_MS = 2 * LEAST_MARGIN_MS
"""Of a shorter lease the agent takes half."""
REMEMBERED_BEATS = 256
"""Of so many heartbeats the send time is known; a lease that counts from an older one is over."""


class Lease:
    """The lease of one attempt. Heartbeats from `listed_from` on name it."""

    __slots__ = ("extends", "listed_from", "own_seconds", "until")

    def __init__(self, until: float, own_seconds: float, listed_from: int, *, extends: bool) -> None:
        self.until = until
        self.own_seconds = own_seconds
        self.listed_from = listed_from
        self.extends = extends


class Leases:
    """The leases that are held, and when the heartbeats of the session were sent. Number 0 is the hello."""

    def __init__(self) -> None:
        self.held: dict[AttemptRef, Lease] = {}
        self._sent: dict[int, float] = {}
        self._number = 0
        self._earliest = math.inf
        """No lease is over before this."""
        self._last_end = (0, 0, 0.0)  # what comes in one frame has one lease and one basis

    @property
    def next_lapse(self) -> float | None:
        """When to look again at the latest; None: there is no lease."""
        return None if not self.held or self._earliest == math.inf else self._earliest

    def new_session(self, now: float) -> None:
        """A hello is sent, which names everything."""
        self._number = 0
        self._sent = {0: now}
        self._last_end = (0, 0, 0.0)
        for lease in self.held.values():
            lease.listed_from = 0

    def sent(self, now: float) -> int:
        """The number of the heartbeat that is sent now."""
        self._number += 1
        self._sent[self._number] = now
        self._sent.pop(self._number - REMEMBERED_BEATS, None)
        return self._number

    def end_of(self, lease_ms: int, basis: int) -> float:
        """When a lease that counts from a heartbeat is over; at once if nobody knows when that one was sent."""
        last_lease, last_basis, until = self._last_end
        if lease_ms != last_lease or basis != last_basis:
            sent = self._sent.get(basis)
            until = -math.inf if sent is None else sent + own_lease_ms(lease_ms) / 1000
            self._last_end = (lease_ms, basis, until)
        return until

    def hold(self, ref: AttemptRef, lease_ms: int, until: float, *, extends: bool) -> None:
        """Watch over a lease from now on. `extends`: acknowledged heartbeats put its end off."""
        self.held[ref] = Lease(until, own_lease_ms(lease_ms) / 1000, self._number + 1, extends=extends)
        self._earliest = min(self._earliest, until)

    def until(self, ref: AttemptRef) -> float:
        """When the lease of an attempt is over; never, if none is held."""
        lease = self.held.get(ref)
        return math.inf if lease is None else lease.until

    def drop(self, ref: AttemptRef) -> None:
        """Watch over it no more."""
        self.held.pop(ref, None)

    def acknowledged(self, number: int) -> list[Extension]:
        """A heartbeat has come to the server: the leases that it put off."""
        sent = self._sent.get(number)
        if sent is None:
            return []
        extended = []
        for ref, lease in self.held.items():
            until = sent + lease.own_seconds
            if lease.extends and lease.listed_from <= number and (until > lease.until or lease.until == math.inf):
                lease.until = until
                self._earliest = min(self._earliest, until)
                extended.append(Extension(ref, until))
        return extended

    def take_over(self, now: float) -> list[AttemptRef]:
        """The attempts whose lease is over. They are watched no more."""
        if now <= self._earliest:
            return []
        over = [ref for ref, lease in self.held.items() if now > lease.until]
        for ref in over:
            del self.held[ref]
        self._earliest = min((lease.until for lease in self.held.values()), default=math.inf)
        return over


def own_lease_ms(lease_ms: int) -> int:
    """What the agent allows itself of a lease."""
    if lease_ms < SHORT_MS:
        return lease_ms // 2
    return lease_ms - max(LEAST_MARGIN_MS, lease_ms // MARGIN_PART)
