"""Workspaces and limits as JSON shows them: the names and shapes of the HTTP interface."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nodelink.cli.table import Form
from nodelink.cli.times import moment

if TYPE_CHECKING:
    from nodelink.client import Limit, Workspace


def workspace_form(workspace: Workspace) -> Form:
    """A workspace."""
    return {
        "name": workspace.name,
        "pool": workspace.pool,
        "mode": workspace.mode,
        "execution": workspace.execution.value if workspace.execution is not None else None,
        "created_at": moment(workspace.created_at),
    }


def limit_form(limit: Limit) -> Form:
    """A limit."""
    holders = [
        {"task_id": one.task_id, "agent_id": one.agent_id or None, "since": moment(one.since)} for one in limit.holders
    ]
    waiting = [{"task_id": one.task_id, "priority": one.priority, "since": moment(one.since)} for one in limit.waiting]
    return {
        "name": limit.name,
        "most": limit.most,
        "settings_most": limit.settings_most,
        "taken": limit.taken,
        "holders": holders,
        "waiting": waiting,
        "waiting_more": limit.waiting_more,
    }
