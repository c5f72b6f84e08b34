"""Other limits for what is with an agent: how long its run, its silence and all of it may take, each from now on.

The run and the silence are the agent's to keep, so it must know how, and is told until the attempt ends. The time in
all is the server's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import structlog

from nodelink.durations import format_duration_ms
from nodelink.errors import CannotExtend, FieldError, InvalidTask, StoreConflict, TaskAlreadyFinished, TaskNotFound
from nodelink.task import EXTEND, ExtendCommand, Extended
from nodelink_server.core.attempt import Extension
from nodelink_server.core.changes import changed
from nodelink_server.core.clock import ControlTime
from nodelink_server.core.ledger import Ledger
from nodelink_server.core.losses import remark_on
from nodelink_server.core.placing_checks import MAX_HEARTBEAT_MS, MIN_HEARTBEAT_MS
from nodelink_server.core.ports import Change, Clock, Store
from nodelink_server.core.states import Verb, is_legal
from nodelink_server.core.task import Task, extended
from nodelink_server.core.task_record import Remark, RemarkKind
from nodelink_server.core.validation import MAX_DELAY_MS, MAX_TIMEOUT_MS

TRIES = 20
MOST_EXTENSIONS = 1_000
"""Of one attempt: each is kept with its task."""
BY_WORK = "the work itself"
"""Who has extended a task whose handler did."""

_BOUNDS = (
    ("timeout", 1, MAX_TIMEOUT_MS),
    ("total_timeout", 1, MAX_DELAY_MS),
    ("heartbeat_timeout", MIN_HEARTBEAT_MS, MAX_HEARTBEAT_MS),
)

log = structlog.get_logger(__name__)


class NewLimits(NamedTuple):
    """Limits in milliseconds, each counted from now. None: as before."""

    timeout_ms: int | None = None
    total_timeout_ms: int | None = None
    heartbeat_timeout_ms: int | None = None

    def __str__(self) -> str:
        """In words: `timeout 10m, total timeout 1h`."""
        given = zip(("timeout", "total timeout", "heartbeat timeout"), self, strict=True)
        return ", ".join(f"{name} {format_duration_ms(ms)}" for name, ms in given if ms is not None)


class Extensions:
    """Carries out what callers want, and what work says of itself. `knows`: whether an agent has a feature."""

    def __init__(
        self,
        *,
        store: Store,
        ledger: Ledger,
        clock: Clock,
        control: ControlTime,
        knows: Callable[[str, str], bool],
    ) -> None:
        self._store = store
        self._ledger = ledger
        self._clock = clock
        self._control = control
        self._knows = knows

    async def extend(self, task_id: str, limits: NewLimits, *, by: str) -> None:
        """Give a task that is with an agent other limits.

        Raises `InvalidTask`, `TaskNotFound`, `TaskAlreadyFinished`, `CannotExtend`.
        """
        check_limits(limits)
        for _ in range(TRIES):
            found = await self._store.find([task_id])
            if not found:
                raise TaskNotFound(f"there is no task {task_id[:64]}")
            committed = await self._ledger.commit([self._change(found[0], limits, by)])
            if committed.revisions[0]:
                log.info("task_extended", task_id=task_id, by=by, limits=str(limits))
                return
        raise StoreConflict("the task changes faster than it can be extended; try again")

    def said(self, task: Task, update: Extended) -> tuple[Task, Remark] | None:
        """What follows when the work of a task has given itself other limits; None: nothing, or it was heard before.

        What is out of bounds, or too much, its agent keeps nevertheless: here it counts for nothing.
        """
        attempt = task.attempt
        assert attempt is not None
        heard = attempt.extension.heard if attempt.extension is not None else 0
        limits = NewLimits(update.timeout_ms, update.total_timeout_ms, update.heartbeat_timeout_ms)
        if update.number <= heard or not is_legal(task.status, Verb.EXTEND):
            return None
        if list(_errors(limits)) or _count(task) >= MOST_EXTENSIONS:
            log.warning("extension_refused", task_id=task.id, attempt=attempt.number, limits=str(limits))
            return None
        return self._extended(task, limits, heard=update.number), self._remark(task, limits, BY_WORK)

    def command(self, task: Task) -> ExtendCommand | None:
        """What its agent has to know of the limits of a task, as they stand now; None: nothing."""
        extension = task.attempt.extension if task.attempt is not None else None
        if extension is None or task.attempt is None or not self._knows(task.attempt.agent_id, EXTEND):
            return None
        until = extension.run_until
        left_ms = None if until is None else max(0, until - self._control.now())
        return ExtendCommand(task.ref, extension.number, left_ms, extension.heartbeat_timeout_ms, extension.heard)

    def _change(self, task: Task, limits: NewLimits, by: str) -> Change:
        if task.is_terminal:
            raise TaskAlreadyFinished(f"the task has already finished: {task.status}")
        if not is_legal(task.status, Verb.EXTEND):
            raise CannotExtend(f"only a task that is with an agent can be extended; this one is {task.status}")
        if _count(task) >= MOST_EXTENSIONS:
            raise CannotExtend(f"this attempt has been extended {MOST_EXTENSIONS:,} times already")
        self._check_agent(task, limits)
        return changed(task, self._extended(task, limits), remark=self._remark(task, limits, by))

    def _check_agent(self, task: Task, limits: NewLimits) -> None:
        """Refuse what the agent would have to keep, if it does not know how."""
        if limits.timeout_ms is None and limits.heartbeat_timeout_ms is None:
            return
        assert task.attempt is not None
        if not self._knows(task.attempt.agent_id, EXTEND):
            raise CannotExtend("its agent is of an older version, for which only total_timeout can change")

    def _extended(self, task: Task, limits: NewLimits, *, heard: int | None = None) -> Task:
        assert task.attempt is not None
        before = task.attempt.extension or Extension(0)
        now = self._control.now()
        extension = Extension(
            number=before.number + 1,
            run_until=before.run_until if limits.timeout_ms is None else now + limits.timeout_ms,
            heartbeat_timeout_ms=limits.heartbeat_timeout_ms or before.heartbeat_timeout_ms,
            heard=before.heard if heard is None else heard,
        )
        total = task.total_deadline if limits.total_timeout_ms is None else now + limits.total_timeout_ms
        return extended(task, extension=extension, total_deadline=total)

    def _remark(self, task: Task, limits: NewLimits, by: str) -> Remark:
        return remark_on(task, RemarkKind.EXTENDED, self._clock.now(), text=str(limits), by=by)


def check_limits(limits: NewLimits) -> None:
    """Refuse limits of which there are none, or that are out of bounds. Raises `InvalidTask`, naming the fields."""
    errors = list(_errors(limits))
    if errors:
        raise InvalidTask(*errors)


def _errors(limits: NewLimits) -> Iterator[FieldError]:
    if limits == NewLimits():
        yield FieldError("timeout", "is needed, or total_timeout, or heartbeat_timeout")
    for (field, least, most), ms in zip(_BOUNDS, limits, strict=True):
        if ms is not None and not least <= ms <= most:
            yield FieldError(
                field, f"must be at least {format_duration_ms(least)} and at most {format_duration_ms(most)}"
            )


def _count(task: Task) -> int:
    """How often the current attempt of a task was extended."""
    return task.attempt.extension.number if task.attempt is not None and task.attempt.extension is not None else 0
