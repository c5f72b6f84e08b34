"""The past of each task, read from its events: what it was when, and which attempt counted."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

from nodelink.plan import PLAN_AND_APPLY
from nodelink.task import Execution
from tests.checking.history import Commit, History

ENDS = frozenset({"task.completed", "task.failed", "task.timeout", "task.cancelled", "task.lost", "task.skipped"})
LET_GO = frozenset({"task.pending", "task.retrying"})
"""After these a task has nothing that others may wait for."""
GIVEN_BACK = LET_GO | {"task.plan_completed", "task.apply_pending"}
"""After these a task has no attempt, and may have another one."""
OFFER_SECONDS = 35.0
"""A machine may have died after it had accepted what was granted to it so much later."""
BY_PEOPLE = frozenset({"abandoned", "resolved"})
"""The reasons of ends that people decided about work of which nobody could tell whether it had ended."""


class Grant(NamedTuple):
    """One attempt as the database saw it.

    `until` None: it counts still, or counted to the end of its task. `over` names the event that ended it, `reason`
    says why, and `before` is the status in which that found the task.
    """

    task_id: str
    attempt: int
    agent_id: str
    since: float
    until: float | None = None
    over: str = ""
    reason: str = ""
    before: str = ""
    doubts: tuple[float, ...] = ()

    @property
    def is_decided_by_people(self) -> bool:
        """Whether a person ended it, knowing more than the server, or not caring."""
        return self.reason in BY_PEOPLE or (self.over == "task.pending" and self.before == "unknown")

    @property
    def is_lost(self) -> bool:
        """Whether it was given up without a word of how its work ended."""
        if self.over == "task.failed":
            return self.reason in {"infrastructure", "poison"}
        return self.over in {"task.pending", "task.lost"} and not self.is_decided_by_people


class _Reading:
    """What has been read of one history."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.by_task = _commits_by_task(history)
        self.grants = _grants_of(self.by_task)


_READING: ContextVar[_Reading | None] = ContextVar("_READING", default=None)


@contextmanager
def read_once(history: History) -> Iterator[None]:
    """In this block nobody changes this history: every rule asks for its events, and they are sorted once."""
    token = _READING.set(_Reading(history))
    try:
        yield
    finally:
        _READING.reset(token)


def commits_by_task(history: History) -> Mapping[str, Sequence[Commit]]:
    """The events of each task, in order."""
    reading = _READING.get()
    if reading is not None and reading.history is history:
        return reading.by_task
    return _commits_by_task(history)


def grants_of(history: History) -> Mapping[tuple[str, int], Grant]:
    """Every grant that was ever committed, by task and attempt."""
    reading = _READING.get()
    if reading is not None and reading.history is history:
        return reading.grants
    return _grants_of(_commits_by_task(history))


def _commits_by_task(history: History) -> Mapping[str, Sequence[Commit]]:
    by_task: dict[str, list[Commit]] = defaultdict(list)
    for commit in history.commits:
        if commit.event.task_id:
            by_task[commit.event.task_id].append(commit)
    return by_task


def _grants_of(by_task: Mapping[str, Sequence[Commit]]) -> Mapping[tuple[str, int], Grant]:
    found: dict[tuple[str, int], Grant] = {}
    for task_id, commits in by_task.items():
        for grant in _grants(task_id, commits):
            found[task_id, grant.attempt] = grant
    return found


def _grants(task_id: str, commits: Sequence[Commit]) -> Sequence[Grant]:
    grants: list[Grant] = []
    current: Grant | None = None
    before = ""
    for at, event in commits:
        if event.name == "task.sent":
            current = Grant(task_id, event.attempt, event.agent_id, at)
        elif current is not None and event.name == "task.unknown":
            current = current._replace(doubts=(*current.doubts, at))
        elif current is not None and (event.name in ENDS or event.name in GIVEN_BACK):
            grants.append(current._replace(until=at, over=event.name, reason=event.reason, before=before))
            current = None
        before = event.status
    return grants if current is None else [*grants, current]


def planning_attempts(history: History) -> frozenset[tuple[str, int]]:
    """The attempts at the plans of tasks that are to apply them: they start and recover like what is replayable."""
    found = set()
    for task_id, commits in commits_by_task(history).items():
        before = ""
        for _, event in commits:
            if event.name == "task.sent" and event.type == PLAN_AND_APPLY and before != "apply_pending":
                found.add((task_id, event.attempt))
            before = event.status
    return frozenset(found)


def classes_of(history: History) -> Callable[[str, int], Execution | None]:
    """By which class an attempt of a task starts and recovers; None: there is no such task."""
    classes = {task.id: task.execution for task in history.kept}
    planning = planning_attempts(history)

    def class_of(task_id: str, attempt: int) -> Execution | None:
        return Execution.REPLAYABLE if (task_id, attempt) in planning else classes.get(task_id)

    return class_of


def doubts_of_loads(history: History) -> frozenset[tuple[str, float]]:
    """The doubts that came with a load, by task and time: what was with an agent in a checkpoint is in doubt then."""
    commits, found = commits_by_task(history) if history.loads else {}, set()
    for load in history.loads:
        for ref in load.running:
            after = [commit for commit in commits.get(ref.task_id, ()) if commit.event.revision > load.revision]
            if after and after[0].event.name == "task.unknown":
                found.add((ref.task_id, after[0].at))
    return frozenset(found)


def ends_of(history: History) -> Mapping[str, Commit]:
    """The first end of each task that has ended."""
    ends: dict[str, Commit] = {}
    for commit in history.commits:
        if commit.event.name in ENDS:
            ends.setdefault(commit.event.task_id, commit)
    return ends
