"""Workspaces and limits, as they are asked for and told. Pure: both clients share it."""

from __future__ import annotations

from collections.abc import Mapping

from nodelink.client.checks import text_of
from nodelink.client.places import Limit, LimitHolder, LimitList, Workspace
from nodelink.client.reading import moment_of
from nodelink.errors import FieldError, InvalidTask
from nodelink.v1 import admin_pb2
from nodelink.wire import ms_of

MODES: Mapping[str, admin_pb2.WorkspaceMode] = {
    "agent": admin_pb2.WORKSPACE_MODE_AGENT,
    "local": admin_pb2.WORKSPACE_MODE_LOCAL,
    "kubernetes": admin_pb2.WORKSPACE_MODE_KUBERNETES,
}
"""Where the tasks of a workspace run, by the public names."""

_MODE_NAMES: Mapping[int, str] = {number: name for name, number in MODES.items()}


def workspace_message(name: str, pool: str, mode: str) -> admin_pb2.Workspace:
    """A workspace as it is sent. Raises `InvalidTask` for a mode that is none."""
    number = MODES.get(text_of("mode", mode))
    if number is None:
        raise InvalidTask(FieldError("mode", f"{mode!r:.100} is not known; use one of {', '.join(MODES)}"))
    return admin_pb2.Workspace(name=text_of("name", name), pool=text_of("pool", pool), mode=number)


def workspace_of(pb: admin_pb2.Workspace) -> Workspace:
    """A workspace."""
    return Workspace(name=pb.name, pool=pb.pool, mode=_MODE_NAMES.get(pb.mode, ""), created_at=ms_of(pb.created_at))


def limit_of(pb: admin_pb2.Limit) -> Limit:
    """A limit."""
    return Limit(
        name=pb.name,
        most=pb.most if pb.HasField("most") else None,
        settings_most=pb.settings_most if pb.HasField("settings_most") else None,
        taken=pb.taken,
        holders=tuple(LimitHolder(one.task_id, one.agent_id, moment_of(one, "since")) for one in pb.holders),
    )


def limits_of(pb: admin_pb2.ListLimitsResponse) -> LimitList:
    """Limits."""
    return LimitList(tuple(map(limit_of, pb.limits)), pb.total)
