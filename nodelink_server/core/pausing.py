"""Pausing and resuming: durably, told to whoever listens, and noted in the audit log.

A pause is in force for memory before it is committed, and a resumption is committed before memory follows. All that was
granted before rides in the same commit or in one before it: when `pause` returns, nothing more is granted.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import structlog

from nodelink.errors import FieldError, InvalidTask
from nodelink_server.core.errands import Errands
from nodelink_server.core.ledger import Ledger
from nodelink_server.core.pauses import MOST_PAUSES, SCHEDULER, Pause, Pauses, PauseStep, parts_of
from nodelink_server.core.ports import Clock, EventName, Notice
from nodelink_server.core.validation import MAX_REASON_CHARS

log = structlog.get_logger(__name__)


class Pausing:
    """Begins and ends pauses. `withdraw`: what has not begun is offered to nobody any more; `look_over`: whoever has
    room looks for work.
    """

    def __init__(
        self,
        *,
        pauses: Pauses,
        ledger: Ledger,
        errands: Errands,
        clock: Clock,
        withdraw: Callable[[], None],
        look_over: Callable[[], None],
    ) -> None:
        self._pauses = pauses
        self._ledger = ledger
        self._errands = errands
        self._clock = clock
        self._withdraw = withdraw
        self._look_over = look_over

    def start_paused(self) -> None:
        """The settings want a server that begins with nothing: it stays so until somebody resumes it."""
        if self._pauses.get(SCHEDULER) is None:
            pause = Pause(SCHEDULER, self._clock.now(), "settings", "scheduler_start is paused")
            self._pauses.begin(pause)
            self._ledger.post(pauses=[_step(pause)], notices=[_notice(pause.scope, "paused", pause.by, pause.reason)])

    async def pause(self, scope: str, *, reason: str = "", by: str = "local") -> Pause:
        """Let nothing new start in a scope; what was paused before stays as it is. Durable when it returns.

        Raises `InvalidTask`, `StoreUnavailable`.
        """
        _check_reason(reason)
        return await self._errands.do(partial(self._pause, scope, reason, by))

    async def resume(self, scope: str, *, reason: str = "", by: str = "local") -> bool:
        """Let things start in a scope again. Returns whether it was paused. Raises as `pause`."""
        _check_reason(reason)
        return await self._errands.do(partial(self._resume, scope, reason, by))

    async def _pause(self, scope: str, reason: str, by: str) -> Pause:
        before = self._pauses.get(scope)
        if before is not None:
            return before
        if len(self._pauses.all()) >= MOST_PAUSES:
            kind = next(iter(parts_of(scope)), "scope")
            raise InvalidTask(FieldError(kind, f"{MOST_PAUSES:,} are paused, the most there can be; pause everything"))
        pause = Pause(scope, self._clock.now(), by, reason)
        self._pauses.begin(pause)
        is_durable = False
        try:
            self._withdraw()
            await self._ledger.commit(pauses=[_step(pause)], notices=[_notice(scope, "paused", by, reason)])
            is_durable = True
        finally:
            if not is_durable:
                self._pauses.end(scope)
                self._look_over()
        log.warning("paused", scope=scope, by=by, why=reason)
        return pause

    async def _resume(self, scope: str, reason: str, by: str) -> bool:
        if self._pauses.get(scope) is None:
            return False
        step = PauseStep(scope, None, by, reason)
        await self._ledger.commit(pauses=[step], notices=[_notice(scope, "running", by, reason)])
        self._pauses.end(scope)
        self._look_over()
        log.warning("resumed", scope=scope, by=by, why=reason)
        return True


def _check_reason(reason: str) -> None:
    if len(reason) > MAX_REASON_CHARS:
        raise InvalidTask(FieldError("reason", f"must have at most {MAX_REASON_CHARS:,} characters"))


def _step(pause: Pause) -> PauseStep:
    return PauseStep(pause.scope, pause, pause.by, pause.reason)


def _notice(scope: str, state: str, by: str, reason: str) -> Notice:
    parts = parts_of(scope)
    told = {"scope": scope, "state": state, "by": by, "reason": reason}
    return Notice(
        EventName.SCHEDULER_STATUS, "", parts.get("pool", ""), {name: said for name, said in told.items() if said}
    )
