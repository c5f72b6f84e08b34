"""How long one attempt may run, and be silent, as its pool sees to it."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

from nodelink.task import Reason
from nodelink_agent.limits import Silence


class Deadlines:
    """Asks for the stop of an attempt when a limit has passed. Seconds are those of the event loop's clock.

    `stop` is called with the reason. Without `run` and `allow_silence` there are no limits.
    """

    def __init__(self, stop: Callable[[Reason], None]) -> None:
        self._stop = stop
        self._loop = asyncio.get_running_loop()
        self._run_until: float | None = None
        self._silence = Silence(self._loop.time())
        self._run_timer: asyncio.TimerHandle | None = None
        self._silence_timer: asyncio.TimerHandle | None = None

    @property
    def run_until(self) -> float | None:
        """When its run is to end; None: never."""
        return self._run_until

    @property
    def silent_seconds(self) -> float:
        """How long it may be silent; 0: for ever."""
        return self._silence.most_seconds or 0.0

    def run(self, seconds: float) -> None:
        """It may run so long from now on."""
        if self._run_timer is not None:
            self._run_timer.cancel()
        self._run_until = self._loop.time() + seconds
        self._run_timer = self._loop.call_at(self._run_until, self._stop, Reason.RUN_TIMEOUT)

    def allow_silence(self, seconds: float) -> None:
        """It may be silent so long from now on."""
        self._silence.allow(self._loop.time(), seconds)
        if self._silence_timer is not None:
            self._silence_timer.cancel()
        self._listen()

    def sign(self) -> None:
        """There is a sign of life."""
        self._silence.sign(self._loop.time())

    def cancel(self) -> None:
        """See to nothing any more."""
        for timer in (self._run_timer, self._silence_timer):
            if timer is not None:
                timer.cancel()

    def _listen(self) -> None:
        """Look again when it would have been silent for too long."""
        if not math.isinf(self._silence.until):
            self._silence_timer = self._loop.call_at(self._silence.until, self._look)

    def _look(self) -> None:
        if self._silence.passed(self._loop.time()) is not None:
            self._stop(Reason.HEARTBEAT_TIMEOUT)
        else:
            self._listen()
