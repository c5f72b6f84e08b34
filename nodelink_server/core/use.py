"""What the tasks of one agent take beyond a slot each: more slots, resources, a place among so many of a type, or among
so many plans; and all of it, if they change something.

Never counted up and down: it is added up from the tasks that are with the agent, or promised to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from nodelink.plan import DEFAULT_PLAN_LIMIT, PLANNED
from nodelink_server.core.needs import NO_NEEDS, Needs, needs_of, shape_of
from nodelink_server.core.ports import Shape
from nodelink_server.core.task import Task


class _Sum(NamedTuple):
    extra_slots: int
    resources: Mapping[str, int]
    types: Mapping[str, int]
    plans: int
    applies: int


class Use:
    """What an agent has of each resource, in thousandths, and at most runs of each type; and who takes what of it.

    `slots`, `plan_limit`: how many it has, and how many plans it makes at a time. What changes something takes all.
    """

    __slots__ = ("_by_task", "_slots", "_sum", "plan_limit", "resources", "type_limits")

    def __init__(
        self,
        resources: Mapping[str, int],
        type_limits: Mapping[str, int],
        *,
        slots: int = 1,
        plan_limit: int = DEFAULT_PLAN_LIMIT,
    ) -> None:
        self.resources = resources
        self.type_limits = type_limits
        self.plan_limit = plan_limit
        self._slots = slots
        self._by_task: dict[str, tuple[str, Needs, Shape | None]] = {}
        self._sum: _Sum | None = None

    @property
    def is_limited(self) -> bool:
        """Whether it runs only so many tasks of some type."""
        return bool(self.type_limits)

    @property
    def is_idle(self) -> bool:
        """Whether no task takes more than a slot."""
        return not self._by_task

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
        needs, type = needs_of(task.spec), task.spec.type
        shape = shape_of(task) if type in PLANNED else None
        if needs is not NO_NEEDS or shape is not None or type in self.type_limits:
            self._by_task[task.id] = (type, needs, shape)
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

    @property
    def plans(self) -> int:
        """How many of its tasks make a plan."""
        return self._total().plans

    @property
    def applies(self) -> int:
        """How many of its tasks change something: one at most."""
        return self._total().applies

    @property
    def is_full_of_plans(self) -> bool:
        """Whether as many plans are made as may be at a time."""
        return self.plans >= self.plan_limit

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
            for type, needs, _ in self._by_task.values():
                types[type] = types.get(type, 0) + 1
                for name, amount in needs.resources:
                    resources[name] = resources.get(name, 0) + amount
            shapes = [shape for _, _, shape in self._by_task.values() if shape is not None]
            plans, applies = sum(shape.plans for shape in shapes), sum(shape.applies for shape in shapes)
            self._sum = _Sum(self._extra_slots(), resources, types, plans, applies)
        return self._sum

    def _extra_slots(self) -> int:
        wide = (
            needs.slots if not (shape and shape.applies) else self._slots for _, needs, shape in self._by_task.values()
        )
        return sum(slots - 1 for slots in wide)
