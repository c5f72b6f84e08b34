"""Which granted tasks are with which agent, and when each was last heard of: what execution leases are counted from.

Counted in control time, so that an outage ages nothing. A lease is never written down: a start of the server renews
all, and after an outage none runs out before the agents have had time to come back.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nodelink.task import Execution, TaskStatus
from nodelink_server.core.clock import ControlTime
from nodelink_server.core.registry import TaskRegistry
from nodelink_server.core.task import Task

GRACE_PER_AGENT_MS = 20
"""Twice what a returning agent costs at the rate at which hellos are let in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long attempts may go unheard of, in milliseconds of control time.

    `lost_after`: `once`; `unknown_after`: exclusive; what is replayable has its lease. `grace`: at least so long after
    an outage nothing runs out. `brake`: for how long nothing does when half of a pool has fallen silent.
    """

    lease: int = 600_000
    start_lease: int = 30_000
    lost_after: int = 3_600_000
    unknown_after: int = 600_000
    grace: int = 60_000
    brake: int = 600_000


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskContact:
    """How an agent is heard of that has a task, for people. `state`: connected or lost; moments are wall-clock.

    `lease_until`: when, unless something is heard, the rule of the task's class applies; None: never.
    """

    state: str
    last_contact: int | None
    lease_until: int | None


class Leases:
    """The granted tasks by agent. Lives on the loop."""

    def __init__(self, *, registry: TaskRegistry, control: ControlTime, patience: Patience) -> None:
        self._registry = registry
        self._control = control
        self._patience = patience
        self._shortest = min(patience.lost_after, patience.unknown_after, patience.lease)
        self._heard: dict[str, dict[str, int]] = {}
        self._looks: list[tuple[int, str]] = []

    # -- what is with whom --------------------------------------------------------------------------------------------

    def granted(self, agent_id: str, task_id: str) -> None:
        """A task is with an agent from now on."""
        with_agent = self._heard.get(agent_id)
        now = self._control.now()
        if with_agent is None:
            with_agent = self._heard[agent_id] = {}
            heapq.heappush(self._looks, (now + self._shortest, agent_id))
        with_agent.setdefault(task_id, now)

    def gone(self, agent_id: str, task_id: str) -> None:
        """A task is with that agent no more."""
        with_agent = self._heard.get(agent_id)
        if with_agent is not None:
            with_agent.pop(task_id, None)

    def with_agent(self, agent_id: str) -> Sequence[str]:
        """The ids of the tasks that are with an agent."""
        return list(self._heard.get(agent_id, ()))

    def tasks_with(self, agent_id: str) -> Sequence[Task]:
        """The tasks that are with an agent for all that is known: those in doubt are not."""
        found = (self._registry.get(task_id) for task_id in self._heard.get(agent_id, ()))
        return [task for task in found if task is not None and task.status is not TaskStatus.UNKNOWN]

    def holds(self, agent_id: str, task_id: str) -> bool:
        """Whether a task is with an agent."""
        return task_id in self._heard.get(agent_id, ())

    def by_agent(self) -> Iterable[tuple[str, Sequence[str]]]:
        """Every agent that has something, with the ids of its tasks."""
        return [(agent_id, list(ids)) for agent_id, ids in self._heard.items() if ids]

    def renew(self, agent_id: str, task_ids: Iterable[str]) -> None:
        """The agent has just been heard to have these tasks."""
        with_agent = self._heard.get(agent_id)
        if with_agent:
            now = self._control.now()
            for task_id in task_ids:
                if task_id in with_agent:
                    with_agent[task_id] = now

    def left_ms(self, task: Task) -> int | None:
        """How long a granted task's patience lasts from now; None: for ever."""
        until = self.until(task)
        return None if until is None else max(0, until - self._control.now())

    # -- time ---------------------------------------------------------------------------------------------------------

    def until(self, task: Task) -> int | None:
        """When a granted task's patience ends unless it is heard of, in control time; None: never."""
        limit = self._limit_of(task)
        if limit is None or task.attempt is None:
            return None
        heard = self._heard.get(task.attempt.agent_id, {}).get(task.id)
        return None if heard is None else max(heard + limit, self._spared_until())

    def run_out(self, most: int) -> Sequence[Task]:
        """Granted tasks that have gone unheard of for too long, at most about so many. They are returned again until
        something has become of them.
        """
        now = self._control.now()
        if not self._looks or self._looks[0][0] > now or now < self._spared_until():
            return ()
        found: list[Task] = []
        while self._looks and self._looks[0][0] <= now and len(found) < most:
            _, agent_id = heapq.heappop(self._looks)
            found.extend(self._look_at(agent_id, now))
        return found

    def _look_at(self, agent_id: str, now: int) -> Sequence[Task]:
        """What has run out at one agent; and when to look there again."""
        with_agent = self._heard[agent_id]
        if not with_agent:
            del self._heard[agent_id]
            return ()
        found = [task for task_id in with_agent if (task := self._registry.get(task_id)) and self._is_out(task, now)]
        soonest = now + 1_000 if found else max(now + 1_000, min(with_agent.values()) + self._shortest)
        heapq.heappush(self._looks, (soonest, agent_id))
        return found

    def _is_out(self, task: Task, now: int) -> bool:
        until = self.until(task)
        return until is not None and until <= now

    def _limit_of(self, task: Task) -> int | None:
        if task.status is TaskStatus.UNKNOWN or task.attempt is None:
            return None
        match task.phase_execution:
            case Execution.REPLAYABLE:
                return task.attempt.lease_ms
            case Execution.ONCE:
                return self._patience.lost_after
            case Execution.EXCLUSIVE:
                return self._patience.unknown_after

    def _spared_until(self) -> int:
        """Until when, after an outage, nothing runs out: the agents must have had time to come back."""
        return self._control.gap_ended_at + max(self._patience.grace, len(self._heard) * GRACE_PER_AGENT_MS)
