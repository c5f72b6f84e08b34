"""`/scheduler`: what waits for agents and what they run, and whether anything new starts."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, StrictStr, WithJsonSchema

from nodelink_server.core.lookup import SchedulerStatus
from nodelink_server.core.pauses import Pause, scope_of
from nodelink_server.core.validation import MAX_REASON_CHARS
from nodelink_server.web.checkpoints import CheckpointJson, checkpoint_json
from nodelink_server.web.times import moment, moment_or_none
from nodelink_server.web.values import POOL
from nodelink_server.web.wiring import Manager, no_parameters

router = APIRouter(tags=["scheduler"], dependencies=[Depends(no_parameters)])

Band = Literal["CRITICAL", "HIGH", "NORMAL", "LOW"]
Name = Annotated[StrictStr, Field(min_length=1), WithJsonSchema({"type": "string", "pattern": POOL})]
"""The core says what a name is. An empty one is none, and must not come to mean everything."""


def _content(value: Any) -> bytes:
    if not isinstance(value, str):
        raise ValueError("write the file in base64")
    if not value:
        raise ValueError("must not be empty; leave it out")
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("is not base64") from error


Content = Annotated[
    bytes, BeforeValidator(_content), WithJsonSchema({"type": "string", "contentEncoding": "base64", "minLength": 4})
]


class ScopeFields(BaseModel):
    """What is paused, or no more: everything, if neither a pool nor a type is given."""

    model_config = ConfigDict(extra="forbid")

    pool: Name | None = Field(default=None, description="a pool alone")
    type: Name | None = Field(default=None, description="a type of task alone; not together with a pool")
    reason: StrictStr = Field(default="", max_length=MAX_REASON_CHARS, description="in words")

    @property
    def scope(self) -> str:
        """What it is about. Raises `InvalidTask`."""
        return scope_of(pool=self.pool or "", type=self.type or "")


class PauseFields(ScopeFields):
    """What nothing new starts of."""


class ResumeFields(ScopeFields):
    """What starts again, and from which checkpoint a server goes on that has never had a task."""

    checkpoint_id: Annotated[StrictStr, Field(min_length=1)] | None = Field(
        default=None, description="of one that this server keeps"
    )
    checkpoint: Content | None = Field(
        default=None, description="the file of one of another server, in base64, as far as a body can be so long"
    )
    as_waiting: StrictBool = Field(
        default=False,
        description="tasks that were with agents when it was taken wait again, whatever their class",
    )


class PauseJson(BaseModel):
    """Nothing starts somewhere."""

    scope: str = Field(description="scheduler (nothing starts at all), pool:NAME or type:NAME")
    since: str
    by: str
    reason: str


class PausedJson(PauseJson):
    """A pause, and the checkpoint that was taken then."""

    checkpoint: CheckpointJson | None = Field(description="null: it could not be taken; it is paused all the same")
    content: str | None = Field(description="its file in base64, if that is shorter than 4 MiB")


class ResumedJson(BaseModel):
    """What a resumption has changed."""

    was_paused: bool
    loaded: bool = Field(description="whether a checkpoint was loaded now; not if it was loaded before")
    checkpoint: CheckpointJson | None = Field(
        description="the one that was given; what it lacks of blobs has to be brought. null: none was"
    )


class SchedulerJson(BaseModel):
    """What waits and what runs."""

    state: str = Field(description="running or paused")
    queued_tasks: int = Field(description="tasks that wait for an agent")
    running_tasks: int = Field(description="tasks that are with an agent")
    max_concurrent_tasks: int = Field(description="how many may run at once; 0: as many as there are slots")
    available_slots: int = Field(description="what the connected agents could take now")
    queue_by_priority: dict[Band, int] = Field(description="the tasks that wait, by the band of their priority")
    last_checkpoint_at: str | None
    pauses: list[PauseJson] = Field(description="what is paused: that of the scheduler first")


@router.get("/scheduler/status")
async def get_scheduler_status(manager: Manager) -> SchedulerJson:
    """Show what waits and what runs, and what is paused."""
    return _status_json(await manager.scheduler_status())


@router.post("/scheduler/pause")
async def pause_scheduler(manager: Manager, body: PauseFields | None = None) -> PausedJson:
    """Let nothing new start: at all, in a pool, or of a type. What runs goes on, retries wait.

    It is durable, and lasts until it is resumed, over restarts too. A checkpoint is taken, and part of the answer if it
    is small. What was paused before stays as it is.
    """
    asked = body or PauseFields()
    pause, taken = await manager.pause_and_keep(asked.scope, reason=asked.reason)
    content = await manager.checkpoints.small_content(taken)
    return PausedJson(
        **_pause_json(pause).model_dump(),
        checkpoint=None if taken is None else checkpoint_json(taken),
        content=base64.b64encode(content).decode() if content else None,
    )


@router.post("/scheduler/resume")
async def resume_scheduler(manager: Manager, body: ResumeFields | None = None) -> ResumedJson:
    """End a pause; before that, a server that has never had a task may go on from a checkpoint.

    Loading the same one twice does no harm. What is no whole checkpoint is refused by the name of its defect, and it
    stays paused.
    """
    asked = body or ResumeFields()
    resumed = await manager.resume_from(
        asked.scope,
        checkpoint_id=asked.checkpoint_id or "",
        content=asked.checkpoint or b"",
        as_waiting=asked.as_waiting,
        reason=asked.reason,
    )
    given = None if resumed.checkpoint is None else checkpoint_json(resumed.checkpoint)
    return ResumedJson(was_paused=resumed.was_paused, loaded=resumed.loaded, checkpoint=given)


def _status_json(status: SchedulerStatus) -> SchedulerJson:
    return SchedulerJson.model_validate(
        {
            "state": status.state,
            "queued_tasks": status.queued_tasks,
            "running_tasks": status.running_tasks,
            "max_concurrent_tasks": status.max_concurrent_tasks,
            "available_slots": status.available_slots,
            "queue_by_priority": status.queue_by_priority,
            "last_checkpoint_at": moment_or_none(status.last_checkpoint_at),
            "pauses": list(map(_pause_json, status.pauses)),
        }
    )


def _pause_json(pause: Pause) -> PauseJson:
    return PauseJson(scope=pause.scope, since=moment(pause.since), by=pause.by, reason=pause.reason)
