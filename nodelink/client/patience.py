"""How a client outlives a server that is away or busy for a while. Pure: time and chance come in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from enum import Enum, auto

from nodelink.backoff import full_jitter
from nodelink.client.channel import ANSWERED_EARLY_SECONDS, LONG_POLL_SECONDS
from nodelink.client.checks import check_wait
from nodelink.errors import LinkLost, NodelinkError, Overloaded, StoreUnavailable

FIRST_DELAY_SECONDS = 0.2
LONGEST_DELAY_SECONDS = 2.0

PASSING = (LinkLost, StoreUnavailable, Overloaded)
"""What may be over when one asks again."""


class Patience:
    """Counts how long the server has been away. Whoever hears of it again says so."""

    def __init__(self, seconds: float, *, monotonic: Callable[[], float], random: Callable[[], float]) -> None:
        self._seconds = seconds
        self._monotonic = monotonic
        self._random = random
        self._away_since: float | None = None
        self._delays = _delays(random)

    def heard(self) -> None:
        """The server has answered."""
        self._away_since = None
        self._delays = _delays(self._random)

    def delay_after(self, error: NodelinkError) -> float:
        """Seconds after which to try again. Raises the error if it is of another kind, or patience is over."""
        if not isinstance(error, PASSING):
            raise error
        now = self._monotonic()
        if self._away_since is None:
            self._away_since = now
        if now - self._away_since >= self._seconds:
            raise error
        return next(self._delays) + (error.retry_after or 0.0)


class Peer:
    """What is known of a server: its address, and whether it has ever answered.

    A server that has never answered is not waited for: more likely than not, the address is wrong.
    """

    def __init__(
        self, address: str, *, patience: float, monotonic: Callable[[], float], random: Callable[[], float]
    ) -> None:
        self.address = address
        self._has_answered = False
        self._patience_seconds = patience
        self._monotonic = monotonic
        self._random = random

    def new_patience(self) -> Patience:
        """For a call that goes on for long."""
        return Patience(self._patience_seconds, monotonic=self._monotonic, random=self._random)

    def heard(self, error: NodelinkError | None = None) -> None:
        """Note what an answer, or its failure, tells about it. Raises the failure if it has never answered."""
        if error is None or not isinstance(error, LinkLost):
            self._has_answered = True
        elif not self._has_answered:
            raise error

    def new_tries(self, seconds: float) -> Tries:
        """For a call that may be made again for so many seconds."""
        return Tries(seconds, monotonic=self._monotonic, random=self._random)

    def new_time(self, timeout: float | None) -> TimeLeft:
        """For something that may go on for so many seconds, or for ever."""
        return TimeLeft(timeout, monotonic=self._monotonic)

    def new_poll(self, timeout: float | None) -> LongPoll:
        """For a wait of so many seconds, or for ever."""
        return LongPoll(timeout, monotonic=self._monotonic)


class Tries:
    """The tries of one call that may safely be made again. They end with the time that the call has altogether."""

    def __init__(self, seconds: float, *, monotonic: Callable[[], float], random: Callable[[], float]) -> None:
        self._until = monotonic() + seconds
        self._monotonic = monotonic
        self._delays = _delays(random)

    @property
    def seconds_left(self) -> float:
        """How long the next try may take."""
        return max(0.0, self._until - self._monotonic())

    def delay_after(self, error: NodelinkError) -> float:
        """Seconds after which to try again. Raises the error if it is of another kind, or there is no time for it."""
        delay = next(self._delays) + (error.retry_after or 0.0)
        if not isinstance(error, PASSING) or delay >= self.seconds_left:
            raise error
        return delay


class TimeLeft:
    """How much is left of a time. `timeout` None: it never ends."""

    def __init__(self, timeout: float | None, *, monotonic: Callable[[], float]) -> None:
        """Raises `InvalidTask` for a timeout that is no number."""
        check_wait(timeout)
        self._monotonic = monotonic
        self._until = None if timeout is None else monotonic() + timeout

    @property
    def seconds(self) -> float | None:
        """What is left of it; None: it never ends."""
        return None if self._until is None else max(0.0, self._until - self._monotonic())

    @property
    def is_over(self) -> bool:
        """Whether nothing is left of it."""
        return self.seconds == 0.0


class Heard(Enum):
    """What the answer to a long poll has brought."""

    ALL = auto()
    SOME = auto()
    NOTHING = auto()


class LongPoll:
    """Cuts a long wait into calls of bearable length. `timeout` None: for ever."""

    def __init__(self, timeout: float | None, *, monotonic: Callable[[], float]) -> None:
        """Raises `InvalidTask` for a timeout that is no number."""
        check_wait(timeout)
        self._monotonic = monotonic
        self._until = None if timeout is None else monotonic() + timeout
        self._expected = 0.0

    def next_seconds(self) -> float:
        """How long the next call is to wait."""
        now = self._monotonic()
        left = LONG_POLL_SECONDS if self._until is None else min(LONG_POLL_SECONDS, max(0.0, self._until - now))
        self._expected = now + left
        return left

    @property
    def is_over(self) -> bool:
        """Whether the time is up."""
        return self._until is not None and self._monotonic() >= self._until

    def pause_after(self, heard: Heard) -> float:
        """Seconds to leave the server in peace: one that is stopping answers early, and would be asked without end."""
        early = self._monotonic() < self._expected - ANSWERED_EARLY_SECONDS
        return FIRST_DELAY_SECONDS if early and heard is Heard.NOTHING else 0.0


def _delays(random: Callable[[], float]) -> Iterator[float]:
    return full_jitter(initial=FIRST_DELAY_SECONDS, maximum=LONGEST_DELAY_SECONDS, random=random)
