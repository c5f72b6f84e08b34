"""Pauses: nothing starts under one that is in force."""

from __future__ import annotations

from collections.abc import Iterator

from nodelink_server.core.ports import TaskEvent
from tests.checking.history import History, Known
from tests.checking.rule import Rule, needs


def nothing_starts_under_a_pause(history: History) -> Iterator[str]:
    """In the order of commits, no task is granted between a pause that is over it and its end."""
    in_force: set[str] = set()
    for at, event in history.commits:
        if event.name == "scheduler.status":
            scope, state = _told(event)
            in_force.add(scope) if state == "paused" else in_force.discard(scope)
        elif event.name == "task.sent":
            for scope in sorted(in_force & {"scheduler", f"pool:{event.pool}", f"type:{event.type}"}):
                yield f"{event.task_id} was granted at {at:.3f}, and {scope} was paused"


def _told(event: TaskEvent) -> tuple[str, str]:
    data = event.data or {}
    return str(data["scope"]), str(data["state"])


RULES: tuple[Rule, ...] = (needs(nothing_starts_under_a_pause, Known.EVENTS),)
