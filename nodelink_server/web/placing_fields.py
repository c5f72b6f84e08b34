"""What a body may say of where a task runs, beside whom, and in whose turn."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from nodelink.task import OnConflict, WhenTaken
from nodelink_server.web.placing_values import (
    AgentId,
    Conflict,
    Key,
    Labels,
    Limits,
    Rates,
    Resources,
    Slots,
    Taken,
    Weight,
    Workspace,
)


class PlacingFields(BaseModel):
    """A part of `TaskFields`. Nothing of it is required."""

    agent_id: AgentId = Field(default=None, description="the only agent that may run it")
    labels: Labels = Field(
        default=None,
        description="what its agent's labels have to be: name=value, name!=value, name, !name, separated by commas; "
        "or an object of names and values",
    )
    slots: Slots = Field(default=1, description="how many slots of its agent it takes")
    resources: Resources = Field(
        default_factory=dict,
        description="what it takes of its agent's resources: a number, or a text like 500m or 8GiB",
    )
    limits: Limits = Field(
        default_factory=dict,
        description="by key: it starts only while fewer than so many tasks that are with an agent name the key",
    )
    rate: Rates = Field(
        default_factory=dict,
        description="by key: at most so many of the tasks that name the key start in any stretch of time, of 1s to 24h",
    )
    when_taken: Taken = Field(
        default=WhenTaken.WAIT,
        description="if its lock, a limit, a rate or its workspace has no place left: it waits, is skipped, or replaces"
        " those that have the places; another than wait needs one of these, or the execution exclusive",
    )
    workspace: Workspace = Field(default=None, description="the workspace that it works in, one task at a time")
    unique_key: Key = Field(default=None, description="of the live tasks at most one has it")
    on_conflict: Conflict = Field(
        default=OnConflict.FAIL,
        description="if a live task has the unique_key: fail: 409; use_existing: that task is the answer; replace: that"
        " task is stopped, and this one follows; another than fail needs a unique_key",
    )
    fairness_key: Key = Field(default=None, description="the keys of a pool share it, however much of one waits")
    fairness_weight: Weight = Field(
        default=1, description="how much of the pool its key is due; another than 1 needs a fairness_key"
    )

    def placing(self) -> dict[str, Any]:
        """The same as fields of a `TaskSpec`."""
        return {
            "agent_id": self.agent_id or "",
            "selector": self.labels or "",
            "slots": self.slots,
            "resources": self.resources,
            "limits": self.limits,
            "rates": self.rate,
            "when_taken": self.when_taken,
            "workspace": self.workspace or "",
            "unique_key": self.unique_key or "",
            "on_conflict": self.on_conflict,
            "fairness_key": self.fairness_key or "",
            "fairness_weight": self.fairness_weight,
        }
