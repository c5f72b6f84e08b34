"""How often agents report: the more are connected, the less often each, so that all together stay within a rate.

An agent is told so by its welcome and, when it is to be otherwise, by the answer to a heartbeat. When it begins to
follow the server cannot know before a heartbeat says so. Until then the longer of the two periods counts, so that
nothing is taken for silence that was agreed on. And nothing else is told meanwhile, or the answer could mean either.
"""

from __future__ import annotations

BEATS_PER_SECOND = 400.0
MOST_AT_FULL_BEAT = 2_000
"""Up to so many agents report as often as is set."""
WORTH_TELLING = 1.1
"""A period that differs by less is not worth a word."""
LEAST_BEATS_PER_LEASE = 4
"""Agents report so often within the lease of a task that they run, however many they are."""


def period_for(agents: int, heartbeat: float) -> float:
    """How often each of so many agents is to report, in seconds, if a few would every `heartbeat`."""
    return heartbeat if agents <= MOST_AT_FULL_BEAT else max(heartbeat, agents / BEATS_PER_SECOND)


class Pace:
    """What all agents are to keep. `heartbeat`, `lease`: in seconds, how often a few report, and for how long a task
    may run unheard of.
    """

    def __init__(self, heartbeat: float = 5.0, *, lease: float = 600.0) -> None:
        self._heartbeat = heartbeat
        self._longest = max(heartbeat, lease / LEAST_BEATS_PER_LEASE)
        self.period = heartbeat
        """In seconds."""

    def set_for(self, agents: int) -> None:
        """So many agents are connected."""
        self.period = min(period_for(agents, self._heartbeat), self._longest)


class Rhythm:
    """How often one agent reports: what it has said that it keeps, and what it was told. It begins with its welcome."""

    __slots__ = ("_kept", "_told")

    def __init__(self, period: float) -> None:
        self._kept = self._told = round(period * 1000)

    @property
    def period(self) -> float:
        """The longest that it may leave between two heartbeats by what it knows, jitter apart; in seconds."""
        return max(self._kept, self._told) / 1000

    def kept(self, period_ms: int, wanted: float) -> int:
        """It says that it keeps this period, and another is wanted, in seconds. Returns what to tell it; 0: nothing."""
        if period_ms != self._told:
            return 0
        self._kept = period_ms
        wanted_ms = round(wanted * 1000)
        if max(wanted_ms, period_ms) < WORTH_TELLING * min(wanted_ms, period_ms):
            return 0
        self._told = wanted_ms
        return wanted_ms
