"""Who waits for a place under a limit, and what limits a task has to do with, as people are told of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from nodelink_server.core.limits import OURS, RUNNING, Limits, keys_of, name_of
from nodelink_server.core.needs import parse_needs
from nodelink_server.core.ports import Shape, Waiter
from nodelink_server.core.task import Task
from nodelink_server.core.task_record import InForce

MOST_WAITERS = 10
"""So many of those who wait for a limit are shown."""
MOST_COUNTED = 100
"""Up to so many more are counted."""
MOST_WAITED_FOR = 20
"""In a list, so many limits that tasks name show who waits for them, and so many others."""


def in_force(task: Task, limits: Limits) -> Sequence[InForce]:
    """The limits of which a live task has, or needs, a place: those that it names, and those that are set for its kind.

    The lock that an exclusive task is for itself says nothing, and is left out.
    """
    if task.is_terminal:
        return ()
    named = {key: most for key, most in keys_of(task).items() if key != task.lock or task.spec.lock}
    bounds = [(key, limits.places(key, most)) for key, most in named.items()]
    bounds += [(key, most) for key in _gates_of(task) if (most := limits.limit(key)) is not None]
    return tuple(InForce(name_of(key), most, limits.taken(key)) for key, most in bounds)


def is_behind(name: str, shape: Shape) -> bool:
    """Whether a limit that tasks do not name, by its name, is about the tasks of a shape."""
    kind, _, rest = name.partition(":")
    return {
        RUNNING: True,
        "pool": shape.pool == rest,
        "type": shape.type == rest,
        "agent": parse_needs(shape.needs).agent_id == rest,
    }[kind]


def waiter_of(task: Task) -> Waiter:
    """A task that waits, as it is shown."""
    return Waiter(task.id, task.spec.priority, task.ready_at or task.created_at)


def _gates_of(task: Task) -> Iterator[str]:
    spec, has_agent = task.spec, task.attempt is not None and not task.is_waiting
    agent_id = task.attempt.agent_id if has_agent and task.attempt is not None else spec.agent_id
    names = [RUNNING, f"pool:{spec.pool}", f"type:{spec.type}", *([f"agent:{agent_id}"] if agent_id else ())]
    return (OURS + name for name in names)
