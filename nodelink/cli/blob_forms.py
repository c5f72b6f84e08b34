"""Bytes, artifacts and states as JSON shows them: the names and shapes of the HTTP interface."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nodelink.cli.table import Form, field, key, time_field
from nodelink.cli.times import moment

if TYPE_CHECKING:
    from nodelink.client import Artifact, TaskArtifact, WorkspaceState

BLOB_COLUMNS = (
    key("sha256", "SHA-256"),
    field("size", weight=90),
    field("workspace", weight=80),
    time_field("used_at", "USED", weight=50),
)
ARTIFACT_COLUMNS = (
    key("name"),
    field("attempt", weight=95),
    field("size", weight=90),
    field("sha256", "SHA-256", weight=40),
    time_field("created_at", "CREATED", weight=50),
)
STATE_COLUMNS = (
    field("version", weight=95),
    key("etag"),
    field("size", weight=90),
    field("task_id", "TASK", weight=40),
    time_field("created_at", "CREATED", weight=50),
)


def blob_form(artifact: Artifact) -> Form:
    """Bytes that a workspace has."""
    return {
        "sha256": artifact.sha256,
        "size": artifact.size,
        "workspace": artifact.workspace,
        "created_at": moment(artifact.created_at),
        "used_at": moment(artifact.used_at),
    }


def artifact_form(artifact: TaskArtifact) -> Form:
    """An artifact of a task."""
    return {
        "name": artifact.name,
        "attempt": artifact.attempt,
        "sha256": artifact.sha256,
        "size": artifact.size,
        "created_at": moment(artifact.created_at),
    }


def state_form(state: WorkspaceState) -> Form:
    """A state of a workspace."""
    return {
        "workspace": state.workspace,
        "version": state.version,
        "etag": state.etag,
        "sha256": state.sha256,
        "size": state.size,
        "created_at": moment(state.created_at),
        "task_id": state.task_id or None,
    }
