"""`/tasks/bulk`: one thing done to many tasks."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Header, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictBool, StrictStr

from nodelink.task import TaskStatus
from nodelink_server.core.bulk import MOST_IDS, BulkAction, BulkOrder
from nodelink_server.core.ports import TaskQuery
from nodelink_server.core.validation import MAX_IDEMPOTENCY_KEY_CHARS, MAX_REASON_CHARS
from nodelink_server.web.paging import page_token, turned
from nodelink_server.web.values import (
    MAX_LABELS,
    Grace,
    Label,
    OtherPriority,
    SomeMoment,
    SomeSearch,
    SomeText,
    Text,
    pair,
)
from nodelink_server.web.wiring import Manager, no_parameters

router = APIRouter(tags=["tasks"])


OnceKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=MAX_IDEMPOTENCY_KEY_CHARS,
        description="the same key and body within 24 h: it is done once, and the first answer is given again",
    ),
]


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("holds a NUL character")
    return text


_NoNul = AfterValidator(_without_nul)
_SomeText = Annotated[SomeText, _NoNul]


class BulkFilter(BaseModel):
    """Which tasks; every given part must match, and at least one is needed."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"minProperties": 1})

    status: list[TaskStatus] = Field(
        default_factory=list,
        min_length=1,
        description="any of these; not given, nor ids: those that the action can be done to, and of those that have"
        " finished the failed, timeout and lost",
    )
    type: _SomeText = ""
    pool: _SomeText = ""
    workspace: _SomeText = ""
    agent_id: _SomeText = Field(default="", description="the agent of the current attempt")
    created_after: SomeMoment = Field(default=None, description="accepted at or after this")
    created_before: SomeMoment = Field(default=None, description="accepted before this")
    label: list[Annotated[Label, _NoNul]] = Field(
        default_factory=list,
        min_length=1,
        max_length=MAX_LABELS,
        description="name=value in its metadata; all of these",
    )
    q: Annotated[SomeSearch, _NoNul] = Field(
        default="", description="the beginning of an id, a type, or name=value of the metadata"
    )
    ids: list[_SomeText] = Field(
        default_factory=list,
        min_length=1,
        json_schema_extra={"maxItems": MOST_IDS},
        description="only these; of what is named so, any status is looked at",
    )

    def query(self) -> TaskQuery:
        """The filter as the core has it."""
        return TaskQuery(
            statuses=frozenset(self.status),
            type=self.type or None,
            pool=self.pool or None,
            workspace=self.workspace or None,
            agent_id=self.agent_id or None,
            created_after=self.created_after,
            created_before=self.created_before,
            labels=frozenset(map(pair, self.label)),
            q=self.q,
            ids=frozenset(self.ids),
        )


class NewBulk(BaseModel):
    """What is to be done to which tasks."""

    model_config = ConfigDict(extra="forbid")

    filter: BulkFilter
    action: BulkAction
    reason: StrictStr = Field(default="", max_length=MAX_REASON_CHARS, description="in words; not for a retry")
    grace: Grace = Field(default=None, description="only for cancel: from the signal to the kill; 10s if not given")
    priority: OtherPriority = Field(default=None, description="only for set_priority, and needed there")
    dry_run: StrictBool = Field(default=False, description="only tell what would be done")
    page_token: Text = Field(default="", description="the next_page_token of the answer before: go on behind it")

    def order(self) -> BulkOrder:
        """The order as the core has it. Raises `InvalidTask` for a token that does not fit."""
        query = self.filter.query()
        return BulkOrder(
            query=turned(query, self.page_token) if self.page_token else query,
            action=self.action,
            reason=self.reason,
            grace_ms=self.grace,
            priority=self.priority,
            dry_run=self.dry_run,
        )


class BulkJson(BaseModel):
    """What was done. One call looks at 100,000 tasks at most, newest first, and for a few seconds."""

    matched: int
    done: int = Field(description="to how many of these it was done; in a dry run, would be done")
    skipped: dict[str, int] = Field(description="to how many it was not, by why")
    ids: list[str] = Field(description="the first 1,000 to which it was done; of a retry, the new tasks")
    more: bool = Field(description="whether there are tasks left to look at")
    next_page_token: str = Field(description="where to go on; empty: there is no more")


@router.post("/tasks/bulk", dependencies=[Depends(no_parameters)])
async def bulk_tasks(body: NewBulk, manager: Manager, response: Response, key: OnceKey = None) -> BulkJson:
    """Do one thing to every task that a filter selects: stop it, run it again, or give it another priority."""
    order = body.order()
    outcome = await manager.bulk(order, idempotency_key=key)
    if outcome.replayed:
        response.headers["idempotency-replayed"] = "true"
    return BulkJson(
        matched=outcome.matched,
        done=outcome.done,
        skipped=dict(outcome.skipped),
        ids=outcome.ids,
        more=bool(outcome.next_key),
        next_page_token=page_token(order.query, before_key=outcome.next_key) if outcome.next_key else "",
    )
