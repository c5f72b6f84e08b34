"""What tasks take of the agent that has them: slots, amounts of its resources, and its attention for plans and applies.
Both sides add it up in this way.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from nodelink.plan import is_applying, is_planning
from nodelink.task import TaskSpec


class Taken(NamedTuple):
    """So many slots, so much of each resource that is named, in thousandths, and so many plans and applies."""

    slots: int
    resources: Mapping[str, int]
    plans: int = 0
    applies: int = 0


NOTHING = Taken(0, {})
ONE_SLOT = Taken(1, {})
"""What a task takes that asks for no more."""


def taken_by(spec: TaskSpec, *, has_plan: bool = False) -> Taken:
    """What one task takes. `has_plan`: it has a plan that it applies."""
    plans, applies = is_planning(spec.type, has_plan=has_plan), is_applying(spec.type, has_plan=has_plan)
    if spec.slots == 1 and not (spec.resources or plans or applies):
        return ONE_SLOT
    return Taken(spec.slots, spec.resources, int(plans), int(applies))


def total(parts: Iterable[Taken]) -> Taken:
    """All of it together."""
    slots = plans = applies = 0
    resources: dict[str, int] = {}
    for part in parts:
        slots, plans, applies = slots + part.slots, plans + part.plans, applies + part.applies
        for name, amount in part.resources.items():
            resources[name] = resources.get(name, 0) + amount
    return Taken(slots, resources, plans, applies)
