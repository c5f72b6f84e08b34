"""Wishes that a blob be an artifact, or a state, each brought to a store in a commit of its own."""

from __future__ import annotations

from nodelink.task import AttemptRef
from nodelink_server.core.blob_ports import Artifact, Kept, NewArtifact, NewState, WorkspaceState
from nodelink_server.core.deeds import Deed
from nodelink_server.core.ports import Batch, EventName, Keeping, Notice, Store
from tests.server.store.lives import NOW


def new_artifact(task_id: str, artifact: Artifact, workspace: str = "", holder: AttemptRef | None = None) -> Keeping:
    """The wish that a blob be an artifact of a task."""
    data = {"name": artifact.name, "sha256": artifact.sha256, "size": artifact.size}
    notice = Notice(
        EventName.TASK_ARTIFACT, "", "default", data, task_id, "echo", artifact.attempt, artifact.created_at
    )
    deed = Deed("artifact_attached", "anna", f"task:{task_id}", NOW, None, data)
    return Keeping(NewArtifact(task_id, artifact, workspace, holder), notice, deed)


def new_state(state: WorkspaceState, *, after: int, holder: AttemptRef | None = None) -> Keeping:
    """The wish that a blob be the state of a workspace."""
    data = {"version": state.version}
    deed = Deed("state_saved", "anna", f"workspace:{state.workspace}", NOW, None, data)
    return Keeping(NewState(state, after, holder), Notice(EventName.WORKSPACE_STATE, "", "", data), deed)


async def attach(store: Store, task_id: str, artifact: Artifact, workspace: str, holder: AttemptRef | None) -> Kept:
    """Let a blob be an artifact of a task."""
    return await keep(store, new_artifact(task_id, artifact, workspace, holder))


async def save_state(store: Store, state: WorkspaceState, *, after: int, holder: AttemptRef | None) -> Kept:
    """Let a blob be the state of a workspace."""
    return await keep(store, new_state(state, after=after, holder=holder))


async def keep(store: Store, keeping: Keeping) -> Kept:
    """What becomes of a wish."""
    [kept] = (await store.apply(Batch(now=NOW, control_ms=0, keepings=[keeping]))).kept
    return kept
