"""What a query may ask for in lists: which ones, and which page of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from nodelink.task import TaskStatus
from nodelink_server.core.agents import AgentView
from nodelink_server.core.ports import TaskQuery
from nodelink_server.web.paging import turned
from nodelink_server.web.values import MAX_LABELS, Label, Moment, Search, SomeText, Text, Whole, pair

MOST_PER_PAGE = 1_000
FEW_PER_PAGE = 50

AgentStatus = Literal["online", "unreachable", "draining", "cordoned", "offline"]


class Pages(BaseModel):
    """Which page, and how long it may be."""

    model_config = ConfigDict(extra="forbid")

    page_size: Whole = Field(default=FEW_PER_PAGE, ge=1, le=MOST_PER_PAGE)
    page_token: Text = Field(default="", description="the next_page_token of the page before; empty: the first page")


class TaskFilters(Pages):
    """Which tasks to list; every given filter must match."""

    status: list[TaskStatus] = Field(default_factory=list, description="any of these")
    type: Text | None = None
    pool: Text | None = None
    workspace: SomeText | None = None
    created_after: Moment = Field(default=None, description="accepted at or after this")
    created_before: Moment = Field(default=None, description="accepted before this")
    label: list[Label] = Field(
        default_factory=list, max_length=MAX_LABELS, description="name=value in its metadata; all of these"
    )
    q: Search = Field(default="", description="the beginning of an id, a type, or name=value of the metadata")

    def query(self, agent_id: str | None = None) -> TaskQuery:
        """The page that is asked for. Raises `InvalidTask` for a token that does not fit."""
        query = TaskQuery(
            page_size=self.page_size,
            statuses=frozenset(self.status),
            type=self.type,
            pool=self.pool,
            workspace=self.workspace,
            agent_id=agent_id,
            created_after=self.created_after,
            created_before=self.created_before,
            labels=frozenset(map(pair, self.label)),
            q=self.q,
        )
        return turned(query, self.page_token) if self.page_token else query


class AllTaskFilters(TaskFilters):
    """As `TaskFilters`, wherever the tasks are."""

    agent_id: Text | None = Field(default=None, description="the agent of the current attempt")


class AgentFilters(BaseModel):
    """Which agents to list; every given filter must match."""

    model_config = ConfigDict(extra="forbid")

    status: list[AgentStatus] = Field(default_factory=list, description="any of these")
    pool: Text | None = None
    label: list[Label] = Field(
        default_factory=list, max_length=MAX_LABELS, description="name=value among its labels; all of these"
    )

    def match(self, agent: AgentView) -> bool:
        """Whether an agent is asked for."""
        return (
            (not self.status or agent.status in self.status)
            and self.pool in {None, agent.pool}
            and _has(agent.labels, self.label)
        )


def _has(labels: Mapping[str, str], wanted: list[str]) -> bool:
    return all(labels.get(name) == value for name, value in map(pair, wanted))
