"""The statuses of tasks: every one in its order, and one end that stays."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

from nodelink.task import TERMINAL, Execution, TaskStatus
from tests.checking.history import History, Known
from tests.checking.past import ENDS, commits_by_task, doubts_of_loads
from tests.checking.rule import Rule, needs

_PLANNED = ("plan_completed", "apply_pending")
_LIVE = ("created", "scheduled", "pending", "sent", "in_progress", "cancelling", "unknown", *_PLANNED)


def _into(status: str, *before: str) -> Mapping[str, frozenset[str]]:
    return dict.fromkeys(before, frozenset({status}))


MOVES: Mapping[str, Mapping[str, frozenset[str]]] = {
    "task.created": _into("created", ""),
    "task.scheduled": _into("scheduled", "created"),
    "task.retrying": _into("scheduled", "sent", "in_progress"),
    "task.pending": _into("pending", "created", "scheduled", "sent", "in_progress", "unknown"),
    "task.sent": _into("sent", "created", "pending", "apply_pending"),
    "task.plan_completed": _into("plan_completed", "in_progress"),
    "task.apply_pending": _into("apply_pending", "plan_completed", "sent"),
    "task.started": {
        **_into("in_progress", "sent", "in_progress"),
        **_into("cancelling", "cancelling"),
        "unknown": frozenset({"in_progress", "cancelling"}),
    },
    "task.cancelling": _into("cancelling", "sent", "in_progress"),
    "task.unknown": _into("unknown", "sent", "in_progress", "cancelling"),
    "task.recovered": {"unknown": frozenset({"in_progress", "cancelling"})},
    "task.completed": _into("completed", "in_progress", "cancelling", "unknown"),
    "task.failed": _into("failed", *_LIVE),
    "task.timeout": _into("timeout", "scheduled", "pending", "in_progress", "cancelling", "unknown", *_PLANNED),
    "task.cancelled": _into("cancelled", "scheduled", "pending", "cancelling", "unknown", *_PLANNED),
    "task.lost": _into("lost", "sent", "in_progress", "cancelling"),
    "task.skipped": _into("skipped", "created", "scheduled"),
}
"""By the event of a task: from which status to which it may lead. From an end nothing leads anywhere."""

FAILED_UNTOLD = frozenset({"abandoned", "infrastructure", "poison"})
"""The reasons for which a task fails that no agent has said to have begun."""


def every_task_ends(history: History) -> Iterator[str]:
    """After quiescence nothing is left undone, but what is in doubt and waits for a person: what is exclusive, or was
    with an agent in a checkpoint.
    """
    loaded = {task_id for task_id, _ in doubts_of_loads(history)}
    for task in history.kept:
        may_be_in_doubt = task.execution is Execution.EXCLUSIVE or task.id in loaded
        in_doubt = task.status is TaskStatus.UNKNOWN and may_be_in_doubt and task.may_have_run
        if task.status not in TERMINAL and not in_doubt:
            yield f"{task.id} is still {task.status}"


def an_end_is_for_ever(history: History) -> Iterator[str]:
    """A task ends once, and what it ended as is what the database holds."""
    ends: dict[str, list[str]] = defaultdict(list)
    for _, event in history.commits:
        if event.name in ENDS:
            ends[event.task_id].append(event.status)
    for task in history.kept:
        expected = [task.status] if task.status in TERMINAL else []
        if ends[task.id] != expected:
            yield f"{task.id} is {task.status}; its ends were {ends[task.id]}"


def an_end_that_was_shown_stays(history: History) -> Iterator[str]:
    """Whoever was told of an end was told the truth."""
    statuses = {task.id: task.status for task in history.kept}
    for sight in history.sights:
        if sight.status in TERMINAL and statuses.get(sight.task_id) != sight.status:
            yield f"{sight.task_id} was shown as {sight.status}, and is {statuses.get(sight.task_id)}"


def events_follow_the_table(history: History) -> Iterator[str]:
    """The events of a task are in a legal order, and revisions only rise."""
    newest = 0
    for _, event in history.commits:
        if event.revision <= newest:
            yield f"revision {event.revision} came after {newest}"
        newest = event.revision
    for task_id, commits in commits_by_task(history).items():
        status = ""
        for _, event in commits:
            if event.status not in MOVES.get(event.name, {}).get(status, frozenset()):
                yield f"{task_id}: {event.name} ({event.status}) from {status or 'nothing'}"
            if event.name == "task.failed" and status == "sent" and event.reason not in FAILED_UNTOLD:
                yield f"{task_id}: failed for {event.reason or 'no reason'}, and had never started"
            status = event.status


def the_last_event_is_the_task(history: History) -> Iterator[str]:
    """A task is what was told of it last."""
    last = {task_id: commits[-1].event.status for task_id, commits in commits_by_task(history).items()}
    for task in history.kept:
        if last.get(task.id) != task.status:
            yield f"{task.id} is {task.status}; its last event said {last.get(task.id, 'nothing')}"


RULES: tuple[Rule, ...] = (
    needs(every_task_ends, Known.ROWS),
    needs(an_end_is_for_ever, Known.EVENTS, Known.ROWS),
    needs(an_end_that_was_shown_stays, Known.SIGHTS, Known.ROWS),
    needs(events_follow_the_table, Known.EVENTS),
    needs(the_last_event_is_the_task, Known.EVENTS, Known.ROWS),
)
