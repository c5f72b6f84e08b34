"""Where tasks run and how many at a time: only on a machine that they may run on, and never more than there is room
and places for.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from itertools import groupby

from tests.checking.history import History, Known, Request
from tests.checking.past import ENDS, LET_GO, Grant, commits_by_task, grants_of
from tests.checking.rule import Rule, needs

COPY = " copy "
"""A copy of a machine has its labels, and its name with this and a number behind it."""
RATE_CERTAINTY = 0.5
"""In this part of a rate's time there are never too many starts, however late some are made durable."""


def a_task_runs_where_it_may(history: History) -> Iterator[str]:
    """Work begins only on a machine that its task may run on."""
    wanted = _requests(history)
    for run in history.runs:
        request = wanted.get(run.ref.task_id)
        machine = run.machine.partition(COPY)[0]
        if request is not None and request.machines is not None and machine not in request.machines:
            yield f"{run.ref} began on {run.machine}; it may run on {', '.join(sorted(request.machines))}"


def a_machine_is_never_overfull(history: History) -> Iterator[str]:
    """What runs at a time on a machine takes no more slots than it has, and no more of what it has one of. What the
    server has given up does not count: it may still be about to be stopped.
    """
    wanted, grants = _requests(history), grants_of(history)
    by_machine = defaultdict(list)
    for run in history.runs:
        if run.ref.task_id in wanted:
            by_machine[run.machine].append(run)
    for machine, runs in by_machine.items():
        slots = history.slots.get(machine)
        for later in runs:
            beside = [
                run
                for run in runs
                if run.began_at <= later.began_at
                and (run.ended_at is None or run.ended_at > later.began_at)
                and _counts(grants.get((run.ref.task_id, run.ref.attempt)), later.began_at)
            ]
            asked = [wanted[run.ref.task_id] for run in beside]
            taken = sum(request.slots for request in asked)
            if slots is not None and taken > slots and wanted[later.ref.task_id].slots > 1:
                yield f"{machine} ran {taken} slots of {slots} at {later.began_at:.3f}, when {later.ref} began"
            if wanted[later.ref.task_id].alone and sum(request.alone for request in asked) > 1:
                yield f"{machine} ran two of which it has room for one at {later.began_at:.3f}, with {later.ref}"


def _counts(grant: Grant | None, at: float) -> bool:
    """Whether an attempt is its task's present one at a moment."""
    return grant is not None and (grant.until is None or grant.until > at)


def a_limit_is_never_exceeded(history: History) -> Iterator[str]:
    """When a task is granted, fewer tasks that name a key of its are with agents than it allows."""
    wanted = _requests(history)
    holders: defaultdict[str, set[str]] = defaultdict(set)
    for at, event in history.commits:
        request = wanted.get(event.task_id)
        if request is None or not request.limits:
            continue
        for key, most in request.limits.items():
            others = holders[key] - {event.task_id}
            if event.name == "task.sent":
                if len(others) >= most:
                    yield f"{event.task_id} was granted at {at:.3f}, with {len(others)} others under {key}: {most}"
                holders[key].add(event.task_id)
            elif event.name in ENDS | LET_GO:
                holders[key].discard(event.task_id)


def a_rate_is_never_exceeded(history: History) -> Iterator[str]:
    """In no stretch of its time are more tasks granted that name a rate than it allows. An apply goes on with what its
    plan was begun under: a task between the two waits for nothing but an approval and an agent.
    """
    wanted = _requests(history)
    starts: defaultdict[str, list[float]] = defaultdict(list)
    applying: set[str] = set()
    for at, event in history.commits:
        request = wanted.get(event.task_id)
        if event.name == "task.apply_pending":
            applying.add(event.task_id)
        elif event.name in LET_GO:
            applying.discard(event.task_id)
        if event.name != "task.sent" or event.task_id in applying or request is None or request.rate is None:
            continue
        key, most, seconds = request.rate
        starts[key].append(at)
        recent = [start for start in starts[key] if start > at - seconds * RATE_CERTAINTY]
        if len(recent) > most:
            yield f"{event.task_id} was granted at {at:.3f} as number {len(recent)} of {most} under rate {key}"


def only_what_does_not_wait_is_skipped(history: History) -> Iterator[str]:
    """A task is skipped only if it was to be, before it was given to anybody, and while another wanted its lock or its
    workspace.
    """
    wanted, locks = _requests(history), {task.id: task.lock for task in history.kept}
    workspaces = {task_id: request.workspace for task_id, request in wanted.items() if request.workspace}
    repeated = {request.lock for request in history.requests if request.key is not None or request.unique}
    lives = {task_id: (commits[0].at, commits[-1].at) for task_id, commits in commits_by_task(history).items()}
    for task_id, commits in commits_by_task(history).items():
        names = [commit.event.name for commit in commits]
        if "task.skipped" not in names:
            continue
        at, request = commits[names.index("task.skipped")].at, wanted.get(task_id)
        if request is None or not request.skips or "task.sent" in names:
            yield f"{task_id} was skipped at {at:.3f}, which it was not to be"
        elif not (request.limits or request.rate):  # else it may have been for want of those
            rivals = [other for other, lock in locks.items() if lock == locks[task_id] and other != task_id]
            rivals += [other for other, one in workspaces.items() if one == request.workspace and other != task_id]
            begun = [lives[other] for other in rivals if lives[other][0] <= at + history.slack]
            if locks[task_id] in repeated:  # who was refused, or asked again, may have had it for a moment
                continue
            if not any(last >= at - HAND_OVER_SECONDS for _, last in begun):
                yield f"{task_id} was skipped at {at:.3f}, when nobody else wanted its lock or workspace"


def a_unique_key_has_one_task(history: History) -> Iterator[str]:
    """After each commit at most one live task has a unique key. Who is being stopped, or in doubt, may have lost it."""
    wanted = _requests(history)
    holders: defaultdict[str, set[str]] = defaultdict(set)
    for at, commits in groupby(history.commits, key=lambda commit: commit.at):
        touched = set()
        for _, event in commits:
            request = wanted.get(event.task_id)
            if request is None or not request.unique:
                continue
            touched.add(request.unique)
            if event.name in ENDS or event.status in ("cancelling", "unknown"):
                holders[request.unique].discard(event.task_id)
            elif event.name == "task.created":
                holders[request.unique].add(event.task_id)
        for key in touched:
            if len(holders[key]) > 1:
                yield f"{', '.join(sorted(holders[key]))} live at {at:.3f} with unique key {key}"


def nothing_is_given_to_a_drained_agent(history: History) -> Iterator[str]:
    """From the answer to a drain until it is taken back, no task is given to that agent, over restarts too."""
    for at, event in history.commits if history.drains else ():
        if event.name != "task.sent":
            continue
        decided = history.decided.get(at, at)
        for drain in history.drains:
            if drain.agent_id == event.agent_id and drain.since + history.slack < decided and at < drain.until:
                yield f"{event.task_id} was given to {event.agent_id} at {at:.3f}, drained since {drain.since:.3f}"


def a_priority_stays_as_it_was_set(history: History) -> Iterator[str]:
    """The last priority that was set is the one that a task has."""
    last: dict[str, int | None] = {}
    for task_id, priority, done, _ in history.priorities:
        if done is None:
            last[task_id] = None  # nobody knows
        elif done:
            last[task_id] = priority
    for task in history.kept:
        wanted = last.get(task.id)
        if wanted is not None and task.priority != wanted:
            yield f"{task.id} has priority {task.priority}; {wanted} was set last"


def what_is_joined_has_the_key(history: History) -> Iterator[str]:
    """Who is told of a live task instead is told of one with the same unique key."""
    wanted = _requests(history)
    for request in history.requests:
        for task_id in request.joined:
            if task_id in wanted and wanted[task_id].unique != request.unique:
                yield f"{request.token} was told of {task_id}, whose unique key is {wanted[task_id].unique!r}"


HAND_OVER_SECONDS = 30.0
"""So long after its end, in a slow database, a lock may still be about to be handed on."""


def _requests(history: History) -> dict[str, Request]:
    """What was asked for, by the id of the task that it became."""
    by_token = {request.token: request for request in history.requests}
    return {task.id: by_token[task.token] for task in history.kept if task.token in by_token}


_TOLD = (Known.REQUESTS, Known.ROWS)
RULES: tuple[Rule, ...] = (
    needs(a_task_runs_where_it_may, *_TOLD, Known.RUNS),
    needs(a_machine_is_never_overfull, *_TOLD, Known.RUNS, Known.RUN_ENDS),
    needs(a_limit_is_never_exceeded, *_TOLD, Known.EVENTS),
    needs(a_rate_is_never_exceeded, *_TOLD, Known.EVENTS, Known.EVENT_TIMES),
    needs(a_unique_key_has_one_task, *_TOLD, Known.EVENTS, Known.EVENT_TIMES),
    needs(nothing_is_given_to_a_drained_agent, Known.EVENTS, Known.EVENT_TIMES),
    needs(a_priority_stays_as_it_was_set, Known.ROWS),
    needs(what_is_joined_has_the_key, *_TOLD),
    needs(only_what_does_not_wait_is_skipped, *_TOLD, Known.EVENTS, Known.EVENT_TIMES),
)
