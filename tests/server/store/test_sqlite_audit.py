"""The audit chain: a record for each commit that did something, each bound to the one before it."""

from __future__ import annotations

import hashlib
import json
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, event
from sqlalchemy.exc import IntegrityError, OperationalError

from nodelink.errors import StoreUnavailable
from nodelink_server.core.blob_ports import Artifact, Blob, Kept, WorkspaceState
from nodelink_server.core.deeds import Deed
from nodelink_server.core.ports import Batch, Workspace, WorkspaceMode
from nodelink_server.store.audit import audit_hash
from nodelink_server.store.opening import NO_AUDIT
from nodelink_server.store.sql import open_store
from tests.server.store.keepings import attach, save_state
from tests.server.store.lives import (
    AGENT,
    NOW,
    accept,
    agent,
    doubt,
    exclusive,
    grant,
    live,
    put,
    resolve,
    run_again,
    step,
    waiting,
)

Record = tuple[int, int, bytes, bytes, str]


async def committed(path: Path) -> None:
    """Two tasks; nothing; a grant and an agent, after a restart."""
    tasks = [waiting("t1"), waiting("t2")]
    async with open_store(f"sqlite:///{path}", ids=lambda: "cluster") as store:
        await put(store, *map(accept, tasks))
        await store.apply(Batch(now=NOW, control_ms=5))
    async with open_store(f"sqlite:///{path}", ids=lambda: "cluster") as store:
        await put(store, grant(tasks[1]), agents=[agent(session=7)])


def records(path: Path) -> list[Record]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute(
            "SELECT sequence, time, previous, hash, entries FROM audit ORDER BY sequence"
        ).fetchall()
    finally:
        connection.close()


def digest(*lines: str) -> str:
    return hashlib.sha256("".join(f"{line}\n" for line in lines).encode()).hexdigest()


async def test_each_commit_that_does_something_leaves_a_record(tmp_path: Path) -> None:
    await committed(tmp_path / "nodelink.db")

    entries = [json.loads(record[4]) for record in records(tmp_path / "nodelink.db")]

    assert entries == [
        {"task.created task.pending": [2, digest("t1 0", "t2 0")]},
        {"task.sent": [1, digest("t2 1")], "agent": [1, digest(f"{AGENT} 7")]},
    ]


async def test_what_a_person_decided_is_recorded_in_full(tmp_path: Path) -> None:
    path = tmp_path / "nodelink.db"
    async with open_store(f"sqlite:///{path}", ids=lambda: "cluster") as store:
        tasks = [
            await step(store, doubt(await step(store, grant(await live(store, exclusive(name)))))) for name in "ab"
        ]
        await put(store, resolve(tasks[0]), run_again(tasks[1]))

    entries = [json.loads(record[4]) for record in records(path)]

    assert entries[-1] == {
        "task.completed": [1, digest("a 1")],
        "task.pending": [1, digest("b 0")],
        "decisions": [["resolved", "anna", "I looked", "a"], ["rerun", "anna", "nothing was changed", "b"]],
    }
    assert all("decisions" not in entry for entry in entries[:-1])
    assert_is_whole(path)


async def test_a_decision_cannot_be_changed_unseen(tmp_path: Path) -> None:
    path = tmp_path / "nodelink.db"
    async with open_store(f"sqlite:///{path}", ids=lambda: "cluster") as store:
        await step(
            store, resolve(await step(store, doubt(await step(store, grant(await live(store, exclusive("a")))))))
        )
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE audit SET entries = replace(entries, 'anna', 'otto')")

    with pytest.raises(AssertionError):
        assert_is_whole(path)


async def test_each_record_covers_the_one_before_it(tmp_path: Path) -> None:
    await committed(tmp_path / "nodelink.db")

    assert_is_whole(tmp_path / "nodelink.db")


def assert_is_whole(path: Path) -> None:
    """See that every record covers the one before it."""
    previous = NO_AUDIT
    for sequence, time, before, stored, entries in records(path):
        assert before == previous
        assert stored == audit_hash(previous=previous, sequence=sequence, time=time, entries=entries)
        previous = stored
    assert previous != NO_AUDIT


async def test_a_refused_change_is_in_no_record(tmp_path: Path) -> None:
    async with open_store(f"sqlite:///{tmp_path}/nodelink.db", ids=lambda: "cluster") as store:
        task = waiting("t1")
        await put(store, accept(task))
        await put(store, grant(task))
        await put(store, accept(waiting("t1")))

    assert len(records(tmp_path / "nodelink.db")) == 2


async def test_deeds_are_recorded_in_the_transaction_of_what_they_did(tmp_path: Path) -> None:
    path, site = tmp_path / "nodelink.db", Workspace(name="site", pool="p", mode=WorkspaceMode.AGENT, created_at=NOW)
    made = Deed("workspace_created", "anna", "workspace:site", NOW, None, {"pool": "p"})
    async with open_store(f"sqlite:///{path}", ids=lambda: "cluster") as store:
        await store.set_limit("running", 5, NOW, Deed("limit_set", "anna", "running", NOW, None, {"most": 5}))
        await store.set_limit("running", 5, NOW, Deed("limit_set", "otto", "running", NOW, {"most": 5}, {"most": 5}))
        assert await store.create_workspace(site, made)
        assert not await store.create_workspace(site, made._replace(by="otto"))
        drained = Deed("agent_drained", "anna", f"agent:{AGENT}", NOW, {}, {"drained_at": NOW})
        await store.apply(Batch(now=NOW, control_ms=0, agents=[agent(session=7)], deeds=[drained]))
        await store.apply(Batch(now=NOW, control_ms=0, agents=[agent(session=6)], deeds=[drained]))
    async with open_store(f"sqlite:///{path}", ids=lambda: "cluster") as store:
        await put(store, accept(waiting("t1")))

    deeds = [deed for record in records(path) for deed in json.loads(record[4]).get("deeds", ())]

    assert deeds == [
        ["limit_set", "anna", "running", None, {"most": 5}],
        ["workspace_created", "anna", "workspace:site", None, {"pool": "p"}],
        ["agent_drained", "anna", f"agent:{AGENT}", {}, {"drained_at": NOW}],
    ]
    assert_is_whole(path)


DATA = b"bytes"
SHA256 = hashlib.sha256(DATA).hexdigest()
BLOB = Blob(sha256=SHA256, size=5, workspace="site", created_at=NOW, used_at=NOW)
ARTIFACT = Artifact(name="in.tar", attempt=0, sha256=SHA256, size=5, created_at=NOW)
STATE = WorkspaceState(workspace="site", version=1, sha256=SHA256, size=5, created_at=NOW)
KEPT = Deed("blob_kept", "anna", f"blob:{SHA256}", NOW, None, {"size": 5})


def kinds(path: Path) -> list[str]:
    """The deeds that are recorded, by kind."""
    return [deed[0] for record in records(path) for deed in json.loads(record[4]).get("deeds", ())]


async def test_what_becomes_of_bytes_is_recorded_in_the_transaction_that_does_it_and_once(tmp_path: Path) -> None:
    path = tmp_path / "nodelink.db"
    for _ in range(2):
        async with open_store(f"sqlite:///{path}", ids=lambda: "cluster") as store:
            await put(store, accept(waiting("t1")))
            await store.blobs.keep(BLOB, KEPT)
            await attach(store, "t1", ARTIFACT, "site", None)
            await save_state(store, STATE, after=0, holder=None)
            await put(store, accept(waiting("t1")))

    assert kinds(path) == ["blob_kept", "artifact_attached", "state_saved"]
    assert_is_whole(path)


async def test_what_cannot_be_recorded_is_not_done(tmp_path: Path) -> None:
    path = tmp_path / "nodelink.db"
    async with open_store(f"sqlite:///{path}", ids=lambda: "cluster") as store:
        await put(store, accept(waiting("t1")))
        await store.blobs.keep(BLOB)
        with closing(sqlite3.connect(path)) as database, database:
            database.execute("INSERT INTO audit SELECT sequence + 1, time, previous, hash, entries FROM audit")
        with pytest.raises(IntegrityError):
            await store.blobs.keep(replace(BLOB, workspace="other"), KEPT)
        with pytest.raises(IntegrityError):
            await attach(store, "t1", ARTIFACT, "site", None)
        with pytest.raises(IntegrityError):
            await save_state(store, STATE, after=0, holder=None)

        assert [one.workspace for one in await store.blobs.find(SHA256)] == ["site"]
        assert await store.blobs.artifacts("t1") == []
        assert await store.blobs.states("site") == []
        assert [event.name for event in await store.history("t1")] == ["task.created", "task.pending"]


def fail_once(engine: Engine, *, committed: bool) -> None:
    """Let the next commit fail, before or after it is made."""

    def fail(connection: Connection) -> None:
        event.remove(engine, "commit", fail)
        driver = connection.connection.driver_connection
        assert isinstance(driver, sqlite3.Connection)
        if committed:
            driver.commit()
        raise OperationalError("COMMIT", {}, sqlite3.OperationalError("disk I/O error"))

    event.listen(engine, "commit", fail)


@pytest.mark.parametrize("committed", [True, False])
async def test_the_chain_goes_on_whatever_became_of_a_commit_that_failed(tmp_path: Path, *, committed: bool) -> None:
    path = tmp_path / "nodelink.db"
    async with open_store(f"sqlite:///{path}", ids=lambda: "cluster") as store:
        await put(store, accept(waiting("t1")))
        fail_once(store._writer._line._engine, committed=committed)
        if committed:
            await store.blobs.keep(BLOB, KEPT)
        else:
            with pytest.raises(StoreUnavailable):
                await store.blobs.keep(BLOB, KEPT)
            await store.blobs.keep(BLOB, KEPT)
        fail_once(store._writer._line._engine, committed=committed)
        if committed:
            assert await attach(store, "t1", ARTIFACT, "site", None) is Kept.KEPT
        else:
            with pytest.raises(StoreUnavailable):
                await attach(store, "t1", ARTIFACT, "site", None)
        after = Kept.ALREADY if committed else Kept.KEPT
        assert await attach(store, "t1", ARTIFACT, "site", None) is after
        await save_state(store, STATE, after=0, holder=None)

    assert kinds(path) == ["blob_kept", "artifact_attached", "state_saved"]
    assert_is_whole(path)
