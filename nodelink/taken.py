"""What tasks take of the agent that has them: slots, and amounts of its resources. Both sides add it up in this way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from nodelink.task import TaskSpec


class Taken(NamedTuple):
    """So many slots, and so much of each resource that is named, in thousandths."""

    slots: int
    resources: Mapping[str, int]


NOTHING = Taken(0, {})
ONE_SLOT = Taken(1, {})
"""What a task takes that asks for no more."""


def taken_by(spec: TaskSpec) -> Taken:
    """What one task takes."""
    if spec.slots == 1 and not spec.resources:
        return ONE_SLOT
    return Taken(spec.slots, spec.resources)


def total(parts: Iterable[Taken]) -> Taken:
    """All of it together."""
    slots = 0
    resources: dict[str, int] = {}
    for part in parts:
        slots += part.slots
        for name, amount in part.resources.items():
            resources[name] = resources.get(name, 0) + amount
    return Taken(slots, resources)
