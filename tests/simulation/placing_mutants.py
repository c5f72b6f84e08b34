"""Servers that break a rule of where tasks run, or of how many at a time."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from nodelink.values import evolve
from nodelink_server.core.task import Task
from tests.support.overriding import override


def gives_to_whoever_has_room(manager: Any) -> None:
    """Labels are not looked at."""
    open_session = manager.agents._open

    def careless(hello: Any, record: Any) -> Any:
        session = open_session(hello, record)
        session.labels = defaultdict(lambda: "left", {"side": "left", "machine": "agent0"})
        return session

    manager.agents._open = careless


def forgets_drains_when_an_agent_comes_back(manager: Any) -> None:
    """An agent that was drained is given work in its next session."""
    open_session = manager.agents._open

    def forgetful(hello: Any, record: Any) -> Any:
        session = open_session(hello, record)
        session.cordoned = session.drained = False
        return session

    manager.agents._open = forgetful


def sets_priorities_until_the_next_restart(manager: Any) -> None:
    """Another priority is told, and not written down."""
    bulk = manager.rooms.bulk
    prioritized = bulk._prioritized

    def in_memory(order: Any, task: Task, by: str) -> Any:
        change = prioritized(order, task, by)
        return change if isinstance(change, str) else evolve(change, task=evolve(change.task, spec=task.spec))

    bulk._prioritized = in_memory


def counts_every_task_as_one_slot(manager: Any) -> None:
    """A task that takes several slots leaves the others to be taken."""
    open_session = manager.agents._open

    def light(hello: Any, record: Any) -> Any:
        session = open_session(hello, record)
        take = session.use.take
        override(session.use, take=lambda task: take(evolve(task, spec=evolve(task.spec, slots=1))))
        return session

    manager.agents._open = light


def forgets_what_an_agent_ran_before_it_came_back(manager: Any) -> None:
    """What the tasks take that an agent has kept is not counted in its next session."""
    manager.rooms.leases.tasks_with = lambda agent_id: ()


def never_lets_go_of_resources(manager: Any) -> None:
    """What a task took of its agent stays taken."""
    consequences = manager.rooms.consequences
    consequences._let_go = lambda session, task_id: None


def gives_a_place_too_many(manager: Any) -> None:
    """Memory and database believe that a limit has one place more."""
    limits = manager.rooms.limits
    limits.places = lambda key, most: most + 1


def ignores_rates(manager: Any) -> None:
    """A task starts however many have started."""
    limits = manager.rooms.limits
    blocking, reserve = limits.blocking, limits.reserve
    limits.blocking = lambda task: blocking(_without_rates(task))
    limits.reserve = lambda task, agent_id: reserve(_without_rates(task), agent_id)


def never_looks_who_waits_for_a_place(manager: Any) -> None:
    """Who waits for a place is not read anew when there is one."""
    manager.rooms.limits._left = lambda key: None


def skips_whatever_may_be_skipped(manager: Any) -> None:
    """What does not wait for a place is skipped though there is one."""
    limits = manager.rooms.limits
    limits.is_to_be_skipped = lambda task: task.spec.when_taken == "skip"
    manager.rooms.timers._is_to_be_skipped = limits.is_to_be_skipped


def _without_rates(task: Task) -> Task:
    return evolve(task, spec=evolve(task.spec, rates={}))


def forgets_unique_keys(manager: Any) -> None:
    """A unique key is not looked at."""
    submissions = manager.rooms.submissions
    made = submissions._made

    def common(submission: Any, caller: str, now: int) -> Any:
        return made(evolve(submission, spec=evolve(submission.spec, unique_key="")), caller, now)

    submissions._made = common


def never_wakes_what_rests(manager: Any) -> None:
    """A task that could not be sent to an agent rests for ever."""
    manager.rooms.sends.woken = lambda *, all: ()
