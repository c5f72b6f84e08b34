"""`/limits`: how many tasks may be with agents at a time, and who has a place."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictStr, WithJsonSchema

from nodelink_server.core.characters import MAX_KEY_CHARS, UNSEEN
from nodelink_server.core.limit_views import MAX_LIMIT, MOST_HOLDERS, MOST_LISTED, RIGHT_NAME, LimitHolder, LimitView
from nodelink_server.core.ports import Waiter
from nodelink_server.core.waiters import MOST_COUNTED, MOST_WAITED_FOR, MOST_WAITERS
from nodelink_server.web.placing_values import AGENT
from nodelink_server.web.times import moment, moment_or_none
from nodelink_server.web.values import POOL
from nodelink_server.web.wiring import Manager, no_parameters

router = APIRouter(tags=["limits"])

_NAMES = "|".join(
    [
        "running",
        f"(pool|type|workspace):{POOL.strip('^$')}",
        f"agent:{AGENT.strip('^$')}",
        f"key:[^{UNSEEN}]{{1,{MAX_KEY_CHARS}}}",
    ]
)
_SCHEMA = {"type": "string", "pattern": f"^({_NAMES})$", "examples": ["pool:default"]}


def _most(value: Any) -> int:
    if isinstance(value, float) and value.is_integer():  # JSON does not tell 3.0 from 3
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"write a whole number from 0 to {MAX_LIMIT:,}")
    return value


LimitName = Annotated[StrictStr, WithJsonSchema(_SCHEMA)]
Most = Annotated[int, BeforeValidator(_most), WithJsonSchema({"type": "integer", "minimum": 0, "maximum": MAX_LIMIT})]


class LimitFilter(BaseModel):
    """Which limits to list."""

    model_config = ConfigDict(extra="forbid")

    name: LimitName | None = Field(default=None, description=f"only this one, whatever is known of it: {RIGHT_NAME}")


class LimitFields(BaseModel):
    """How many tasks may be with agents at a time."""

    model_config = ConfigDict(extra="forbid")

    most: Most = Field(description="0: nothing more starts; what runs already goes on")


class LimitHolderJson(BaseModel):
    """A task that has a place."""

    task_id: str
    agent_id: str | None = Field(description="null: it is being given to one, or waits for an approval")
    since: str | None = Field(description="when it was given to that agent")


class LimitWaiterJson(BaseModel):
    """A task that waits for a place."""

    task_id: str
    priority: int
    since: str = Field(description="since when it has been pending")


class LimitJson(BaseModel):
    """How many tasks may be with agents at a time, and who has a place."""

    name: str = Field(description=RIGHT_NAME)
    most: int | None = Field(description="null: nobody has set it; the tasks themselves say how many places a key has")
    settings_most: int | None = Field(description="how many the server's settings allow, whatever is set")
    taken: int = Field(description="how many places are taken")
    holders: list[LimitHolderJson] = Field(description=f"those who have them, at most {MOST_HOLDERS}")
    waiting: list[LimitWaiterJson] = Field(
        description=f"the first that wait for one, at most {MOST_WAITERS}; in a list, only for the first"
        f" {MOST_WAITED_FOR} limits or so that any wait for"
    )
    waiting_more: int = Field(description=f"how many more wait; at most {MOST_COUNTED} are counted")


class LimitList(BaseModel):
    """Limits by name, those that are set first."""

    limits: list[LimitJson] = Field(description=f"at most {MOST_LISTED:,}")
    total: int = Field(description="how many there are")


@router.get("/limits")
async def list_limits(asked: Annotated[LimitFilter, Query()], manager: Manager) -> LimitList:
    """List the limits that are set, and the keys of which a place is taken; or show one of them."""
    if asked.name is not None:
        return LimitList(limits=[_json(await manager.limits.shown(asked.name))], total=1)
    found = await manager.limits.listed()
    return LimitList(limits=list(map(_json, found.limits)), total=found.total)


@router.put("/limits/{limit_name:path}", dependencies=[Depends(no_parameters)])
async def set_limit(limit_name: Annotated[LimitName, Path()], body: LimitFields, manager: Manager) -> LimitJson:
    """Let at most so many tasks be with agents at a time. It is durable, and counts from now on."""
    return _json(await manager.limits.set(limit_name, body.most))


@router.delete("/limits/{limit_name:path}", dependencies=[Depends(no_parameters)])
async def remove_limit(limit_name: Annotated[LimitName, Path()], manager: Manager) -> LimitJson:
    """Let there be no such limit any more, if there was one, and tell how it stands then."""
    return _json(await manager.limits.remove(limit_name))


def _json(view: LimitView) -> LimitJson:
    return LimitJson(
        name=view.name,
        most=view.most,
        settings_most=view.settings_most,
        taken=view.taken,
        holders=list(map(_holder, view.holders)),
        waiting=list(map(_waiter, view.waiting)),
        waiting_more=view.waiting_more,
    )


def _holder(holder: LimitHolder) -> LimitHolderJson:
    return LimitHolderJson(task_id=holder.task_id, agent_id=holder.agent_id or None, since=moment_or_none(holder.since))


def _waiter(waiter: Waiter) -> LimitWaiterJson:
    return LimitWaiterJson(task_id=waiter.task_id, priority=waiter.priority, since=moment(waiter.since))
