"""Limits of time: nothing is given away when its time is over, nothing is stopped before, and agents know of both."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

from nodelink.task import Outcome, Reason, TaskStatus
from nodelink_server.core.extensions import BY_WORK
from tests.checking.history import Extension, History, Known, Run
from tests.checking.past import Grant, commits_by_task, grants_of
from tests.checking.rule import Rule, needs

RATE = 0.05
LATE_SECONDS = 10.0
"""How much later than it should a timer may be heard of, if the database is slow."""
READY = frozenset({"task.pending", "task.sent"})
OF_RUNS = frozenset({Reason.RUN_TIMEOUT, Reason.HEARTBEAT_TIMEOUT})
"""Why a run may be stopped by whoever holds it."""


def nothing_is_granted_after_its_time(history: History) -> Iterator[str]:
    """A task with a total timeout is given to no agent when that is over, unless a person wants it. What an outage
    takes does not count.
    """
    wanted = {deed.task_id for deed in history.deeds if deed.verb == "rerun" and deed.done is not False}
    limits = {request.token: request.total_timeout for request in history.requests}
    tokens = {task.id: task.token for task in history.kept}
    ready = {
        task_id: next((at for at, event in commits if event.name in READY), 0.0)
        for task_id, commits in commits_by_task(history).items()
    }
    extensions = _extensions(history)
    for grant in grants_of(history).values():
        limit, since = limits.get(tokens.get(grant.task_id, "")), ready[grant.task_id]
        if limit is None or grant.task_id in wanted:
            continue
        given = [(one.answered_at, one.total_timeout) for one in extensions[grant.task_id] if one.done is not False]
        given = [(since, limit), *given]
        if all(grant.since > _latest(history, grant, *one) for one in given):
            yield f"{grant.task_id} was granted at {grant.since:.3f}; its {limit:.0f} s had begun at {since:.3f}"


def _latest(history: History, grant: Grant, since: float, seconds: float | None) -> float:
    """When a task with so much time may be granted at the latest."""
    if seconds is None:
        return -math.inf
    return since + seconds * (1 + RATE) + _spared(history, since, grant.since) + LATE_SECONDS


def _spared(history: History, since: float, until: float) -> float:
    """How much of a time was spared, counted generously."""
    return sum(max(0.0, min(one.end, until) - max(one.begin, since)) for one in history.spared)


def an_extension_of_the_time_in_all_counts(history: History) -> Iterator[str]:
    """A task that was given more time in all has it."""
    commits = commits_by_task(history)
    for task_id, asked in _extensions(history).items():
        last = _last([one for one in asked if one.total_timeout is not None])
        if last is None or last.total_timeout is None:
            continue
        until = last.asked_at + last.total_timeout * (1 - RATE)
        events = commits.get(task_id, ())
        ends = (at for at, event in events if event.reason == Reason.TOTAL_TIMEOUT and at > last.asked_at)
        over = next(ends, math.inf)  # it may have been over before, and a person had it run again
        if over < until:
            yield f"{task_id} was over at {over:.3f}; it had been given until {until:.3f}"


def an_agent_is_told_of_extensions(history: History) -> Iterator[str]:
    """Who hears of the server after an extension has heard of that as well, while the work goes on."""
    grants, commits, runs = grants_of(history), commits_by_task(history), _runs(history)
    told: dict[object, list[tuple[float, int]]] = defaultdict(list)
    for at, machine, ref, number in history.told:
        told[machine, ref].append((at, number))
    for one in history.extensions:
        if not one.done or one.ref is None or not one.is_the_agents:
            continue
        grant = grants[one.task_id, one.ref.attempt]
        stopped = next((at for at, event in commits.get(one.task_id, ()) if event.name == "task.cancelling"), math.inf)
        for run in runs[one.ref]:
            heard = _heard(history, run.machine, max(one.answered_at, run.began_at))
            until = min(_end(run), stopped, math.inf if grant.until is None else grant.until)
            is_told = any(at <= heard and number >= one.number for at, number in told[run.machine, one.ref])
            if heard < until and not is_told and not _counts_no_more(run):
                yield f"{one.ref} on {run.machine} was extended at {one.answered_at:.3f}, and not told by {heard:.3f}"


def _heard(history: History, machine: str, since: float) -> float:
    """When the first heartbeat came back to a machine that it had sent after some moment."""
    return min((ack.at for ack in history.acks if ack.machine == machine and ack.sent_at > since), default=math.inf)


def _counts_no_more(run: Run) -> bool:
    """Whether its agent was having it stopped for reasons of its own."""
    return run.lapsed or run.reason == Reason.SUPERSEDED


def no_run_is_stopped_before_its_time(history: History) -> Iterator[str]:
    """Work that knows that it was given more time has it, whoever stops it."""
    extensions = _extensions(history)
    for run in history.runs:
        if run.reason != Reason.RUN_TIMEOUT or run.ended_at is None:
            continue
        known = max((number for _, number in run.limits), default=0)
        asked = [one for one in extensions[run.ref.task_id] if one.timeout is not None]
        last = _last([one for one in asked if one.done is None or (one.ref == run.ref and one.number <= known)])
        if last is None or last.timeout is None:
            continue
        until = last.asked_at + last.timeout * (1 - RATE)
        if run.ended_at < until:
            yield f"{run.ref} was stopped at {run.ended_at:.3f}; it had been given until {until:.3f}"


def the_server_hears_what_work_gives_itself(history: History) -> Iterator[str]:
    """Who was heard of twice while work ran that had given itself more time has been heard of that as well."""
    kept = {task.ref: task for task in history.kept if task.status is TaskStatus.COMPLETED}
    runs = {run.ref: run for run in history.runs}
    for at, machine, ref, _ in history.wishes:
        task, run = kept.get(ref), runs[ref]
        if task is None or run.outcome is not Outcome.COMPLETED or run.machine != machine:
            continue
        heard = _heard(history, machine, _heard(history, machine, at))
        if heard < _end(run) and not any(remark.by == BY_WORK for remark in task.remarks):
            yield f"{ref} on {machine} gave itself more time at {at:.3f}; the server did not hear of it by {heard:.3f}"


def what_work_gives_itself_counts(history: History) -> Iterator[str]:
    """Work that has given itself more time has it, if no caller has said otherwise."""
    extensions = _extensions(history)
    runs = {run.ref: run for run in history.runs}
    for at, machine, ref, seconds in history.wishes:
        run = runs[ref]
        if any(one.timeout is not None for one in extensions[ref.task_id]) or run.reason != Reason.RUN_TIMEOUT:
            continue
        if _end(run) < at + seconds * (1 - RATE):
            yield f"{ref} on {machine} gave itself {seconds:.0f} s at {at:.3f}, and was stopped at {_end(run):.3f}"


def a_timeout_has_the_reason_of_its_work(history: History) -> Iterator[str]:
    """A task timed out because its work did, or was to be stopped, for the same reason; and for silence only if it was
    not to be silent.
    """
    stops = {(event.task_id, event.reason) for _, event in history.commits if event.name == "task.cancelling"}
    watched = {task_id for request in history.requests if request.is_watched for task_id in request.accepted}
    watched |= {one.task_id for one in history.extensions if one.heartbeat_timeout is not None}
    tokens = {request.token for request in history.requests if request.is_watched}
    runs = _runs(history)
    for task in history.kept:
        if task.status is not TaskStatus.TIMEOUT or task.reason not in OF_RUNS:
            continue
        reasons = {run.reason for run in runs[task.ref] if run.outcome is Outcome.TIMEOUT}
        if task.reason not in reasons and (task.id, task.reason) not in stops:
            yield f"{task.id} is {task.reason}; its work ended for {sorted(reasons)}"
        if task.reason == Reason.HEARTBEAT_TIMEOUT and task.id not in watched and task.token not in tokens:
            yield f"{task.id} was stopped because it was silent, and had every right to be"


def _extensions(history: History) -> Mapping[str, Sequence[Extension]]:
    """Those that were carried out, or may have been, by their task."""
    found: dict[str, list[Extension]] = defaultdict(list)
    for one in history.extensions:
        if one.done is not False:
            found[one.task_id].append(one)
    return found


def _last(asked: Sequence[Extension]) -> Extension | None:
    """The one that counts. None: there is none, or nobody can say."""
    if any(one.done is None for one in asked):
        return None
    return max(asked, key=lambda one: one.asked_at, default=None)


def _runs(history: History) -> Mapping[object, Sequence[Run]]:
    """The runs of each attempt."""
    found: dict[object, list[Run]] = defaultdict(list)
    for run in history.runs:
        found[run.ref].append(run)
    return found


def _end(run: Run) -> float:
    return math.inf if run.ended_at is None else run.ended_at


RULES: tuple[Rule, ...] = (
    needs(nothing_is_granted_after_its_time, Known.EVENTS, Known.EVENT_TIMES, Known.ROWS, Known.CONTACTS),
    needs(an_extension_of_the_time_in_all_counts, Known.EVENTS, Known.EVENT_TIMES, Known.EXTENSIONS),
    needs(an_agent_is_told_of_extensions, Known.EVENTS, Known.EVENT_TIMES, Known.RUNS, Known.EXTENSIONS),
    needs(no_run_is_stopped_before_its_time, Known.RUN_ENDS, Known.REASONS, Known.EXTENSIONS),
    needs(the_server_hears_what_work_gives_itself, Known.RUN_ENDS, Known.EXTENSIONS, Known.ROWS),
    needs(what_work_gives_itself_counts, Known.RUN_ENDS, Known.REASONS, Known.EXTENSIONS),
    needs(a_timeout_has_the_reason_of_its_work, Known.EVENTS, Known.RUN_ENDS, Known.REASONS, Known.ROWS),
)
