"""`/scheduler`: what waits for agents, and what they run."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field

from nodelink_server.web.times import moment_or_none
from nodelink_server.web.wiring import Manager, no_parameters

router = APIRouter(tags=["scheduler"], dependencies=[Depends(no_parameters)])

Band = Literal["CRITICAL", "HIGH", "NORMAL", "LOW"]


class SchedulerJson(BaseModel):
    """What waits and what runs."""

    state: str = Field(description="running or paused")
    queued_tasks: int = Field(description="tasks that wait for an agent")
    running_tasks: int = Field(description="tasks that are with an agent")
    max_concurrent_tasks: int = Field(description="how many may run at once; 0: as many as there are slots")
    available_slots: int = Field(description="what the connected agents could take now")
    queue_by_priority: dict[Band, int] = Field(description="the tasks that wait, by the band of their priority")
    last_checkpoint_at: str | None


@router.get("/scheduler/status")
async def get_scheduler_status(manager: Manager) -> SchedulerJson:
    """Show what waits and what runs."""
    status = await manager.scheduler_status()
    return SchedulerJson.model_validate(
        {
            "state": status.state,
            "queued_tasks": status.queued_tasks,
            "running_tasks": status.running_tasks,
            "max_concurrent_tasks": status.max_concurrent_tasks,
            "available_slots": status.available_slots,
            "queue_by_priority": status.queue_by_priority,
            "last_checkpoint_at": moment_or_none(status.last_checkpoint_at),
        }
    )
