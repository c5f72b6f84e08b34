"""Keeps one link to the server alive for as long as the agent runs, and takes the agent out in good order.

Tries again for ever, with full jitter. Work and results are the pool's and survive any number of links.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Protocol

import structlog

from nodelink.backoff import full_jitter
from nodelink.errors import HandshakeRefused, LinkError, LinkLost, SessionReplaced
from nodelink_agent.link import Link
from nodelink_agent.pool import STOP_MARGIN, Pool

FIRST_DELAY = 0.2
LONGEST_DELAY = 10.0
SETTLED_AFTER = 10.0
"""Seconds that a link must live before the next delay starts small again."""
MOST_RAISES = 3
"""How often in succession the session number is raised without a delay."""
STOP_GRACE = 10.0
"""Seconds from signal to kill for what still runs when the shutdown grace is over."""
GOODBYE_SECONDS = 3.0
DELIVERY_SECONDS = 5.0
"""How long a leaving agent waits for its last results to be acknowledged."""

_log = structlog.get_logger(__name__)


class Sessions(Protocol):
    """Where session numbers come from."""

    def next_session(self) -> int:
        """A number that was never used before."""

    def raise_session(self, last: int) -> None:
        """Go beyond a number that the server knows of."""


class Supervisor:
    """One agent's connection over time. `dial` makes the link of a session; `random` gives numbers from 0 up to 1.

    `leave`: at the end, what goes on without this process is neither waited for nor stopped.
    """

    def __init__(
        self,
        *,
        pool: Pool,
        sessions: Sessions,
        dial: Callable[[int], Link],
        random: Callable[[], float],
        shutdown_grace: float,
        leave: bool = False,
    ) -> None:
        self._pool = pool
        self._sessions = sessions
        self._dial = dial
        self._random = random
        self._shutdown_grace = shutdown_grace
        self._leave_running = leave
        self._link: Link | None = None
        self._leaving = False

    @property
    def is_linked(self) -> bool:
        """Whether a server has welcomed the agent and the link has not ended."""
        return self._link is not None and self._link.is_open

    async def run(self, stop: asyncio.Event) -> None:
        """Stay linked until `stop` is set and the agent has left in good order, which takes a bounded time."""
        async with asyncio.TaskGroup() as group:
            keeper = group.create_task(self._keep_linked(), name="link keeper")
            await stop.wait()
            await self._leave()
            if self.is_linked:
                await asyncio.wait({keeper}, timeout=GOODBYE_SECONDS)
            keeper.cancel()

    # --- staying

    async def _keep_linked(self) -> None:
        delays = self._delays()
        while True:
            try:
                await self._carry_link()
            except (HandshakeRefused, SessionReplaced) as error:
                _log.error("server_refused_agent", reason=str(error), kind=type(error).__name__)
                delay = self._asked_delay or LONGEST_DELAY
            except LinkError as error:
                if self._link is not None and self._link.lived >= SETTLED_AFTER:
                    delays = self._delays()
                delay = self._asked_delay or next(delays)
                _log.warning("link_lost", reason=str(error), retry_in=round(delay, 2), asked_for=self._asked_delay > 0)
            else:
                return  # we said goodbye
            await asyncio.sleep(delay)

    @property
    def _asked_delay(self) -> float:
        """Seconds for which the server asked the agent to stay away; 0: it did not."""
        return self._link.reconnect_after if self._link is not None else 0.0

    async def _carry_link(self) -> None:
        """One session from its number to its end. A number that is refused is raised, and tried again at once."""
        for _ in range(MOST_RAISES):
            link = self._link = self._dial(await self._next_session())
            if self._leaving:
                link.announce_drain()
            try:
                return await link.run()
            except HandshakeRefused as error:
                if error.last_session is None:
                    raise
                await asyncio.to_thread(self._sessions.raise_session, error.last_session)
        raise HandshakeRefused("the server refuses every session number")

    async def _next_session(self) -> int:
        try:
            return await asyncio.to_thread(self._sessions.next_session)
        except OSError as error:
            raise LinkLost(f"the session's number cannot be written: {error}") from error

    def _delays(self) -> Iterator[float]:
        return full_jitter(initial=FIRST_DELAY, maximum=LONGEST_DELAY, random=self._random)

    # --- leaving

    async def _leave(self) -> None:
        """Let what runs end, stop what does not, deliver the results, say goodbye."""
        core, pool = self._pool.core, self._pool
        self._leaving = True
        pool.perform(core.drain())
        if self._link is not None:
            self._link.announce_drain()
        _log.info("agent_drains", running=core.active, staying=self._staying, grace=self._shutdown_grace)
        if not await self._within(self._shutdown_grace, lambda: core.active <= self._staying):
            _log.warning("running_tasks_stopped", running=core.active - self._staying)
            pool.stop_all(grace_seconds=STOP_GRACE, leave=self._leave_running)
            await self._within(STOP_GRACE + STOP_MARGIN + 1, lambda: core.active <= self._staying)
        delivered = await self._within(DELIVERY_SECONDS, lambda: core.is_told)
        _log.info("agent_leaves", delivered=delivered, staying=self._staying)
        if self._link is not None:
            self._link.say_goodbye("the agent stops", idle=core.is_idle)

    @property
    def _staying(self) -> int:
        """How many attempts are left to the agent's next process."""
        return self._pool.staying if self._leave_running else 0

    async def _within(self, seconds: float, condition: Callable[[], bool]) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._pool.until(condition)
        except TimeoutError:
            return condition()
        return True
