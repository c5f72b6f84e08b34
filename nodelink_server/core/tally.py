"""What has been counted and measured since the start. Plain numbers; how they are shown is the edges' affair."""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 7200)
LAGS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
"""Seconds. Up to 0.02 is what is promised of the loop."""
MOST_KINDS = 500
OTHER = ("other", "other")
ROWS = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2000)


class Buckets:
    """A histogram: `counts[i]` values were at most `bounds[i]` and above the bound before; the last count has no
    bound.
    """

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...] = SECONDS) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    def add(self, other: Buckets) -> None:
        """Count what another histogram with the same bounds has counted."""
        self.counts = [mine + more for mine, more in zip(self.counts, other.counts, strict=True)]
        self.sum += other.sum


class Tally:
    """The counts of one server. Written by its loop only; other threads may read, and see each number whole.

    Callers choose the names of pools, so only so many kinds are told apart; the rest are counted together.
    """

    def __init__(self) -> None:
        self._kinds: set[tuple[str, str]] = set()
        self.submitted: dict[tuple[str, str], int] = defaultdict(int)
        self.retries: dict[tuple[str, str], int] = defaultdict(int)
        """Further tries of tasks that had failed, and finished tasks that were run again as new ones; by kind."""
        self.finished: dict[tuple[str, str, str], int] = defaultdict(int)
        self.queue_seconds: dict[tuple[str, str], Buckets] = defaultdict(Buckets)
        self.run_seconds: dict[tuple[str, str], Buckets] = defaultdict(Buckets)
        self.total_seconds: dict[tuple[str, str], Buckets] = defaultdict(Buckets)
        self.assignments: dict[str, int] = defaultdict(int)
        self.offers: dict[str, int] = defaultdict(int)
        """Offers that are over, by what ended them."""
        self.responses: dict[str, int] = defaultdict(int)
        self.late_results = 0
        self.leases_expired: dict[str, int] = defaultdict(int)
        """Attempts whose leases have run out, by execution class."""
        self.approvals: dict[str, int] = defaultdict(int)
        """Plans that do not wait for an approval any more: approved, rejected or expired."""
        self.hellos_refused = 0
        self.use_differs: dict[str, int] = defaultdict(int)
        """Times that an agent went on to count otherwise what is taken of it, by pool."""
        self.channel_full = 0
        self.commit_seconds = Buckets()
        self.commit_rows = Buckets(ROWS)
        self.events_dropped = 0
        self.cleanup_removed = 0
        self.cleanup_runs = 0
        self.cleanup_seconds = Buckets()
        self.loop_lag = Buckets(LAGS)
        self.blob_bytes: dict[str, int] = {"written": 0, "read": 0}
        """Bytes of blobs, by which way they went."""
        self.blobs_removed = 0
        self.checkpoints: dict[str, int] = defaultdict(int)
        """Checkpoints, by what came of them."""
        self.checkpoint_seconds = Buckets()

    def count_difference(self, pool: str) -> None:
        """An agent of a pool counts otherwise than the server. Agents name pools, so these are bounded as well."""
        is_told_apart = pool in self.use_differs or len(self.use_differs) < MOST_KINDS
        self.use_differs[pool if is_told_apart else OTHER[1]] += 1

    def kind(self, type: str, pool: str) -> tuple[str, str]:
        """Under what a task is counted: its type and pool, or `other` once there are too many of them."""
        kind = (type, pool)
        if kind in self._kinds:
            return kind
        if len(self._kinds) >= MOST_KINDS:
            return OTHER
        self._kinds.add(kind)
        return kind
