"""Retries: as many as were asked for, and each after a failure that its agent told of."""

from __future__ import annotations

from collections.abc import Iterator

from nodelink.task import AttemptRef, Outcome, TaskStatus
from tests.checking.history import History, Kept, Known, Run
from tests.checking.past import commits_by_task, grants_of
from tests.checking.rule import Rule, needs

RATE = 0.05
_FAILED = frozenset({Outcome.FAILED, Outcome.TIMEOUT})


def retries_follow_the_policy(history: History) -> Iterator[str]:
    """A task is tried again after a known failure, until it has had its tries, and not before."""
    most = {request.token: request.max_attempts for request in history.requests}
    limited = {request.token for request in history.requests if request.total_timeout is not None}
    runs = {run.ref: run for run in history.runs}
    by_number = {(run.ref.task_id, run.ref.attempt): run for run in history.runs}
    commits = commits_by_task(history)
    for task in history.kept:
        again = [commit.event for commit in commits.get(task.id, ()) if commit.event.name == "task.retrying"]
        allowed = most.get(task.token, 1) - 1
        if len(again) > allowed:
            yield f"{task.id} was tried again {len(again)} times; {allowed} were allowed"
        for event in again:
            run = by_number.get((task.id, event.attempt))
            if run is None or run.outcome not in _FAILED or not run.tree_gone:
                yield f"{task.id} was tried again after attempt {event.attempt}, which had not failed"
        if len(again) < allowed and task.token not in limited and _has_given_up(history, task, runs):
            yield f"{task.id} is {task.status} after {len(again)} retries; {allowed} were allowed"


def the_next_try_waits_as_long_as_the_last_one_asked(history: History) -> Iterator[str]:
    """A failure that asks for time before the next try has it."""
    grants = grants_of(history)
    asking = {(run.ref.task_id, run.ref.attempt): run for run in history.runs if run.asks}
    for at, event in history.commits:
        run = asking.get((event.task_id, event.attempt)) if event.name == "task.retrying" else None
        following = grants.get((event.task_id, event.attempt + 1))
        if run is None or following is None:
            continue
        until = history.decided.get(at, at) + run.asks * (1 - RATE)
        if following.since < until:
            yield f"{event.task_id} was given out again at {following.since:.3f}; {run.ref} had asked for {run.asks} s"


def _has_given_up(history: History, task: Kept, runs: dict[AttemptRef, Run]) -> bool:
    """Whether a task ended by a failure after which it was to be tried again: nobody had wanted it to stop."""
    run = runs.get(task.ref) if task.ref is not None else None
    if task.status not in (TaskStatus.FAILED, TaskStatus.TIMEOUT) or run is None or not run.tree_gone:
        return False
    statuses = [commit.event.status for commit in commits_by_task(history).get(task.id, ())]
    is_told = run.outcome in _FAILED and not task.remarks and task.reason not in ("infrastructure", "poison")
    return is_told and statuses[-2] in ("sent", "in_progress")


RULES: tuple[Rule, ...] = (
    needs(retries_follow_the_policy, Known.RUNS, Known.RUN_ENDS, Known.EVENTS, Known.ROWS),
    needs(
        the_next_try_waits_as_long_as_the_last_one_asked, Known.RUNS, Known.RUN_ENDS, Known.EVENTS, Known.EVENT_TIMES
    ),
)
