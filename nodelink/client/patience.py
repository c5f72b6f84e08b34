"""How a call that goes on for long outlives a server that is away for a while. Pure: time and chance come in."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from nodelink.backoff import full_jitter
from nodelink.errors import LinkLost, NodelinkError, StoreUnavailable

FIRST_DELAY_SECONDS = 0.2
LONGEST_DELAY_SECONDS = 2.0


class Patience:
    """Counts how long the server has been away. Whoever hears of it again says so."""

    def __init__(self, seconds: float, *, monotonic: Callable[[], float], random: Callable[[], float]) -> None:
        self._seconds = seconds
        self._monotonic = monotonic
        self._random = random
        self._away_since: float | None = None
        self._delays = self._new_delays()

    def heard(self) -> None:
        """The server has answered."""
        self._away_since = None
        self._delays = self._new_delays()

    def delay_after(self, error: NodelinkError) -> float:
        """Seconds after which to try again. Raises the error if it is of another kind, or patience is over."""
        if not isinstance(error, LinkLost | StoreUnavailable):
            raise error
        now = self._monotonic()
        if self._away_since is None:
            self._away_since = now
        if now - self._away_since >= self._seconds:
            raise error
        return next(self._delays)

    def _new_delays(self) -> Iterator[float]:
        return full_jitter(initial=FIRST_DELAY_SECONDS, maximum=LONGEST_DELAY_SECONDS, random=self._random)
