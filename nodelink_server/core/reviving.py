"""What becomes of the tasks that were with agents when a checkpoint was taken, in the server that has loaded it.

Their agents may still run them, or have ended them since: nobody knows. So what is replayable stays with its agent
until that says what it has, or its lease has run out: then it comes back. Everything else is in doubt, until its agent
tells or a person decides. A person may say at once that nothing of it runs any more: then all of it waits again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from nodelink.task import Execution, TaskStatus
from nodelink_server.core.attempt import Superseded
from nodelink_server.core.changes import changed
from nodelink_server.core.losses import ENDED_EVENT, Losses, remark_on
from nodelink_server.core.ports import Change, EventName, LoadedCheckpoint
from nodelink_server.core.ranking import Ranking
from nodelink_server.core.task import Task, doubted, revived, stopped
from nodelink_server.core.task_record import RemarkKind

_WITH_AGENTS = frozenset({TaskStatus.SENT, TaskStatus.IN_PROGRESS, TaskStatus.CANCELLING})


class Reviving:
    """Decides about each task by its class."""

    def __init__(self, *, losses: Losses, ranking: Ranking) -> None:
        self._losses = losses
        self._ranking = ranking

    def changes(self, granted: Sequence[Task], loaded: LoadedCheckpoint, *, now: int) -> Iterator[Change]:
        """What follows for those of the granted tasks that the other server had granted."""
        for task in granted:
            if task.status in _WITH_AGENTS and _start_of(task) <= loaded.start_number:
                change = self._change(task, loaded, now)
                if change is not None:
                    yield change

    def _change(self, task: Task, loaded: LoadedCheckpoint, now: int) -> Change | None:
        if loaded.as_waiting:
            return self._waiting(task, loaded, now)
        assert task.attempt is not None
        if task.phase_execution is not Execution.REPLAYABLE:
            why = f"it was with its agent when checkpoint {loaded.id} was taken"
            remark = remark_on(task, RemarkKind.UNKNOWN, now, text=why)
            return changed(task, doubted(task, message=why), EventName.TASK_UNKNOWN, remark=remark)
        if task.attempt.lease_ms is None:  # of an agent that knows no leases: nothing would ever bring it back
            return self._losses.lost(task, why="", now=now)
        return None

    def _waiting(self, task: Task, loaded: LoadedCheckpoint, now: int) -> Change:
        """A person says that it runs no more."""
        assert task.attempt is not None
        if task.status is TaskStatus.CANCELLING:
            after = stopped(task, now=now, may_have_run=True)
            return changed(task, after, ENDED_EVENT[after.status])
        return changed(
            task,
            revived(task, queue_deadline=self._ranking.queue_deadline(task.spec)),
            EventName.TASK_PENDING,
            superseded=Superseded(attempt=task.attempt, state="lost", ended_at=now),
            remark=remark_on(
                task, RemarkKind.RERUN, now, text=f"checkpoint {loaded.id}, loaded as waiting", by="local"
            ),
        )


def _start_of(task: Task) -> int:
    """Which start of a server had granted the current attempt of a task: fences begin with it."""
    assert task.attempt is not None
    return task.attempt.fence >> 32
