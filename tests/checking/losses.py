"""What becomes of work when contact is lost: nothing that was finished is thrown away, nothing given up in vain."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from nodelink.task import Execution, Outcome, TaskStatus
from tests.checking.history import History, Kept, Known, Patience, Run
from tests.checking.past import OFFER_SECONDS, Grant, classes_of, doubts_of_loads, grants_of, planning_attempts
from tests.checking.rule import Rule, needs

RATE = 0.03
"""A clock may be wrong by 2 % of what it measures, and so may the one that it is compared with."""
TICK_SECONDS = 2.0
"""How coarse the server counts."""


_STOPPED = frozenset({TaskStatus.CANCELLED, TaskStatus.TIMEOUT})


def finished_work_is_kept(history: History) -> Iterator[str]:
    """The end of a run, if something that lived on saw it, is what its task became, or is kept beside it.

    Unless a person had it run again elsewhere: then its agent cuts it short, and nobody asks how that went.
    """
    kept, grants, planning = {task.id: task for task in history.kept}, grants_of(history), planning_attempts(history)
    for run in history.runs:
        name = (run.ref.task_id, run.ref.attempt)
        task, grant = kept.get(run.ref.task_id), grants.get(name)
        if run.outcome is None or not run.kept or task is None:
            continue
        if run.outcome is Outcome.CANCELLED and grant is not None and grant.is_decided_by_people:
            continue
        statuses = _statuses_of(run) | (_STOPPED if name in planning else set())  # what is to stop applies no plan
        is_final = task.ref == run.ref and task.status in statuses
        left = {"planned"} if run.outcome is Outcome.COMPLETED else {str(run.outcome)}
        is_final = is_final or any(failed.ref == run.ref and failed.state in left for failed in task.failed)
        if not is_final and not _is_beside(run, task):
            yield f"{run.ref} was {run.outcome} on {run.machine}; its task is {task.status} by {task.ref}"


def _statuses_of(run: Run) -> frozenset[TaskStatus]:
    """What a task may become by such an end of its attempt."""
    if not run.tree_gone:
        return frozenset({TaskStatus.FAILED})
    if run.outcome is Outcome.CANCELLED:
        return frozenset({TaskStatus.CANCELLED, TaskStatus.TIMEOUT})
    return frozenset({TaskStatus(str(run.outcome))})


def _is_beside(run: Run, task: Kept) -> bool:
    return any(
        (late.attempt, late.fence, late.outcome) == (run.ref.attempt, run.ref.fence, str(run.outcome))
        for late in task.late_results
    )


def loss_is_admitted(history: History) -> Iterator[str]:
    """Only a once task is lost, and only an exclusive one is in doubt; and either says that it may have run. What comes
    from a checkpoint may be in doubt in either class.
    """
    loaded = {task_id for task_id, _ in doubts_of_loads(history)}
    for task in history.kept:
        expected = {TaskStatus.LOST: Execution.ONCE, TaskStatus.UNKNOWN: Execution.EXCLUSIVE}.get(task.status)
        if expected is None:
            continue
        is_loaded = task.id in loaded and task.status is TaskStatus.UNKNOWN and task.execution is Execution.ONCE
        if task.execution is not expected and not is_loaded:
            yield f"{task.id} is {task.status}, though it is {task.execution}"
        if not task.may_have_run:
            yield f"{task.id} is {task.status}, and does not say that it may have run"


def classes_are_kept(history: History) -> Iterator[str]:
    """What becomes of a lost attempt is what the class of its task says. With a load, all but the replayable is put in
    doubt.
    """
    class_of, loaded = classes_of(history), doubts_of_loads(history)
    for grant in grants_of(history).values():
        execution = class_of(grant.task_id, grant.attempt)
        if execution is None:
            continue
        doubts = [at for at in grant.doubts if execution is Execution.REPLAYABLE or (grant.task_id, at) not in loaded]
        if doubts and execution is not Execution.EXCLUSIVE:
            yield f"{grant.task_id} was in doubt, though it is {execution}"
        if grant.over == "task.lost" and execution is not Execution.ONCE:
            yield f"{grant.task_id} was lost, though it is {execution}"
        if grant.over == "task.pending" and grant.before == "in_progress" and execution is not Execution.REPLAYABLE:
            yield f"{grant.task_id} had started, and waited again, though it is {execution}"


def only_people_run_doubted_work_again(history: History) -> Iterator[str]:
    """A task in doubt waits again only if a person wanted it."""
    wanted = {deed.task_id for deed in history.deeds if deed.verb == "rerun" and deed.done is not False}
    for grant in grants_of(history).values():
        if grant.over == "task.pending" and grant.before == "unknown" and grant.task_id not in wanted:
            yield f"{grant.task_id} was in doubt, and waited again; nobody had asked for it"


# -- patience ---------------------------------------------------------------------------------------------------------


class Loss(NamedTuple):
    """At this moment a grant was given up, or its task was put in doubt, and why one could think that it was right:
    `died`: what held the work was no more. `decided_at`: since when that may have been on its way to the disk.
    """

    at: float
    decided_at: float
    grant: Grant
    machine: str
    died: bool
    run: Run | None


def nothing_is_given_up_early(history: History) -> Iterator[str]:
    """Work is given up only if what held it is no more, or its agent was not heard of for as long as is promised."""
    class_of = classes_of(history)
    heard = _heard(history)
    for loss in _losses(history):
        execution = class_of(loss.grant.task_id, loss.grant.attempt)
        if loss.died or execution is None:
            continue
        silent_since = max(loss.grant.since, _last(heard[loss.machine], loss.decided_at))
        if loss.at - silent_since < _patience(history).of(execution) * (1 - RATE) - TICK_SECONDS - history.slack:
            what = f"{loss.grant.task_id} attempt {loss.grant.attempt}"
            yield f"{what} was given up at {loss.at:.3f}; {loss.machine} was heard of at {silent_since:.3f}"


def nothing_is_given_up_after_an_outage(history: History) -> Iterator[str]:
    """In an outage, in the grace after it and while the brake is on, no lease runs out."""
    for loss in _losses(history):
        for spared in history.spared:
            if not loss.died and spared.begin + history.slack < loss.decided_at < spared.end - history.slack:
                what = f"{loss.grant.task_id} attempt {loss.grant.attempt}"
                yield f"{what} was given up at {loss.at:.3f}, in spite of: {spared.why}, to {spared.end:.3f}"


def _losses(history: History) -> Iterator[Loss]:
    runs = {(run.ref.task_id, run.ref.attempt): run for run in history.runs}
    loaded = doubts_of_loads(history)
    for name, grant in grants_of(history).items():
        run = runs.get(name)
        moments = [at for at in grant.doubts if (grant.task_id, at) not in loaded]  # nothing was silent then
        if grant.until is not None and grant.is_lost and not _is_harmless(grant, run):
            moments.append(grant.until)
        for at in moments:
            machine = run.machine if run is not None else grant.agent_id
            yield Loss(
                at, history.decided.get(at, at), grant, machine, _had_died(history, grant, run, machine, at), run
            )


def _is_harmless(grant: Grant, run: Run | None) -> bool:
    """What never began can wait again whenever it likes, or fail if that is found too late: in doubt, or after."""
    is_late = grant.over == "task.failed" and grant.before in ("unknown", "in_progress")
    return run is None and (is_late or grant.over == "task.pending")


def _had_died(history: History, grant: Grant, run: Run | None, machine: str, at: float) -> bool:
    """Whether the work was no more, and nothing knew how it had ended; or, if it never began, whether something of its
    machine has died that could have known that.
    """
    if run is not None:
        is_over = run.ended_at is not None and run.ended_at <= at + history.slack
        return is_over and (run.outcome is None or not run.kept)
    return any(
        life.machine == machine
        and life.ended_at is not None
        and grant.since - OFFER_SECONDS <= life.ended_at <= at + history.slack
        for life in history.lives
    )


def _heard(history: History) -> Mapping[str, Sequence[float]]:
    heard: dict[str, list[float]] = defaultdict(list)
    for contact in history.contacts:
        heard[contact.machine].append(contact.at)
    return heard


def _last(moments: Sequence[float], before: float) -> float:
    """The latest of these moments (they are in order) that is not after another one."""
    index = bisect_right(moments, before)
    return moments[index - 1] if index else float("-inf")


def _patience(history: History) -> Patience:
    assert history.patience is not None, "who knows of contacts knows how long to wait"
    return history.patience


_PATIENCE = (
    Known.RUNS,
    Known.RUN_ENDS,
    Known.KEEPING,
    Known.LIVES,
    Known.EVENTS,
    Known.EVENT_TIMES,
    Known.ROWS,
    Known.CONTACTS,
)
RULES: tuple[Rule, ...] = (
    needs(finished_work_is_kept, Known.RUNS, Known.RUN_ENDS, Known.KEEPING, Known.EVENTS, Known.ROWS),
    needs(loss_is_admitted, Known.ROWS),
    needs(classes_are_kept, Known.EVENTS, Known.ROWS),
    needs(only_people_run_doubted_work_again, Known.EVENTS, Known.DEEDS),
    needs(nothing_is_given_up_early, *_PATIENCE),
    needs(nothing_is_given_up_after_an_outage, *_PATIENCE),
)
