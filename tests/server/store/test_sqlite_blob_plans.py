"""How SQLite answers each query about blobs: along an index, without walking a table, without sorting."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from nodelink.task import AttemptRef
from nodelink_server.core.blob_ports import Artifact, Blob, NewArtifact, NewState, WorkspaceState
from nodelink_server.store import blob_rows, workspaces
from nodelink_server.store.connections import writing_engine
from nodelink_server.store.schema import TASKS
from tests.server.store.lives import NOW
from tests.server.store.test_sqlite_plans import Watched, watched

SHA256 = "0" * 64


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Watched]:
    for database in watched(writing_engine(tmp_path / "tasks.db"), TASKS):
        database.plans.clear()
        yield database


def test_blobs_are_found_counted_listed_and_forgotten_along_their_indexes(database: Watched) -> None:
    connection = database.connection
    for workspace in ("", "site"):
        blob = Blob(sha256=SHA256, size=5, workspace=workspace, created_at=NOW, used_at=NOW)
        blob_rows.keep(connection, blob)
    blob_rows.find(connection, SHA256)
    blob_rows.touch(connection, SHA256, NOW)
    blob_rows.used(connection, "site")
    blob_rows.nobodys(connection, [SHA256])
    for listed in (None, "site"):
        blob_rows.listed(connection, listed, (SHA256, ""), 10)
    blob_rows.forget(connection, unused_since=NOW + 1, now=NOW, limit=10)
    assert list(database.bad()) == []


def test_artifacts_and_states_are_found_and_kept_along_their_indexes(database: Watched) -> None:
    connection = database.connection
    blob_rows.keep(connection, Blob(sha256=SHA256, size=5, workspace="site", created_at=NOW, used_at=NOW))
    artifact = Artifact(name="a", attempt=1, sha256=SHA256, size=5, created_at=NOW)
    blob_rows.stand_for(connection, NewArtifact("t1", artifact, "site", AttemptRef("t1", 1, 1)), 7)
    blob_rows.of_task(connection, "t1")
    state = WorkspaceState(workspace="site", version=1, sha256=SHA256, size=5, created_at=NOW)
    blob_rows.stand_for(connection, NewState(state, 0), 8)
    blob_rows.stand_for(connection, NewState(state, 0, AttemptRef("t1", 1, 1)), 8)
    blob_rows.told(connection, 1)
    blob_rows.states(connection, "site")
    workspaces.remove(connection, "site")
    assert list(database.bad()) == []
