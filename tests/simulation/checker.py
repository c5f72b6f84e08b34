"""The promises, asked of a history. Each rule looks at one promise and names every place where it was broken.

Nothing here knows how NodeLink works: the legal orders of events are written down once more, from the table of
statuses.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import NamedTuple

from nodelink.task import TERMINAL, Execution, LogStream, Outcome, TaskStatus
from tests.simulation.history import Commit, Heard, History, Kept, Life, Listening, Request, Run
from tests.simulation.plans import output_of

Rule = Callable[[History], Iterator[str]]

ENDS = frozenset({"task.completed", "task.failed", "task.timeout", "task.cancelled", "task.lost"})
NEXT: Mapping[str, frozenset[str]] = {
    "": frozenset({"task.created"}),
    "task.created": frozenset({"task.scheduled", "task.pending", "task.sent"}),
    "task.scheduled": frozenset({"task.pending", "task.cancelled"}),
    "task.pending": frozenset({"task.sent", "task.cancelled", "task.timeout"}),
    "task.sent": frozenset({"task.started", "task.pending", "task.cancelling"}) | {"task.lost", "task.failed"},
    "task.started": frozenset({"task.pending", "task.cancelling"}) | ENDS,
    "task.cancelling": frozenset({"task.started"}) | ENDS,
}
"""What may come after each event of one task. After an end, nothing may."""


class Violation(NamedTuple):
    """A promise that was broken: by its rule's name, and where."""

    rule: str
    what: str


def check(history: History) -> list[Violation]:
    """Every violation of every rule. Empty: all promises were kept."""
    return [Violation(rule.__name__, what) for rule in RULES for what in rule(history)]


# -- tasks ------------------------------------------------------------------------------------------------------------


def accepted_is_never_lost(history: History) -> Iterator[str]:
    """What was accepted exists, as what was asked for."""
    kept = {task.id: task for task in history.kept}
    for request in history.requests:
        for task_id in request.accepted:
            if task_id not in kept:
                yield f"{request.token} was accepted as {task_id}, which does not exist"
            elif (kept[task_id].token, kept[task_id].execution) != (request.token, request.execution):
                yield f"{request.token} was accepted as {task_id}, which is {kept[task_id]}"


def nothing_comes_from_nowhere(history: History) -> Iterator[str]:
    """There are no more tasks than were asked for, and a request is one task however often it was repeated."""
    count = Counter(task.token for task in history.kept)
    requests = {request.token: request for request in history.requests}
    for token in count.keys() - requests.keys():
        yield f"nobody asked for {token}"
    for token, request in requests.items():
        if count[token] > _most_tasks(request):
            yield f"{token} became {count[token]} tasks; {_most_tasks(request)} were asked for"


def _most_tasks(request: Request) -> int:
    tries = len(request.accepted) + request.unknown
    return min(tries, 1) if request.key is not None else tries


def a_key_names_one_task(history: History) -> Iterator[str]:
    """Every answer to a repeated request names the same task, and no key stands for two."""
    for request in history.requests:
        if request.key is not None and len(set(request.accepted)) > 1:
            yield f"{request.token} was answered with {sorted(set(request.accepted))}"
    for key, count in Counter(task.key for task in history.kept if task.key is not None).items():
        if count > 1:
            yield f"{key} stands for {count} tasks"


def every_task_ends(history: History) -> Iterator[str]:
    """After quiescence nothing is left undone."""
    for task in history.kept:
        if task.status not in TERMINAL:
            yield f"{task.id} is still {task.status}"


def an_end_is_for_ever(history: History) -> Iterator[str]:
    """A task ends once, as the database holds it, and as everybody was told who was told of an end."""
    ends: dict[str, list[str]] = defaultdict(list)
    for _, event in history.commits:
        if event.name in ENDS:
            ends[event.task_id].append(event.status)
    statuses = {task.id: task.status for task in history.kept}
    for task_id, status in statuses.items():
        if status in TERMINAL and ends[task_id] != [status]:
            yield f"{task_id} is {status}; its ends were {ends[task_id]}"
    for sight in history.sights:
        if sight.status in TERMINAL and statuses.get(sight.task_id) != sight.status:
            yield f"{sight.task_id} was shown as {sight.status}, and is {statuses.get(sight.task_id)}"


def events_follow_the_table(history: History) -> Iterator[str]:
    """The events of a task are in a legal order, and revisions only rise."""
    last: dict[str, str] = defaultdict(str)
    newest = 0
    for _, event in history.commits:
        if event.revision <= newest:
            yield f"revision {event.revision} came after {newest}"
        newest = event.revision
        if event.task_id:
            before, last[event.task_id] = last[event.task_id], event.name
            if event.name not in NEXT.get(before, frozenset()):
                yield f"{event.task_id}: {event.name} after {before or 'nothing'}"


# -- work -------------------------------------------------------------------------------------------------------------


def success_is_real(history: History) -> Iterator[str]:
    """A completed task's last attempt did end well."""
    runs = {run.ref: run for run in history.runs}
    for task in history.kept:
        if task.status is TaskStatus.COMPLETED:
            run = runs.get(task.ref) if task.ref is not None else None
            if run is None or run.outcome is not Outcome.COMPLETED:
                yield f"{task.id} is completed; its attempt {'did not run' if run is None else f'was {run.outcome}'}"


def an_attempt_starts_once(history: History) -> Iterator[str]:
    """(task, attempt, fence) names one execution."""
    for ref, count in Counter(run.ref for run in history.runs).items():
        if count > 1:
            yield f"{ref} started {count} times"


def once_is_at_most_once(history: History) -> Iterator[str]:
    """A task of class once starts at most once, whatever becomes of its agent."""
    once = {request.token for request in history.requests if request.execution is Execution.ONCE}
    counts = Counter((run.token, run.ref.task_id) for run in history.runs if run.token in once)
    for (_, task_id), count in counts.items():
        if count > 1:
            yield f"{task_id} started {count} times"


def attempts_never_overlap(history: History) -> Iterator[str]:
    """Of one task, no attempt begins before the earlier one has ended."""
    for task_id, runs in _by_task(history.runs).items():
        runs.sort(key=lambda run: run.began_at)
        for earlier, later in pairwise(runs):
            if earlier.ended_at is None or earlier.ended_at > later.began_at:
                yield f"{task_id}: {later.ref} began at {later.began_at:.3f}, {earlier.ref} was running"


def nothing_starts_without_a_grant(history: History) -> Iterator[str]:
    """Every start has a durable grant that is still current."""
    for run in history.runs:
        if not run.granted:
            yield f"{run.ref} started on {run.agent_id} at {run.began_at:.3f} without a current grant"


def nothing_runs_after_the_end(history: History) -> Iterator[str]:
    """When a task has ended, nothing of it runs, then or later; except where doubt was admitted."""
    ended = {event.task_id: at for at, event in history.commits if event.name in ENDS}
    for run in history.runs:
        at = ended.get(run.ref.task_id)
        if at is not None and (run.began_at > at or run.ended_at is None or run.ended_at > at):
            yield f"{run.ref} ran until {run.ended_at}; its task had ended at {at:.3f}"


def finished_work_is_kept(history: History) -> Iterator[str]:
    """What an agent that lived on saw the end of is what the task became."""
    lives = {(life.agent_id, life.number): life for life in history.lives}
    kept = {task.id: task for task in history.kept}
    for run in history.runs:
        task = kept.get(run.ref.task_id)
        if run.outcome is None or task is None or not _lived_on(lives.get((run.agent_id, run.life))):
            continue
        if task.ref != run.ref or task.status not in _statuses_of(run):
            yield f"{run.ref} was {run.outcome} on {run.agent_id}, which lived; its task is {task.status} by {task.ref}"


def _lived_on(life: Life | None) -> bool:
    return life is not None and (life.ended_at is None or life.left)


def _statuses_of(run: Run) -> frozenset[TaskStatus]:
    """What a task may become by such an end of its attempt."""
    if not run.tree_gone:
        return frozenset({TaskStatus.FAILED})
    if run.outcome is Outcome.CANCELLED:
        return frozenset({TaskStatus.CANCELLED, TaskStatus.TIMEOUT})
    return frozenset({TaskStatus(str(run.outcome))})


def loss_is_admitted(history: History) -> Iterator[str]:
    """A task is lost only if it is of class once and its agent's process has ended; then it may have run."""
    dead = {life.agent_id for life in history.lives if life.ended_at is not None}
    for task in history.kept:
        if task.status is not TaskStatus.LOST:
            continue
        if task.execution is not Execution.ONCE or task.agent_id not in dead:
            yield f"{task.id} is lost: {task.execution}, with {task.agent_id}, which never died"
        elif not task.may_have_run:
            yield f"{task.id} is lost, and does not say that it may have run"


def _by_task(runs: list[Run]) -> Mapping[str, list[Run]]:
    by_task: dict[str, list[Run]] = defaultdict(list)
    for run in runs:
        by_task[run.ref.task_id].append(run)
    return by_task


# -- output -----------------------------------------------------------------------------------------------------------


def output_is_whole(history: History) -> Iterator[str]:
    """Stored bytes and gaps are what the attempt printed, to its end if its agent lived to tell it."""
    lives = {(life.agent_id, life.number): life for life in history.lives}
    runs = {run.ref: run for run in history.runs}
    for task in history.kept:
        if task.ref is None:
            continue
        run = runs.get(task.ref)
        told_all = run is not None and run.outcome is not None and _lived_on(lives.get((run.agent_id, run.life)))
        for stream in LogStream:
            yield from _stream(task, stream, told_all=told_all)


def _stream(task: Kept, stream: LogStream, *, told_all: bool) -> Iterator[str]:
    assert task.ref is not None
    end = 0
    for row in (row for row in task.output if row.stream is stream):
        if row.offset != end:
            yield f"{task.id} {stream}: {row.offset} follows {end}"
        if row.data and row.data != output_of(task.ref, stream, row.offset, len(row.data)):
            yield f"{task.id} {stream}: other bytes than were printed, from {row.offset}"
        end = row.offset + row.length
    total = dict(task.log_totals or ()).get(stream, 0)
    if end > total and task.log_totals is not None:
        yield f"{task.id} {stream}: {end} bytes are stored, {total} were printed"
    if told_all and end < total:
        yield f"{task.id} {stream}: ends at {end} of {total}"


# -- listeners --------------------------------------------------------------------------------------------------------


def listeners_miss_nothing(history: History) -> Iterator[str]:
    """A listener hears every event behind the revision it asked for, in order and once, or is told to reset."""
    for listening in history.listenings:
        commits = [c for c in history.commits if listening.task_id in ("", c.event.task_id)]
        yield from _listening(listening, commits)


def _listening(listening: Listening, commits: list[Commit]) -> Iterator[str]:
    due = {commit.event.revision: commit.event for commit in commits}
    heard: set[int] = set()
    last = begin = 0
    who = listening.task_id or "everything"
    for kind, revision, event in listening.heard:
        if kind == "event":
            if revision <= last:
                yield f"{who}: revision {revision} was heard after {last}"
            elif due.get(revision) != event:
                yield f"{who}: revision {revision} was heard as something that it is not"
            heard.add(revision)
            last = revision
        elif kind == "reset":
            begin = last = max(revision, last)
    missed = sorted(revision for revision in due.keys() - heard if begin < revision)
    if missed and _has_connected(listening.heard):
        yield f"{who}: revisions {missed[:5]} were never heard"


def _has_connected(heard: list[Heard]) -> bool:
    return any(each.kind == "connected" for each in heard)


# -- the rest ---------------------------------------------------------------------------------------------------------


def memory_is_given_back(history: History) -> Iterator[str]:
    """After quiescence nothing is held."""
    yield from history.leftovers


def nothing_breaks(history: History) -> Iterator[str]:
    """No loop dies, and honest peers keep to the protocol."""
    yield from history.problems


RULES: tuple[Rule, ...] = (
    accepted_is_never_lost,
    nothing_comes_from_nowhere,
    a_key_names_one_task,
    every_task_ends,
    an_end_is_for_ever,
    events_follow_the_table,
    success_is_real,
    an_attempt_starts_once,
    once_is_at_most_once,
    attempts_never_overlap,
    nothing_starts_without_a_grant,
    nothing_runs_after_the_end,
    finished_work_is_kept,
    loss_is_admitted,
    output_is_whole,
    listeners_miss_nothing,
    memory_is_given_back,
    nothing_breaks,
)
