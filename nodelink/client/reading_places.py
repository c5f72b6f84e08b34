"""Workspaces and limits, as they are asked for and told. Pure: both clients share it."""

from __future__ import annotations

from collections.abc import Mapping

from nodelink.client.asking import execution_of
from nodelink.client.checks import text_of
from nodelink.client.places import Limit, LimitHolder, LimitList, LimitWaiter, Workspace
from nodelink.client.reading import moment_of
from nodelink.errors import FieldError, InvalidTask
from nodelink.task import Execution
from nodelink.v1 import admin_pb2
from nodelink.wire import EXECUTION_FROM_PB, EXECUTION_TO_PB, ms_of

MODES: Mapping[str, admin_pb2.WorkspaceMode] = {
    "agent": admin_pb2.WORKSPACE_MODE_AGENT,
    "local": admin_pb2.WORKSPACE_MODE_LOCAL,
    "kubernetes": admin_pb2.WORKSPACE_MODE_KUBERNETES,
}
"""Where the tasks of a workspace run, by the public names."""

_MODE_NAMES: Mapping[int, str] = {number: name for name, number in MODES.items()}


def workspace_message(name: str, pool: str, mode: str, execution: Execution | str | None) -> admin_pb2.Workspace:
    """A workspace as it is sent. Raises `InvalidTask` for a mode or a class that is none."""
    number = MODES.get(text_of("mode", mode))
    if number is None:
        raise InvalidTask(FieldError("mode", f"{mode!r:.100} is not known; use one of {', '.join(MODES)}"))
    wanted = execution_of(execution)
    return admin_pb2.Workspace(
        name=text_of("name", name),
        pool=text_of("pool", pool),
        mode=number,
        execution=EXECUTION_TO_PB[wanted] if wanted is not None else None,
    )


def workspace_of(pb: admin_pb2.Workspace) -> Workspace:
    """A workspace."""
    return Workspace(
        name=pb.name,
        pool=pb.pool,
        mode=_MODE_NAMES.get(pb.mode, ""),
        created_at=ms_of(pb.created_at),
        execution=EXECUTION_FROM_PB.get(pb.execution),
    )


def limit_of(pb: admin_pb2.Limit) -> Limit:
    """A limit."""
    return Limit(
        name=pb.name,
        most=pb.most if pb.HasField("most") else None,
        settings_most=pb.settings_most if pb.HasField("settings_most") else None,
        taken=pb.taken,
        holders=tuple(LimitHolder(one.task_id, one.agent_id, moment_of(one, "since")) for one in pb.holders),
        waiting=tuple(LimitWaiter(one.task_id, one.priority, ms_of(one.since)) for one in pb.waiting),
        waiting_more=pb.waiting_more,
    )


def limits_of(pb: admin_pb2.ListLimitsResponse) -> LimitList:
    """Limits."""
    return LimitList(tuple(map(limit_of, pb.limits)), pb.total)
