"""The workspaces: few, and read as a whole when a server starts."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, delete, exists, select, update
from sqlalchemy.dialects.sqlite import insert

from nodelink.task import Execution
from nodelink_server.core.ports import Workspace, WorkspaceMode
from nodelink_server.store.tables import tasks, workspace_states, workspaces


def all_workspaces(connection: Connection) -> Sequence[Workspace]:
    """Every workspace, by name."""
    rows = connection.execute(select(workspaces).order_by(workspaces.c.name))
    return [
        Workspace(
            name=row.name,
            pool=row.pool,
            mode=WorkspaceMode(row.mode),
            created_at=row.created_at,
            execution=Execution(row.execution) if row.execution else None,
        )
        for row in rows
    ]


def create(connection: Connection, workspace: Workspace) -> bool:
    """Keep a new workspace. False: there is one of its name."""
    row = {**_where_to(workspace), "name": workspace.name, "created_at": workspace.created_at}
    return connection.execute(insert(workspaces).values(row).on_conflict_do_nothing()).rowcount > 0


def change(connection: Connection, workspace: Workspace) -> bool:
    """Give a workspace another pool, mode and class. False: there is none of its name."""
    is_named = workspaces.c.name == workspace.name
    return connection.execute(update(workspaces).where(is_named).values(_where_to(workspace))).rowcount > 0


def remove(connection: Connection, name: str) -> bool:
    """Let there be no workspace of this name. False: a live task names it."""
    # That it is none without a name is said for the index.
    at_work = exists().where(tasks.c.workspace == name, tasks.c.workspace != "", tasks.c.finished_at.is_(None))
    connection.execute(delete(workspace_states).where(workspace_states.c.workspace == name, ~at_work))
    connection.execute(delete(workspaces).where(workspaces.c.name == name, ~at_work))
    return not connection.execute(select(at_work)).scalar_one()


def is_kept(connection: Connection, workspace: Workspace) -> bool:
    """Whether a workspace is there, as it was to be."""
    is_named = workspaces.c.name == workspace.name
    found = connection.execute(select(workspaces).where(is_named)).mappings().one_or_none()
    return found is not None and {**found, **_where_to(workspace)} == {**found}


def is_gone(connection: Connection, name: str) -> bool:
    """Whether there is no workspace of this name."""
    return connection.execute(select(workspaces.c.name).where(workspaces.c.name == name)).one_or_none() is None


def _where_to(workspace: Workspace) -> dict[str, str | None]:
    execution = workspace.execution.value if workspace.execution is not None else None
    return {"pool": workspace.pool, "mode": workspace.mode.value, "execution": execution}
