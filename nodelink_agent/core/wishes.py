"""What running work has said of its own limits, until the server has heard it."""

from __future__ import annotations

from typing import NamedTuple

from nodelink.task import AttemptRef, Extended, TaskResponse


class Wish(NamedTuple):
    """Other limits that work has given itself; moments by CLOCK_BOOTTIME. None: as before."""

    run_until: float | None = None
    total_until: float | None = None
    heartbeat_seconds: float | None = None

    def over(self, older: Wish) -> Wish:
        """Both together: what this one leaves as before is as the older one has it."""
        return Wish(*(before if after is None else after for after, before in zip(self, older, strict=True)))


class Wishes:
    """One for each attempt: what is said later is said together with what was not heard."""

    def __init__(self) -> None:
        self._numbers: dict[AttemptRef, int] = {}
        self._unheard: dict[AttemptRef, Wish] = {}
        self._unsent: dict[AttemptRef, None] = {}

    @property
    def are_to_be_said(self) -> bool:
        """Whether there is something that was not said in this session."""
        return bool(self._unsent)

    def add(self, ref: AttemptRef, wish: Wish) -> None:
        """Work has given itself other limits."""
        self._numbers[ref] = self._numbers.get(ref, 0) + 1
        self._unheard[ref] = wish.over(self._unheard.get(ref, Wish()))
        self._unsent[ref] = None

    def heard(self, ref: AttemptRef, number: int) -> None:
        """The server has heard what an attempt has said, up to this number."""
        if number and number >= self._numbers.get(ref, 0):
            self._unheard.pop(ref, None)
            self._unsent.pop(ref, None)

    def new_session(self) -> None:
        """Say everything again that was not heard."""
        self._unsent = dict.fromkeys(self._unheard)

    def take(self, count: int, *, now: float) -> list[TaskResponse]:
        """What the next frame says."""
        refs = list(self._unsent)[:count]
        for ref in refs:
            del self._unsent[ref]
        return [TaskResponse(ref, _told(self._numbers[ref], self._unheard[ref], now)) for ref in refs]

    def forget(self, ref: AttemptRef) -> None:
        """Nothing about this attempt is to be said any more."""
        if self._numbers.pop(ref, None) is not None:
            self._unheard.pop(ref, None)
            self._unsent.pop(ref, None)


def _told(number: int, wish: Wish, now: float) -> Extended:
    return Extended(
        number=number,
        timeout_ms=_ms(wish.run_until, now),
        total_timeout_ms=_ms(wish.total_until, now),
        heartbeat_timeout_ms=_ms(wish.heartbeat_seconds, 0.0),
    )


def _ms(until: float | None, now: float) -> int | None:
    """Milliseconds from now; at least one, for an end that is near is no end that was never set."""
    return None if until is None else max(round((until - now) * 1000), 1)
