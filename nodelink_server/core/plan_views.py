"""Plans as people see them: what would be done, and what has become of that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nodelink.errors import PlanNotFound
from nodelink.plan import Plan
from nodelink.task import TaskStatus
from nodelink_server.core.clock import ControlTime
from nodelink_server.core.lookup import Lookup
from nodelink_server.core.ports import Clock, TaskQuery
from nodelink_server.core.task import Task


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanView:
    """The latest plan of a task. `expires_at`: about when it can be approved no more, in wall-clock milliseconds, as an
    outage puts it off; None: it does not wait for an approval.
    """

    task_id: str
    status: TaskStatus
    attempt: int
    plan: Plan
    planned_at: int
    expires_at: int | None = None
    approved_by: str = ""
    approved_at: int | None = None


class PlanViews:
    """Reads plans for people."""

    def __init__(self, *, lookup: Lookup, clock: Clock, control: ControlTime) -> None:
        self._lookup = lookup
        self._clock = clock
        self._control = control

    async def of_task(self, task_id: str) -> PlanView:
        """The latest plan of a task. Raises `TaskNotFound`, `PlanNotFound`."""
        task = (await self._lookup.get(task_id)).task
        if task.plan is None:
            raise PlanNotFound(f"the task has made no plan; it is {task.status}")
        return self._view(task)

    async def page(self, query: TaskQuery) -> tuple[Sequence[PlanView], int]:
        """The plans of a page of tasks, and where the next one begins, as in `TaskPage`."""
        page = await self._lookup.list(query)
        return [self._view(record.task) for record in page], page.next_key

    def _view(self, task: Task) -> PlanView:
        record, deadline = task.plan, task.queue_deadline
        assert record is not None
        waits = task.status is TaskStatus.PLAN_COMPLETED and deadline is not None
        return PlanView(
            task_id=task.id,
            status=task.status,
            attempt=record.attempt,
            plan=record.plan,
            planned_at=record.at,
            expires_at=self._clock.now() + (deadline or 0) - self._control.now() if waits else None,
            approved_by=record.approved_by,
            approved_at=record.approved_at,
        )
