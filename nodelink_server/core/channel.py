"""The bounded channel through which the responses of all agents come to the processor."""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Sequence
from typing import NamedTuple

from nodelink.task import TaskResponse
from nodelink_server.core.session import AgentSession
from nodelink_server.core.tally import Tally

MOST_BYTES = 64 * 1024 * 1024


class Frame(NamedTuple):
    """The responses of one frame, and how large it was."""

    session: AgentSession
    responses: Sequence[TaskResponse]
    size: int


class ResponseChannel:
    """Frames on their way to the processor.

    Bounded by the credit that sessions are given: full means no more credit.
    """

    def __init__(self, *, capacity: int, tally: Tally) -> None:
        self.capacity = capacity
        self._tally = tally
        self._frames: deque[Frame] = deque()
        self._bytes = 0
        self._owed: dict[AgentSession, int] = defaultdict(int)
        self._wake = asyncio.Event()

    @property
    def depth(self) -> int:
        """How many frames wait."""
        return len(self._frames)

    @property
    def is_full(self) -> bool:
        """Whether agents have to wait."""
        return len(self._frames) >= self.capacity or self._bytes >= MOST_BYTES

    def put(self, session: AgentSession, responses: Sequence[TaskResponse], size: int) -> None:
        """Take a frame in. Raises `CreditExceeded` past the session's credit."""
        session.count_response_frame()
        self._frames.append(Frame(session, responses, size))
        self._bytes += size
        if self.is_full:
            self._tally.channel_full += 1
        self._wake.set()

    def nudge(self) -> None:
        """Have whoever takes frames look, though there may be none."""
        self._wake.set()

    async def take(self, most: int) -> list[Frame]:
        """Wait for frames, and return them up to about so many responses. None: it was only nudged."""
        await self._wake.wait()
        frames: list[Frame] = []
        count = 0
        while self._frames and count < most:
            frame = self._frames.popleft()
            self._bytes -= frame.size
            count += len(frame.responses)
            frames.append(frame)
        if not self._frames:
            self._wake.clear()
        return frames

    def settle(self, frames: Sequence[Frame]) -> None:
        """These frames are done with: their agents may send as many more, unless the channel is full."""
        for frame in frames:
            self._owed[frame.session] += 1
        if self.is_full:
            return
        owed, self._owed = self._owed, defaultdict(int)
        for session, count in owed.items():
            if session.is_open:
                session.give_response_credit(count)
