"""What a task needs of an agent beside its pool and its type: which one, labels, slots, resources.

Written as one text, equal for equal needs, so that waiting tasks can be ordered by it, in memory and in the database.
"""

from __future__ import annotations

import json
from functools import lru_cache
from typing import NamedTuple

from nodelink.plan import PLAN_AND_APPLY
from nodelink.taken import Taken, taken_by
from nodelink.task import TaskSpec
from nodelink_server.core.ports import Place, Shape
from nodelink_server.core.task import Task


class Needs(NamedTuple):
    """What is needed of an agent. `selector` is canonical; `resources` are in thousandths, in order of their names."""

    agent_id: str = ""
    selector: str = ""
    slots: int = 1
    resources: tuple[tuple[str, int], ...] = ()


NO_NEEDS = Needs()


def needs_of(spec: TaskSpec) -> Needs:
    """What a task needs."""
    if not (spec.resources or spec.selector or spec.agent_id) and spec.slots == 1:
        return NO_NEEDS
    return Needs(spec.agent_id, spec.selector, spec.slots, tuple(sorted(spec.resources.items())))


@lru_cache(maxsize=65_536)
def _text_of(needs: Needs) -> str:
    return json.dumps(needs, separators=(",", ":"))


@lru_cache(maxsize=65_536)
def parse_needs(text: str) -> Needs:
    """Needs as `needs_text` has written them."""
    if not text:
        return NO_NEEDS
    agent_id, selector, slots, resources = json.loads(text)
    return Needs(agent_id, selector, slots, tuple((name, amount) for name, amount in resources))


def needs_text(spec: TaskSpec) -> str:
    """What a task needs, as text; empty: one slot of any agent."""
    needs = needs_of(spec)
    return "" if needs is NO_NEEDS else _text_of(needs)


def shape_of(task: Task) -> Shape:
    """What decides which agents could run a task."""
    return shape_for(task.spec, has_plan=task.plan is not None)


def shape_for(spec: TaskSpec, *, has_plan: bool = False) -> Shape:
    """The same of a task that asks for this."""
    return Shape(spec.pool, spec.type, needs_text(spec), has_plan and spec.type == PLAN_AND_APPLY)


def taken_of(task: Task) -> Taken:
    """What a task that is with an agent takes of it."""
    return taken_by(task.spec, has_plan=task.has_plan)


def place_of(task: Task) -> Place:
    """A waiting task's place in its queue."""
    return Place(task.rank, task.key)
