"""A wish to stop that comes before there is anything to stop: from the first moment on SIGTERM and SIGINT are heard.

Until the agent's loop takes them over, a signal is only noted; what is being loaded is loaded, and then leaves.
"""

from __future__ import annotations

import signal
from types import FrameType

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class EarlyStop:
    """Whether a stop was asked for so far."""

    def __init__(self) -> None:
        self.is_wished = False

    def listen(self) -> None:
        """Note signals from now on, until somebody else handles them. To be called in the main thread."""
        for number in STOP_SIGNALS:
            signal.signal(number, self._noted)

    def _noted(self, _number: int, _frame: FrameType | None) -> None:
        self.is_wished = True
