"""Starts of work: how often, with whose leave, and what runs beside what."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

from nodelink.task import Execution, Outcome, TaskStatus
from tests.checking.history import History, Known, Run
from tests.checking.past import BY_PEOPLE, ENDS, GIVEN_BACK, LET_GO, Grant, ends_of, grants_of, planning_attempts
from tests.checking.rule import Rule, needs

LINKS = frozenset({"agent.connected", "agent.disconnected"})
TOLD_SECONDS = 1.0
"""So long after a hello was answered, what it led to is durable at the latest, or was before."""
MOST_DEATHS = 2
STOP_SECONDS = 25.0
"""How long a stop may take in all: on its way, its grace, and the end of the work."""
CONTACTS_TO_STOP = 3
"""So often an agent must have been heard of before it must have heard: an answer can be lost."""


def success_is_real(history: History) -> Iterator[str]:
    """A completed task's last attempt did end well, unless a person says so."""
    runs = {run.ref: run for run in history.runs}
    for task in history.kept:
        if task.status is TaskStatus.COMPLETED and task.reason != "resolved":
            run = runs.get(task.ref) if task.ref is not None else None
            if run is None or run.outcome is not Outcome.COMPLETED:
                yield f"{task.id} is completed; its attempt {'did not run' if run is None else f'was {run.outcome}'}"


def an_attempt_starts_once(history: History) -> Iterator[str]:
    """(task, attempt, fence) names one execution."""
    for ref, count in Counter(run.ref for run in history.runs).items():
        if count > 1:
            yield f"{ref} started {count} times"


def what_may_start_once_starts_once(history: History) -> Iterator[str]:
    """A task of class once or exclusive starts at most once, and once more for each time that a person wanted it, or
    that it failed and was to be tried again.
    """
    classes = {request.token: request.execution for request in history.requests}
    reruns = Counter(deed.task_id for deed in history.deeds if deed.verb == "rerun" and deed.done is not False)
    retries = Counter(event.task_id for _, event in history.commits if event.name == "task.retrying")
    planning = planning_attempts(history)
    runs = (run for run in history.runs if (run.ref.task_id, run.ref.attempt) not in planning)
    counts = Counter((run.token, run.ref.task_id) for run in runs)
    for (token, task_id), count in counts.items():
        if (
            classes.get(token, Execution.ONCE) is not Execution.REPLAYABLE
            and count > 1 + reruns[task_id] + retries[task_id]
        ):
            asked = f"{reruns[task_id]} reruns were asked for, {retries[task_id]} failed before"
            yield f"{task_id} started {count} times; {asked}"


def attempts_never_overlap(history: History) -> Iterator[str]:
    """Of one task, no attempt begins before the earlier ones have ended; if a person had it run again, not on the same
    machine.
    """
    rerun = {deed.task_id for deed in history.deeds if deed.verb == "rerun" and deed.done is not False}
    for task_id, runs in _by_task(history.runs).items():
        for earlier, later in pairwise(sorted(runs, key=lambda run: run.began_at)):
            is_running = earlier.ended_at is None or earlier.ended_at > later.began_at
            if is_running and (task_id not in rerun or earlier.machine == later.machine):
                yield f"{task_id}: {later.ref} began at {later.began_at:.3f}, {earlier.ref} was running"


def every_start_has_its_fence(history: History) -> Iterator[str]:
    """The very grant that is named by a start was durable and current."""
    for run in history.runs:
        if not run.granted:
            yield f"{run.ref} started on {run.machine} at {run.began_at:.3f} without a current grant"


def nothing_starts_without_a_grant(history: History) -> Iterator[str]:
    """Every start lies behind the commit of its grant, and before whatever ended that."""
    grants, slack = grants_of(history), history.slack
    for run in history.runs:
        grant = grants.get((run.ref.task_id, run.ref.attempt))
        if grant is None:
            yield f"{run.ref} started on {run.machine}; it was never granted"
        elif run.began_at < grant.since - slack:
            yield f"{run.ref} started at {run.began_at:.3f}; it was granted at {grant.since:.3f}"
        elif _is_too_late(run, grant, slack):
            yield f"{run.ref} started at {run.began_at:.3f}; {grant.over} had ended it at {grant.until:.3f}"


def _is_too_late(run: Run, grant: Grant, slack: float) -> bool:
    """Whom a person overruled cannot know it yet."""
    return grant.until is not None and run.began_at > grant.until + slack and not grant.is_decided_by_people


def nothing_runs_after_the_end(history: History) -> Iterator[str]:
    """When a task has ended, nothing of it runs, then or later; except where doubt was admitted."""
    ends, grants = ends_of(history), grants_of(history)
    for run in history.runs:
        end = ends.get(run.ref.task_id)
        grant = grants.get((run.ref.task_id, run.ref.attempt))
        if end is None or end.event.name == "task.lost" or end.event.reason in BY_PEOPLE:
            continue
        if grant is not None and grant.is_decided_by_people:
            continue
        at = end.at + history.slack
        if run.began_at > at or run.ended_at is None or run.ended_at > at:
            yield f"{run.ref} ran until {run.ended_at}; its task had ended at {end.at:.3f}"


def nothing_runs_after_it_was_given_up(history: History) -> Iterator[str]:
    """What may be given to another agent runs no more on the one that had it: each agent's lease is over before the
    server's, whatever happens to its clock.
    """
    grants = grants_of(history)
    for run in history.runs:
        grant = grants.get((run.ref.task_id, run.ref.attempt))
        if grant is None or grant.until is None or grant.over not in GIVEN_BACK or grant.is_decided_by_people:
            continue
        at = grant.until + history.slack
        if run.ended_at is None or run.ended_at > at:
            yield f"{run.ref} ran until {run.ended_at}; it was given up at {at:.3f}"


def a_stop_reaches_its_agent(history: History) -> Iterator[str]:
    """When a task is to be stopped and its agent has been heard of since, its work is over in time."""
    asked = {event.task_id: at for at, event in history.commits if event.name == "task.cancelling"}
    for run in history.runs:
        at = asked.get(run.ref.task_id)
        if at is None or not run.kept or run.began_at > at:
            continue
        end = float("inf") if run.ended_at is None else run.ended_at
        heard = sum(
            contact.machine == run.machine and at < contact.at < end - STOP_SECONDS for contact in history.contacts
        )
        if heard >= CONTACTS_TO_STOP:
            yield f"{run.ref} was to stop at {at:.3f}, ran until {run.ended_at}, and {run.machine} was heard of"


def poison_is_contained(history: History) -> Iterator[str]:
    """No task has a third agent that might die of it, when it is known that two have."""
    grants = grants_of(history)
    for task_id, runs in _by_task(history.runs).items():
        deaths = sorted(at for run in runs if (at := _death_heard_at(history, run, grants)) is not None)
        for run in runs if len(deaths) >= MOST_DEATHS else ():
            if run.began_at > deaths[MOST_DEATHS - 1]:
                yield f"{run.ref} started on {run.machine}; {len(deaths)} agents had died while they ran {task_id}"


def _death_heard_at(history: History, run: Run, grants: Mapping[tuple[str, int], Grant]) -> float | None:
    """When the server was told that an agent had died of this run, while the run counted still."""
    grant = grants.get((run.ref.task_id, run.ref.attempt))
    if not run.killed_agent or grant is None or grant.until is None or run.ended_at is None:
        return None
    since, until = run.ended_at, grant.until
    if grant.is_decided_by_people or _may_not_be_told(history, run.machine, since, until):
        return None
    return until if _successor_connected(history, run.machine, since, until) else None


def _successor_connected(history: History, machine: str, since: float, until: float) -> bool:
    """Whether a process that began after `since` has connected and stayed: the one before is heard of even later."""
    words = [
        (event.name, at)
        for at, event in history.commits
        if event.agent_id == machine and event.name in LINKS and since < at <= until
    ]
    if not words or words[-1][0] != "agent.connected":
        return False
    connected = words[-1][1]
    later = {
        life.number
        for life in history.lives
        if (life.machine, life.kind) == (machine, "agent") and life.began_at >= since
    }
    spoke = {
        contact.life
        for contact in history.contacts
        if contact.machine == machine and contact.life and connected <= contact.at <= until + TOLD_SECONDS
    }
    return bool(spoke) and spoke <= later


def _may_not_be_told(history: History, machine: str, since: float, until: float) -> bool:
    """What a machine would tell may be gone with a reboot, and a copy knows nothing of what the first one was given."""
    return " copy" in machine or any(
        life.machine.startswith(f"{machine} copy")
        or (life.kind == "host" and life.machine == machine and since <= (life.ended_at or 0.0) <= until)
        for life in history.lives
    )


# -- locks ------------------------------------------------------------------------------------------------------------


def a_lock_has_one_holder(history: History) -> Iterator[str]:
    """From its grant until it has ended, or waits again, a task alone has its lock."""
    locks = {task.id: task.lock for task in history.kept if task.lock}
    holder: dict[str, str] = {}
    for at, event in history.commits:
        lock = locks.get(event.task_id)
        if lock is None:
            continue
        if event.name == "task.sent":
            if holder.get(lock, event.task_id) != event.task_id:
                yield f"{event.task_id} was granted at {at:.3f}; {holder[lock]} has {lock}"
            holder[lock] = event.task_id
        elif event.name in ENDS | LET_GO and holder.get(lock) == event.task_id:
            del holder[lock]


def holders_of_a_lock_never_overlap(history: History) -> Iterator[str]:
    """Work under one lock runs one after the other; except where doubt was admitted before the later one began."""
    locks = {task.id: task.lock for task in history.kept if task.lock}
    grants = grants_of(history)
    by_lock: dict[str, list[Run]] = defaultdict(list)
    for run in history.runs:
        if run.ref.task_id in locks:
            by_lock[locks[run.ref.task_id]].append(run)
    for lock, runs in by_lock.items():
        runs.sort(key=lambda run: run.began_at)
        for index, later in enumerate(runs):
            for earlier in runs[:index]:
                still_runs = earlier.ended_at is None or earlier.ended_at > later.began_at
                if still_runs and not _doubt_was_admitted(earlier, later, grants):
                    yield f"{lock}: {later.ref} began at {later.began_at:.3f}, {earlier.ref} was running"


def _doubt_was_admitted(earlier: Run, later: Run, grants: Mapping[tuple[str, int], Grant]) -> bool:
    """Whether the earlier one's lock was let go of though nobody knew whether it had ended."""
    grant = grants.get((earlier.ref.task_id, earlier.ref.attempt))
    if grant is None or grant.until is None or grant.until > later.began_at:
        return False
    return grant.is_decided_by_people or grant.over == "task.lost"


def _by_task(runs: Sequence[Run]) -> Mapping[str, list[Run]]:
    by_task: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        by_task[run.ref.task_id].append(run)
    return by_task


_HEARD = (Known.RUNS, Known.RUN_ENDS, Known.EVENTS, Known.EVENT_TIMES, Known.CONTACTS)
RULES: tuple[Rule, ...] = (
    needs(success_is_real, Known.RUNS, Known.RUN_ENDS, Known.ROWS),
    needs(an_attempt_starts_once, Known.RUNS),
    needs(what_may_start_once_starts_once, Known.EVENTS, Known.RUNS, Known.REQUESTS, Known.DEEDS),
    needs(attempts_never_overlap, Known.RUNS, Known.RUN_ENDS, Known.DEEDS),
    needs(every_start_has_its_fence, Known.RUNS, Known.FENCES),
    needs(nothing_starts_without_a_grant, Known.RUNS, Known.EVENTS, Known.EVENT_TIMES),
    needs(nothing_runs_after_the_end, Known.RUNS, Known.RUN_ENDS, Known.EVENTS, Known.EVENT_TIMES),
    needs(nothing_runs_after_it_was_given_up, Known.RUNS, Known.RUN_ENDS, Known.EVENTS, Known.EVENT_TIMES),
    needs(a_stop_reaches_its_agent, *_HEARD, Known.KEEPING),
    needs(poison_is_contained, *_HEARD, Known.LIVES),
    needs(a_lock_has_one_holder, Known.EVENTS, Known.ROWS),
    needs(holders_of_a_lock_never_overlap, Known.RUNS, Known.RUN_ENDS, Known.EVENTS, Known.EVENT_TIMES, Known.ROWS),
)
