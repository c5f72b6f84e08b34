"""How fast agents may come back: what a herd of them may ask of one server.

A hello costs a commit and a look at everything that its agent holds. After a restart all agents come at once, and
whoever comes too early is told when to come again: each a little later than the one before, so that they come in a
line.
"""

from __future__ import annotations

from nodelink.errors import Overloaded
from nodelink_server.core.tally import Tally

HELLOS_PER_SECOND = 100.0
BURST_SECONDS = 2.0
"""So many seconds' worth of hellos may come at once when none has come for as long."""
LONGEST_WAIT = 30.0
"""The line is no longer than this, in seconds: past its end it begins anew at its front."""
MOST_AGENTS = 20_000
"""As many may be connected at a time."""
FULL_SECONDS = 60.0
"""When to come again, if as many are."""


class Admission:
    """Lets so many hellos a second in. The times are of any clock that never goes back; `rate` 0: any number."""

    def __init__(self, *, tally: Tally, rate: float = HELLOS_PER_SECOND) -> None:
        self._tally = tally
        self._gap = 1 / rate if rate else 0.0
        self._burst = max(BURST_SECONDS, self._gap)
        self._used_up_to = 0.0
        """Up to when what has been let in has used the rate up."""
        self._line_up_to = 0.0
        """When the last one in the line is to come."""

    def check(self, now: float, *, connected: int = 0) -> None:
        """Let a hello in beside so many connected agents. Raises `Overloaded`, which says when to come again."""
        if connected >= MOST_AGENTS:
            self._tally.hellos_refused += 1
            raise Overloaded(f"{MOST_AGENTS:,} agents are connected; no more are allowed", retry_after=FULL_SECONDS)
        used_up_to = max(self._used_up_to, now) + self._gap
        if used_up_to <= now + self._burst:
            self._used_up_to = used_up_to
            return
        self._tally.hellos_refused += 1
        raise Overloaded("too many agents connect at once", retry_after=self._wait(now))

    def _wait(self, now: float) -> float:
        """The next place in the line, in seconds from now."""
        place = max(self._line_up_to, now) + self._gap
        self._line_up_to = place if place <= now + LONGEST_WAIT else now + self._gap
        return self._line_up_to - now
