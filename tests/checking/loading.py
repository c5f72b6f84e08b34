"""Checkpoints: what a database held when one was taken goes on after it was lost, and what came later is lost with it.

A promise holds as far as the database lasts. So the other rules are asked of what lasts (`what_lasts`): what was
committed, granted and confirmed between a checkpoint and the loss of its database is taken out before.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TypeVar

from nodelink.task import TERMINAL, AttemptRef, Execution, Outcome, Reason, TaskStatus
from tests.checking.history import (
    Approval,
    Deed,
    Extension,
    Heard,
    History,
    Kept,
    Known,
    Listening,
    Load,
    Reprioritized,
    Request,
    Run,
    Spared,
)
from tests.checking.past import classes_of, commits_by_task, grants_of
from tests.checking.rule import Rule, needs

T = TypeVar("T", Deed, Approval, Extension, Reprioritized)


def what_lasts(history: History) -> History:
    """A history without what was lost with a database. What was confirmed meanwhile may or may not have been done."""
    for load in history.loads:
        history = _without(history, load)
    return history


def _without(history: History, load: Load) -> History:
    lost = [event for at, event in history.commits if event.revision > load.revision and at <= load.lost_at]
    revisions, touched = {event.revision for event in lost}, {event.task_id for event in lost}
    stopped = {event.task_id for event in lost if event.name == "task.cancelling"}
    return replace(
        history,
        commits=[commit for commit in history.commits if commit.event not in lost],
        requests=[_request(request, load) for request in history.requests],
        sights=[one for one in history.sights if not (load.is_lost(one.at) or load.lacks(one.task_id))],
        deeds=[_unsure(one, one.at <= load.lost_at and one.task_id in touched) for one in history.deeds],
        approvals=[_unsure(one, one.at <= load.lost_at and one.task_id in touched) for one in history.approvals],
        extensions=[
            _unsure(one, one.asked_at <= load.lost_at and one.answered_at >= load.taken_at)
            for one in history.extensions
        ],
        priorities=[_unsure(one, load.is_lost(one.at)) for one in history.priorities],
        drains=[drain for drain in history.drains if not load.is_lost(drain.since)],
        wishes=[one for one in history.wishes if one.at > load.lost_at and one.ref not in load.undone],
        runs=[_run(run, load, stopped) for run in history.runs if run.ref not in load.undone],
        spared=[*history.spared, Spared(load.taken_at, load.lost_at, "what was done then is lost")],
        listenings=[_listening(listening, load, revisions) for listening in history.listenings],
        kept=[*(_kept(task, load) for task in history.kept), *load.left_out],
    )


def _request(request: Request, load: Load) -> Request:
    """What was accepted and lost is as good as not answered."""
    accepted = [task_id for task_id in request.accepted if task_id not in load.gone]
    return replace(request, accepted=accepted, unknown=request.unknown + len(request.accepted) - len(accepted))


def _unsure(one: T, is_lost: bool) -> T:
    return one._replace(done=None) if is_lost and one.done else one


def _run(run: Run, load: Load, stopped: set[str]) -> Run:
    """What the lost database was told of the end of work, nobody tells again; what is told of a task that is not in the
    checkpoint, nobody keeps. Work that was stopped has failed, if it is not known any more that it was to stop.
    """
    is_forgotten = run.ref in load.told or any(task.id == run.ref.task_id for task in load.left_out)
    is_forgotten |= run.outcome is Outcome.CANCELLED and run.ref.task_id in stopped
    is_unheard = run.ended_at is not None and load.is_lost(run.ended_at)
    has_failed = run.outcome is None and run.reason == Reason.SUPERSEDED and run.ref.task_id in stopped
    return replace(
        run,
        kept=run.kept and not is_forgotten,
        killed_agent=run.killed_agent and not is_unheard,
        outcome=Outcome.FAILED if has_failed else run.outcome,
    )


def _listening(listening: Listening, load: Load, lost: set[int]) -> Listening:
    """Events are in no checkpoint: who comes later for the first time is told of what came later."""
    heard = [one for one in listening.heard if one.kind != "event" or one.revision not in lost]
    has_begun = any(one.kind == "event" and one.revision <= load.revision for one in heard)
    return replace(listening, heard=heard if has_begun else [Heard("reset", load.revision), *heard])


def _kept(task: Kept, load: Load) -> Kept:
    """Output is in no checkpoint."""
    failed = [one._replace(log_totals=(), output=()) if _is_old(one.ref, load) else one for one in task.failed]
    if _is_old(task.ref, load):
        return replace(task, failed=failed, log_totals=None, output=())
    return replace(task, failed=failed)


def _is_old(ref: AttemptRef | None, load: Load) -> bool:
    return ref is not None and ref.fence <= load.fence


# -- the rules --------------------------------------------------------------------------------------------------------


def what_a_checkpoint_holds_goes_on(history: History) -> Iterator[str]:
    """Every task that waited or ran in a checkpoint that was loaded exists, and has ended or is in doubt."""
    statuses = {task.id: task.status for task in history.kept}
    for load in history.loads:
        for task_id in sorted(load.waiting | {ref.task_id for ref in load.running}):
            status = statuses.get(task_id)
            if status not in TERMINAL and status is not TaskStatus.UNKNOWN:
                yield f"{task_id} was in a checkpoint; after it was loaded, it is {status or 'not there'}"


def what_ran_elsewhere_is_in_doubt_first(history: History) -> Iterator[str]:
    """What was with an agent when a checkpoint was taken, and may start only once, is in doubt when it is loaded: only
    its agent, or a person, can tell more.
    """
    class_of, commits = classes_of(history), commits_by_task(history)
    for load in history.loads:
        for ref in sorted(load.running):
            after = [event for _, event in commits.get(ref.task_id, ()) if event.revision > load.revision]
            may_start_once = class_of(ref.task_id, ref.attempt) in (Execution.ONCE, Execution.EXCLUSIVE)
            if may_start_once and after and after[0].name != "task.unknown":
                yield f"{ref} was with its agent in a checkpoint; after it was loaded came {after[0].name}"


def a_checkpoint_is_loaded_once(history: History) -> Iterator[str]:
    """Who asks for it once more is told that it was loaded before, and nothing is done."""
    for load in history.loads:
        if any(load.again):
            yield f"the checkpoint of {load.taken_at:.3f} was loaded once more"


def fences_rise_over_a_load(history: History) -> Iterator[str]:
    """What is granted after a load has a fence above all that the lost database knew, of its checkpoint or not."""
    grants = grants_of(history)
    refs = {ref for task in history.kept for ref in (task.ref, *(one.ref for one in task.failed)) if ref is not None}
    refs |= {run.ref for run in history.runs}
    for load in history.loads:
        for ref in sorted(refs):
            grant = grants.get((ref.task_id, ref.attempt))
            if grant is not None and grant.since > load.lost_at and ref.fence <= load.fence:
                yield f"{ref} was granted at {grant.since:.3f}; before the loss there was fence {load.fence}"


RULES: tuple[Rule, ...] = (
    needs(what_a_checkpoint_holds_goes_on, Known.ROWS),
    needs(what_ran_elsewhere_is_in_doubt_first, Known.EVENTS, Known.ROWS),
    needs(a_checkpoint_is_loaded_once),
    needs(fences_rise_over_a_load, Known.EVENTS, Known.EVENT_TIMES, Known.ROWS, Known.RUNS),
)
