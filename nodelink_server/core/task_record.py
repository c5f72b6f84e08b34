"""Everything that is kept of a task, for people: its value, its end, its attempts, and what happened beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from nodelink.task import Finished, LogStream, Reason, TaskStatus
from nodelink_server.core.assignment import Assignment
from nodelink_server.core.attempt import Superseded
from nodelink_server.core.states import GRANTED
from nodelink_server.core.task import Task


class RemarkKind(StrEnum):
    """What can happen to a task beside its attempts. The names are public."""

    UNKNOWN = "unknown"
    RECOVERED = "recovered"
    RESOLVED = "resolved"
    RERUN = "rerun"
    ABANDONED = "abandoned"
    REPRIORITIZED = "reprioritized"
    EXTENDED = "extended"
    APPROVED = "approved"
    REJECTED = "rejected"


class Remark(NamedTuple):
    """Something that happened to a task beside its attempts. `by`: who decided it; empty: nobody.

    It is kept with the revision of the last event of the change that it came with; 0: not yet committed. `priority`:
    what the task's was before; 0: it has stayed.
    """

    kind: RemarkKind
    at: int
    text: str = ""
    by: str = ""
    attempt: int = 0
    agent_id: str = ""
    revision: int = 0
    priority: int = 0


class LateResult(NamedTuple):
    """What an agent told of an attempt that counted no more. `outcome`: an `Outcome`, or "gone"."""

    attempt: int
    fence: int
    agent_id: str
    at: int
    outcome: str
    exit_code: int | None = None
    message: str = ""


class InForce(NamedTuple):
    """A limit that a task has to do with: how many places there are for it, and how many are taken."""

    name: str
    most: int
    taken: int


class TaskEnd(NamedTuple):
    """How a task has ended, for whoever waits for it: no more than a result tells, since thousands are read at once.

    `attempt`: the number of the last one; 0: there was none. `finished`: what its agent said; None: nothing.
    """

    task_id: str
    status: TaskStatus
    reason: Reason
    message: str
    metadata: Mapping[str, str]
    attempt: int
    ready_at: int | None
    sent_at: int | None
    started_at: int | None
    finished_at: int | None
    finished: Finished | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRecord:
    """Everything that is known of a task, for people: its value, its payload, its end, its earlier attempts."""

    task: Task
    payload: bytes
    updated_at: int
    finished: Finished | None = None
    earlier: tuple[Superseded, ...] = ()
    remarks: tuple[Remark, ...] = ()
    late_results: tuple[LateResult, ...] = ()
    assignment: Assignment | None = None
    """How the tries to give it to an agent stand; None: it waits for no agent."""
    in_force: Sequence[InForce] = ()
    """The limits that it has to do with while it lives, as they stood when it was read."""

    @property
    def may_have_run(self) -> bool:
        """Whether an attempt is granted, or there was one whose end nobody saw; of what has ended, only the latter."""
        task = self.task
        return task.may_have_run or (not task.is_terminal and (task.status in GRANTED or task.losses > 0))

    @property
    def end(self) -> TaskEnd:
        """How it has ended, if it has."""
        task, attempt = self.task, self.task.attempt
        return TaskEnd(
            task_id=task.id,
            status=task.status,
            reason=task.reason,
            message=task.message,
            metadata=task.spec.metadata,
            attempt=0 if attempt is None else attempt.number,
            ready_at=task.ready_at,
            sent_at=None if attempt is None else attempt.sent_at,
            started_at=None if attempt is None else attempt.started_at,
            finished_at=task.finished_at,
            finished=self.finished,
        )

    @property
    def log_totals(self) -> dict[LogStream, int] | None:
        """The lengths of the output, or None while they are not known."""
        return dict(self.finished.log_totals) if self.finished else None

    def log_totals_of(self, attempt: int) -> dict[LogStream, int] | None:
        """The lengths of the output of an attempt that has ended, or None if they are not known."""
        if attempt == self.task.grants:
            return self.log_totals
        failed = (past.failure for past in self.earlier if past.attempt.number == attempt)
        return next((failure.log_totals for failure in failed if failure is not None), None)
