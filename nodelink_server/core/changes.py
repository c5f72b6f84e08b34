"""A task's next value as a change for the ledger. The one place where it follows which places are taken and freed."""

from __future__ import annotations

from nodelink.task import Finished, Reason, TaskStatus
from nodelink_server.core.attempt import Stop, Superseded
from nodelink_server.core.ports import Change, EventName, RateUse
from nodelink_server.core.task import Task, cancelled, stop_wanted, stopping
from nodelink_server.core.task_record import Remark, RemarkKind


def is_moved(change: Change) -> bool:
    """Whether a change does no more than to give a task that waits another place."""
    return change.remark is not None and change.remark.kind is RemarkKind.REPRIORITIZED


def changed(
    before: Task,
    after: Task,
    *events: EventName,
    finished: Finished | None = None,
    superseded: Superseded | None = None,
    remark: Remark | None = None,
    uses: tuple[RateUse, ...] = (),
) -> Change:
    """The change that leads from a stored value to the next one."""
    held, holds = before.holds, after.holds
    is_same = held == holds
    return Change(
        task=after,
        expected=before.revision,
        events=events,
        finished=finished,
        superseded=superseded,
        takes=() if is_same else tuple(hold for hold in holds if hold not in held),
        frees=() if is_same else tuple(hold for hold in held if hold not in holds),
        uses=uses,
        remark=remark,
    )


def cancelled_by_caller(task: Task, *, message: str, grace_ms: int, now: int) -> Change:
    """What follows from a caller's wish that a live task be stopped: it is over if it waits, else its agent is told."""
    if task.is_waiting:
        return changed(task, cancelled(task, message=message, now=now), EventName.TASK_CANCELLED)
    stop = Stop(reason=Reason.CANCELLED_BY_CALLER, message=message, grace_ms=grace_ms, asked_at=now)
    if task.status is TaskStatus.UNKNOWN:
        return changed(task, stop_wanted(task, stop=stop))
    return changed(task, stopping(task, stop=stop), EventName.TASK_CANCELLING)
