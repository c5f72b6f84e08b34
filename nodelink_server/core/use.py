"""What the tasks of one agent take beyond a slot each: more slots, resources, a place among so many of a type.

Never counted up and down: it is added up from the tasks that are with the agent, or promised to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from nodelink_server.core.needs import NO_NEEDS, Needs, needs_of
from nodelink_server.core.task import Task


class _Sum(NamedTuple):
    extra_slots: int
    resources: Mapping[str, int]
    types: Mapping[str, int]


class Use:
    """What an agent has of each resource, in thousandths, and at most runs of each type; and who takes what of it."""

    def __init__(self, resources: Mapping[str, int], type_limits: Mapping[str, int]) -> None:
        self.resources = dict(resources)
        self.type_limits = dict(type_limits)
        self._by_task: dict[str, tuple[str, Needs]] = {}
        self._sum: _Sum | None = None

    @property
    def is_limited(self) -> bool:
        """Whether it runs only so many tasks of some type."""
        return bool(self.type_limits)

    @property
    def extra_slots(self) -> int:
        """How many slots are taken beyond one for each task."""
        return self._total().extra_slots if self._by_task else 0

    @property
    def used(self) -> Mapping[str, int]:
        """What is taken of each resource, in thousandths."""
        return self._total().resources

    def running(self, type: str) -> int:
        """How many tasks of a type with a limit are with the agent."""
        return self._total().types.get(type, 0)

    def take(self, task: Task) -> None:
        """A task is with the agent, or promised to it."""
        needs = needs_of(task.spec)
        if needs is not NO_NEEDS or task.spec.type in self.type_limits:
            self._by_task[task.id] = (task.spec.type, needs)
            self._sum = None

    def let_go(self, task_id: str) -> bool:
        """It is not any more. Returns whether it took anything."""
        took = self._by_task.pop(task_id, None) is not None
        if took:
            self._sum = None
        return took

    def could(self, needs: Needs) -> bool:
        """Whether there is enough if nothing else takes any."""
        return all(amount <= self.resources.get(name, 0) for name, amount in needs.resources)

    def has_room_for(self, type: str, needs: Needs) -> bool:
        """Whether there is enough now, slots apart."""
        return not self.lacking(needs) and not self.is_full(type)

    def is_full(self, type: str) -> bool:
        """Whether so many of a type are with the agent as may be."""
        return type in self.type_limits and self.running(type) >= self.type_limits[type]

    def lacking(self, needs: Needs) -> str:
        """The first resource of which there is not enough now; empty: there is of all."""
        used = self._total().resources
        short = (n for n, amount in needs.resources if used.get(n, 0) + amount > self.resources.get(n, 0))
        return next(short, "")

    def _total(self) -> _Sum:
        if self._sum is None:
            resources: dict[str, int] = {}
            types: dict[str, int] = {}
            for type, needs in self._by_task.values():
                types[type] = types.get(type, 0) + 1
                for name, amount in needs.resources:
                    resources[name] = resources.get(name, 0) + amount
            extra = sum(needs.slots - 1 for _, needs in self._by_task.values())
            self._sum = _Sum(extra, resources, types)
        return self._sum
