"""What is written to and read from the database about blobs: who has them, and what they stand for."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, delete, exists, func, select, tuple_, update
from sqlalchemy.dialects.sqlite import insert

from nodelink.task import AttemptRef
from nodelink_server.core.blob_ports import (
    MOST_ARTIFACTS,
    MOST_STATES,
    Artifact,
    AttemptArtifact,
    Blob,
    Kept,
    NewArtifact,
    NewState,
    Swept,
    WorkspaceState,
)
from nodelink_server.core.states import GRANTED
from nodelink_server.core.task import workspace_key
from nodelink_server.store.tables import artifacts, blobs, holds, tasks, workspace_states


def keep(connection: Connection, blob: Blob) -> bool:
    """Let a workspace have a blob, or note that it was used. Whether it had it not."""
    is_new = not _has(connection, blob.workspace, blob.sha256)
    row = {
        "sha256": blob.sha256,
        "workspace": blob.workspace,
        "size": blob.size,
        "created_at": blob.created_at,
        "used_at": blob.used_at,
    }
    known = [blobs.c.sha256, blobs.c.workspace]
    used = {"used_at": blob.used_at}
    connection.execute(insert(blobs).values(row).on_conflict_do_update(index_elements=known, set_=used))
    return is_new


def is_kept(connection: Connection, blob: Blob) -> bool:
    """Whether a workspace has a blob."""
    return any(one.workspace == blob.workspace for one in find(connection, blob.sha256))


def find(connection: Connection, sha256: str) -> Sequence[Blob]:
    """A blob as each workspace has it."""
    return [_blob(row) for row in connection.execute(select(blobs).where(blobs.c.sha256 == sha256))]


def touch(connection: Connection, sha256: str, now: int) -> None:
    """Note that a blob was used."""
    connection.execute(update(blobs).where(blobs.c.sha256 == sha256).values(used_at=now))


def used(connection: Connection, workspace: str) -> int:
    """How many bytes a workspace has."""
    total = select(func.coalesce(func.sum(blobs.c.size), 0)).where(blobs.c.workspace == workspace)
    return int(connection.execute(total).scalar_one())


def listed(connection: Connection, workspace: str | None, after: tuple[str, str], limit: int) -> Sequence[Blob]:
    """Blobs in order, behind a place."""
    query = select(blobs).order_by(blobs.c.sha256, blobs.c.workspace).limit(limit)
    if workspace is None:
        query = query.where(tuple_(blobs.c.sha256, blobs.c.workspace) > after)
    else:
        query = query.where(blobs.c.workspace == workspace, blobs.c.sha256 > after[0])
    return [_blob(row) for row in connection.execute(query)]


def nobodys(connection: Connection, digests: Collection[str]) -> Sequence[str]:
    """Those of these digests that no workspace has."""
    had = set(connection.execute(select(blobs.c.sha256).where(blobs.c.sha256.in_(digests))).scalars())
    return [digest for digest in digests if digest not in had]


def stand_for(connection: Connection, wish: NewArtifact | NewState, revision: int) -> Kept:
    """Let a blob stand for something, if it may. `revision`: of the event that tells it."""
    if isinstance(wish, NewArtifact):
        return _attach(connection, wish, revision)
    return _save_state(connection, wish)


def _attach(connection: Connection, wish: NewArtifact, revision: int) -> Kept:
    task_id, artifact, workspace, holder = wish
    key = connection.execute(select(tasks.c.key).where(tasks.c.id == task_id)).scalar_one_or_none()
    if key is None:
        return Kept.NO_TASK
    if holder is not None and not _is_current(connection, holder):
        return Kept.NOT_CURRENT
    if not _has(connection, workspace, artifact.sha256):
        return Kept.NO_BLOB
    named = (artifacts.c.task_key == key, artifacts.c.name == artifact.name, artifacts.c.attempt == artifact.attempt)
    stored = connection.execute(select(artifacts.c.sha256).where(*named)).scalar_one_or_none()
    if stored is not None:
        return Kept.ALREADY if stored == artifact.sha256 else Kept.TAKEN
    count = select(func.count()).select_from(artifacts).where(artifacts.c.task_key == key)
    if connection.execute(count).scalar_one() >= MOST_ARTIFACTS:
        return Kept.TOO_MANY
    row = {"task_key": key, "workspace": workspace, **{name: getattr(artifact, name) for name in _ARTIFACT}}
    row["revision"] = revision
    connection.execute(insert(artifacts).values(row))
    return Kept.KEPT


_ARTIFACT = ("name", "attempt", "sha256", "size", "created_at")


def of_task(connection: Connection, task_id: str) -> Sequence[Artifact] | None:
    """The artifacts of a task; None: there is no such task."""
    key = connection.execute(select(tasks.c.key).where(tasks.c.id == task_id)).scalar_one_or_none()
    if key is None:
        return None
    query = select(artifacts).where(artifacts.c.task_key == key).order_by(artifacts.c.name, artifacts.c.attempt)
    return [_artifact(row) for row in connection.execute(query)]


def _artifact(row: Row[Any]) -> Artifact:
    return Artifact(**{name: getattr(row, name) for name in _ARTIFACT})


def told(connection: Connection, task_key: int) -> Sequence[tuple[int, Artifact]]:
    """The artifacts of a task that were told as events, each with its revision."""
    query = select(artifacts).where(artifacts.c.task_key == task_key, artifacts.c.revision > 0)
    return [(row.revision, _artifact(row)) for row in connection.execute(query)]


def attached(connection: Connection, told: Collection[AttemptArtifact]) -> Mapping[AttemptArtifact, int]:
    """Those of them that are artifacts of their attempts, and how many bytes each has."""
    query = select(tasks.c.id, artifacts.c.attempt, artifacts.c.name, artifacts.c.sha256, artifacts.c.size)
    query = query.join_from(tasks, artifacts, artifacts.c.task_key == tasks.c.key)
    rows = connection.execute(query.where(tasks.c.id.in_({one.ref.task_id for one in told})))
    sizes = {tuple(row)[:4]: int(row.size) for row in rows}
    names = {one: (one.ref.task_id, one.ref.attempt, one.name, one.sha256) for one in told}
    return {one: sizes[name] for one, name in names.items() if name in sizes}


def states(connection: Connection, workspace: str) -> Sequence[WorkspaceState]:
    """The states of a workspace, the newest first."""
    query = select(workspace_states).where(workspace_states.c.workspace == workspace)
    rows = connection.execute(query.order_by(workspace_states.c.version.desc()))
    return [
        WorkspaceState(
            workspace=row.workspace,
            version=row.version,
            sha256=row.sha256,
            size=row.size,
            created_at=row.created_at,
            task_id=row.task_id,
        )
        for row in rows
    ]


def _save_state(connection: Connection, wish: NewState) -> Kept:
    state, after, holder = wish
    if holder is not None and not _is_current(connection, holder):
        return Kept.NOT_CURRENT
    if holder is None and _is_held(connection, state.workspace):
        return Kept.HELD
    if not _has(connection, state.workspace, state.sha256):
        return Kept.NO_BLOB
    newest = select(func.coalesce(func.max(workspace_states.c.version), 0))
    of_workspace = workspace_states.c.workspace == state.workspace
    if connection.execute(newest.where(of_workspace)).scalar_one() != after:
        return Kept.CHANGED
    row = {"workspace": state.workspace, "version": state.version, "task_id": state.task_id}
    row |= {"sha256": state.sha256, "size": state.size, "created_at": state.created_at}
    connection.execute(insert(workspace_states).values(row))
    old = workspace_states.c.version <= state.version - MOST_STATES
    connection.execute(delete(workspace_states).where(of_workspace, old))
    return Kept.KEPT


def forget(connection: Connection, *, unused_since: int, now: int, limit: int) -> Swept:
    """Look at what was not used for long: what stands for nothing is let go, the rest counts as used now."""
    old = select(blobs).where(blobs.c.used_at < unused_since).order_by(blobs.c.used_at).limit(limit)
    rows = connection.execute(old).all()
    let_go = []
    for row in rows:
        this = (blobs.c.sha256 == row.sha256, blobs.c.workspace == row.workspace)
        if _stands_for_something(connection, row.workspace, row.sha256):
            connection.execute(update(blobs).where(*this).values(used_at=now))
        else:
            connection.execute(delete(blobs).where(*this))
            let_go.append(row.sha256)
    return Swept(len(rows), nobodys(connection, let_go))


def _stands_for_something(connection: Connection, workspace: str, sha256: str) -> bool:
    part = exists().where(artifacts.c.sha256 == sha256, artifacts.c.workspace == workspace)
    state = exists().where(workspace_states.c.workspace == workspace, workspace_states.c.sha256 == sha256)
    return bool(connection.execute(select(part | state)).scalar_one())


def _has(connection: Connection, workspace: str, sha256: str) -> bool:
    this = (blobs.c.sha256 == sha256, blobs.c.workspace == workspace)
    return connection.execute(select(blobs.c.size).where(*this)).scalar_one_or_none() is not None


def _is_current(connection: Connection, holder: AttemptRef) -> bool:
    """Whether an attempt is its task's, and has not ended."""
    query = select(tasks.c.attempt, tasks.c.fence, tasks.c.status).where(tasks.c.id == holder.task_id)
    found = connection.execute(query).one_or_none()
    return found is not None and found.status in GRANTED and tuple(found)[:2] == (holder.attempt, holder.fence)


def _is_held(connection: Connection, workspace: str) -> bool:
    held = select(exists().where(holds.c.key == workspace_key(workspace)))
    return bool(connection.execute(held).scalar_one())


def _blob(row: Row[Any]) -> Blob:
    return Blob(
        sha256=row.sha256, size=row.size, workspace=row.workspace, created_at=row.created_at, used_at=row.used_at
    )
