"""What the event loop complains about, as lines of our log. One complaint that goes on is one line now and then.

Without files left to open the loop fails to accept thousands of times a second, and says so each time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import structlog

PAUSE_SECONDS = 10.0
"""The same complaint is not told again sooner."""

log = structlog.get_logger(__name__)


class LoopErrors:
    """Takes the complaints of one loop."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._last = ""
        self._told_at = 0.0
        self._untold = 0

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Note what went wrong."""
        error = context.get("exception")
        complaint = f"{context.get('message', '')}: {error!r}"
        if complaint == self._last and self._now() - self._told_at < PAUSE_SECONDS:
            self._untold += 1
            return
        log.error("loop_failed", message=context.get("message", ""), untold=self._untold, exc_info=error)
        self._last, self._told_at, self._untold = complaint, self._now(), 0
