"""Blobs, over every store: bytes that come in pieces, who has them, what they stand for, and when they go."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
from pathlib import Path

import pytest

from nodelink.task import AttemptRef
from nodelink_server.core.attempt import Hold
from nodelink_server.core.blob_ports import (
    MOST_ARTIFACTS,
    MOST_STATES,
    Artifact,
    AttemptArtifact,
    Blob,
    Kept,
    NewArtifact,
    Unfinished,
    UploadName,
    WorkspaceState,
)
from nodelink_server.core.deeds import Deed
from nodelink_server.core.ports import Batch, EventName, Keeping, Notice, Store, Workspace, WorkspaceMode
from nodelink_server.core.task import workspace_key
from tests.server.store.conftest import Database
from tests.server.store.keepings import attach, save_state
from tests.server.store.lives import NOW, freeing, grant, live, settle, start, step, waiting

DATA = bytes(range(256)) * 10
LATE = NOW + 1_000


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database that is made already: making one takes longer than most of what is tested here."""
    directory = tmp_path_factory.mktemp("template")

    async def make() -> None:
        async with Database("sqlite", directory).open():
            pass

    asyncio.run(make())
    return directory


@pytest.fixture(params=["memory", "sqlite"])
def database(request: pytest.FixtureRequest, template: Path, tmp_path: Path) -> Database:
    shutil.copytree(template, tmp_path, dirs_exist_ok=True)
    return Database(request.param, tmp_path)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


NAME = UploadName(digest(DATA), len(DATA), "site")


def blob(data: bytes = DATA, *, workspace: str = "", used_at: int = NOW) -> Blob:
    return Blob(sha256=digest(data), size=len(data), workspace=workspace, created_at=NOW, used_at=used_at)


def artifact(name: str = "plan", data: bytes = DATA, *, attempt: int = 0) -> Artifact:
    return Artifact(name=name, attempt=attempt, sha256=digest(data), size=len(data), created_at=NOW)


def state(version: int, data: bytes = DATA, *, workspace: str = "site") -> WorkspaceState:
    sha256, size = digest(data), len(data)
    return WorkspaceState(workspace=workspace, version=version, sha256=sha256, size=size, created_at=NOW, task_id="t")


async def put(store: Store, data: bytes, *workspaces: str, used_at: int = NOW) -> str:
    name = UploadName(digest(data), len(data))
    if data:
        await store.blobs.append(name, 0, data)
    assert await store.blobs.seal(name)
    await store.blobs.place(name)
    for workspace in workspaces:
        await store.blobs.keep(blob(data, workspace=workspace, used_at=used_at))
    return name.sha256


async def read(store: Store, sha256: str) -> bytes | None:
    reader = await store.blobs.open(sha256)
    if reader is None:
        return None
    data = await reader.read(0, reader.size)
    reader.close()
    return data


async def test_pieces_become_a_blob_that_is_read_from_any_offset(store: Store) -> None:
    blobs = store.blobs
    assert await blobs.unfinished() == []
    for offset in range(0, len(DATA), 1000):
        await blobs.append(NAME, offset, DATA[offset : offset + 1000])
    assert await blobs.seal(NAME)
    assert await blobs.size_of(NAME.sha256) is None
    await blobs.place(NAME)

    assert await blobs.size_of(NAME.sha256) == len(DATA)
    reader = await blobs.open(NAME.sha256)
    assert reader is not None
    assert reader.size == len(DATA)
    assert await reader.read(2_000, 10_000) == DATA[2_000:]
    assert await reader.read(100, 5) == DATA[100:105]
    reader.close()
    assert await blobs.unfinished() == []


async def test_an_upload_outlives_the_server_and_goes_on_where_it_was(database: Database) -> None:
    async with database.open() as store:
        await store.blobs.unfinished()
        await store.blobs.append(NAME, 0, DATA[:700])
    async with database.open() as store:
        [left] = await store.blobs.unfinished()
        assert left == Unfinished(NAME, 700, left.touched_at)
        await store.blobs.append(NAME, 700, DATA[700:])
        assert await store.blobs.seal(NAME)


async def test_what_is_not_what_was_announced_is_gone(store: Store) -> None:
    await store.blobs.unfinished()
    await store.blobs.append(NAME, 0, DATA[:-1] + b"x")
    assert not await store.blobs.seal(NAME)
    assert await store.blobs.unfinished() == []


async def test_what_has_not_all_come_is_not_sealed(store: Store) -> None:
    await store.blobs.unfinished()
    await store.blobs.append(NAME, 0, DATA[:-1])
    assert not await store.blobs.seal(NAME)


async def test_a_piece_may_be_written_again_over_what_a_failure_left(store: Store) -> None:
    await store.blobs.unfinished()
    await store.blobs.append(NAME, 0, DATA[:500] + b"torn")
    await store.blobs.append(NAME, 500, DATA[500:])
    assert await store.blobs.seal(NAME)


async def test_no_bytes_are_a_blob_too(store: Store) -> None:
    await store.blobs.unfinished()
    assert await read(store, await put(store, b"")) == b""


async def test_a_blob_that_is_open_is_read_to_its_end_though_it_is_removed(store: Store) -> None:
    await store.blobs.unfinished()
    sha256 = await put(store, DATA)
    reader = await store.blobs.open(sha256)
    assert reader is not None
    await store.blobs.remove([sha256])
    assert await read(store, sha256) is None
    assert await reader.read(0, len(DATA)) == DATA
    reader.close()


async def test_each_workspace_counts_what_it_has(store: Store) -> None:
    for one in (blob(workspace="site"), blob(), blob(b"other", workspace="site")):
        await store.blobs.keep(one)

    assert await store.blobs.used("site") == len(DATA) + 5
    assert await store.blobs.used("") == len(DATA)
    assert await store.blobs.used("lab") == 0
    assert sorted(one.workspace for one in await store.blobs.find(digest(DATA))) == ["", "site"]


async def test_what_is_kept_again_is_only_used_later(store: Store) -> None:
    await store.blobs.keep(blob(workspace="site"))
    await store.blobs.keep(blob(workspace="site", used_at=LATE))
    assert await store.blobs.find(digest(DATA)) == [blob(workspace="site", used_at=LATE)]
    await store.blobs.touch(digest(DATA), LATE + 5)
    assert [one.used_at for one in await store.blobs.find(digest(DATA))] == [LATE + 5]


async def test_blobs_are_listed_by_digest_page_by_page(store: Store) -> None:
    names = sorted((digest(bytes([number])), workspace) for number in range(4) for workspace in ("", "site"))
    for sha256, workspace in names:
        await store.blobs.keep(Blob(sha256=sha256, size=1, workspace=workspace, created_at=NOW, used_at=NOW))

    first = [(one.sha256, one.workspace) for one in await store.blobs.blobs(None, ("", ""), 5)]
    rest = [(one.sha256, one.workspace) for one in await store.blobs.blobs(None, first[-1], 5)]
    assert first + rest == names

    of_site = [one.sha256 for one in await store.blobs.blobs("site", ("", ""), 3)]
    assert of_site == [sha256 for sha256, workspace in names if workspace == "site"][:3]
    assert len(await store.blobs.blobs("site", (of_site[-1], "site"), 3)) == 1


async def test_a_blob_becomes_an_artifact_for_ever(store: Store) -> None:
    await live(store, waiting("t1"))
    for data in (DATA, b"other"):
        await store.blobs.keep(blob(data))

    assert await attach(store, "t1", artifact("b"), "", None) is Kept.KEPT
    assert await attach(store, "t1", artifact("a"), "", None) is Kept.KEPT
    assert await attach(store, "t1", artifact("a"), "", None) is Kept.ALREADY
    assert await attach(store, "t1", artifact("a", b"other"), "", None) is Kept.TAKEN
    assert await store.blobs.artifacts("t1") == [artifact("a"), artifact("b")]


async def test_an_artifact_is_told_once_among_the_events_of_its_task(database: Database) -> None:
    async with database.open() as store:
        task = await step(store, start(await step(store, grant(await live(store, waiting("t1"))))))
        for data in (DATA, b"other"):
            await store.blobs.keep(blob(data))
        await attach(store, "t1", artifact("given"), "", None)
        await attach(store, "t1", artifact("given"), "", None)
        await attach(store, "t1", artifact("given", b"other"), "", None)
        await attach(store, "t1", artifact("made", b"other", attempt=1), "", task.ref)
        await step(store, settle(task))
        await attach(store, "t1", artifact("late"), "", None)
    async with database.open() as store:
        history = await store.history("t1")
        kept = [event for event in await store.events(0, 1_000) if event.task_id == "t1"]

    assert list(history) == kept
    told = [(event.name, event.attempt, event.data and event.data["name"]) for event in history][4:]
    assert told == [
        ("task.artifact", 0, "given"),
        ("task.artifact", 1, "made"),
        ("task.completed", 1, None),
        ("task.artifact", 0, "late"),
    ]
    assert history[4].data == {"name": "given", "sha256": digest(DATA), "size": len(DATA)}
    assert [event.revision for event in history] == sorted({event.revision for event in history})


async def test_wishes_of_one_commit_are_looked_at_one_after_the_other(store: Store) -> None:
    task = await step(store, start(await step(store, grant(await live(store, waiting("t1"))))))
    await store.blobs.keep(blob())
    last = NewArtifact("t1", artifact("last", attempt=1), "", task.ref)
    wishes = [NewArtifact("t1", artifact(name), "", None) for name in ("a", "b", "a")]
    notices = [Notice(EventName.TASK_ARTIFACT, "", "", {"number": number}, "t1") for number in range(4)]
    deed = Deed("artifact_attached", "anna", "task:t1", NOW, None, {})
    keepings = [Keeping(wish, notice, deed) for wish, notice in zip([*wishes, last], notices, strict=True)]

    receipt = await store.apply(Batch(now=NOW, control_ms=0, changes=[settle(task)], keepings=keepings))

    assert list(receipt.kept) == [Kept.KEPT, Kept.KEPT, Kept.ALREADY, Kept.NOT_CURRENT]  # the attempt ends before
    told = [event.data for event in receipt.events if event.name == "task.artifact"]
    assert told == [{"number": 0}, {"number": 1}]


async def test_what_cannot_be_an_artifact_is_told_why(store: Store) -> None:
    await live(store, waiting("t1"))
    await store.blobs.keep(blob())

    assert await store.blobs.artifacts("nobody") is None
    assert await attach(store, "nobody", artifact(), "", None) is Kept.NO_TASK
    assert await attach(store, "t1", artifact(data=b"other"), "", None) is Kept.NO_BLOB
    assert await attach(store, "t1", artifact(), "site", None) is Kept.NO_BLOB


async def test_only_the_current_attempt_makes_artifacts(store: Store) -> None:
    task = await step(store, start(await step(store, grant(await live(store, waiting("t1"))))))
    await store.blobs.keep(blob())
    ref = task.ref

    for stale in (ref._replace(attempt=ref.attempt + 1), ref._replace(fence=1), AttemptRef("nobody", 1, 100)):
        assert await attach(store, "t1", artifact(attempt=1), "", stale) is Kept.NOT_CURRENT
    assert await attach(store, "t1", artifact(attempt=1), "", ref) is Kept.KEPT
    await step(store, settle(task))
    assert await attach(store, "t1", artifact("late", attempt=1), "", ref) is Kept.NOT_CURRENT


async def test_what_attempts_have_made_is_there_as_long_as_its_bytes_are(database: Database) -> None:
    async with database.open() as store:
        ref = (await step(store, start(await step(store, grant(await live(store, waiting("t1"))))))).ref
        for name, data in (("plan", DATA), ("log", b"")):
            await put(store, data, "")
            await attach(store, "t1", artifact(name, data, attempt=1), "", ref)
        await attach(store, "t1", artifact("given"), "", None)
        plan, log = (AttemptArtifact(ref, name, digest(data)) for name, data in (("plan", DATA), ("log", b"")))
        others = [
            plan._replace(sha256=digest(b"other")),
            plan._replace(name="given"),
            plan._replace(name="p" * 100_000),
            plan._replace(ref=ref._replace(attempt=2)),
            plan._replace(ref=AttemptRef("nobody", 1, 1)),
        ]

        assert set(await store.blobs.there([plan, log, *others])) == {plan, log}
        await store.blobs.remove([plan.sha256])
        assert set(await store.blobs.there([plan, log])) == {log}


async def test_a_task_has_so_many_artifacts_and_no_more(store: Store) -> None:
    await live(store, waiting("t1"))
    await store.blobs.keep(blob())
    for number in range(MOST_ARTIFACTS):
        assert await attach(store, "t1", artifact(f"n{number}"), "", None) is Kept.KEPT
    assert await attach(store, "t1", artifact("one-more"), "", None) is Kept.TOO_MANY


async def test_artifacts_go_with_their_task(store: Store) -> None:
    task = await step(store, start(await step(store, grant(await live(store, waiting("t1"))))))
    await store.blobs.unfinished()
    sha256 = await put(store, DATA, "")
    await attach(store, "t1", artifact(), "", None)
    await step(store, settle(task))

    looked_at, gone = await store.blobs.forget(unused_since=LATE, now=LATE, limit=10)
    assert (looked_at, list(gone)) == (1, [])
    assert [one.used_at for one in await store.blobs.find(sha256)] == [LATE]

    before = {f"{what}_before": LATE * 2 for what in ("finished", "events", "keys", "sessions")}
    assert await store.sweep(**before, limit=10) == 1
    looked_at, gone = await store.blobs.forget(unused_since=LATE + 1, now=LATE, limit=10)
    assert (looked_at, list(gone)) == (1, [sha256])
    assert await store.blobs.find(sha256) == []


async def test_what_was_used_lately_is_not_looked_at(store: Store) -> None:
    await store.blobs.keep(blob(used_at=NOW))
    assert (await store.blobs.forget(unused_since=NOW, now=NOW, limit=10)).looked_at == 0


async def test_bytes_go_when_the_last_workspace_lets_them_go(store: Store) -> None:
    for workspace, used_at in (("", NOW), ("site", LATE)):
        await store.blobs.keep(blob(workspace=workspace, used_at=used_at))
    assert list((await store.blobs.forget(unused_since=LATE, now=LATE, limit=10)).gone) == []
    assert list((await store.blobs.forget(unused_since=LATE + 1, now=LATE, limit=10)).gone) == [digest(DATA)]


async def test_it_looks_at_those_first_that_were_used_least_lately(store: Store) -> None:
    for number in range(4):
        await store.blobs.keep(blob(bytes([number]), used_at=NOW - number))
    looked_at, gone = await store.blobs.forget(unused_since=LATE, now=LATE, limit=2)
    assert (looked_at, set(gone)) == (2, {digest(b"\x03"), digest(b"\x02")})


async def test_states_follow_one_another_and_the_last_are_kept(database: Database) -> None:
    async with database.open() as store:
        await store.blobs.keep(blob(workspace="site"))
        for version in range(1, MOST_STATES + 3):
            assert await save_state(store, state(version), after=version - 1, holder=None) is Kept.KEPT
    async with database.open() as store:
        assert await store.blobs.states("lab") == []
        kept = [state(version) for version in range(MOST_STATES + 2, 2, -1)]
        assert await store.blobs.states("site") == kept


@pytest.mark.parametrize("after", [0, 2])
async def test_a_state_that_replaces_another_than_the_newest_is_not_saved(store: Store, after: int) -> None:
    await store.blobs.keep(blob(workspace="site"))
    await save_state(store, state(1), after=0, holder=None)
    assert await save_state(store, state(after + 1), after=after, holder=None) is Kept.CHANGED
    assert await store.blobs.states("site") == [state(1)]


async def test_a_state_needs_its_blob_in_the_workspace(store: Store) -> None:
    await store.blobs.keep(blob(workspace="lab"))
    assert await save_state(store, state(1), after=0, holder=None) is Kept.NO_BLOB


async def test_while_a_task_holds_the_workspace_only_its_attempt_saves_the_state(store: Store) -> None:
    await store.blobs.keep(blob(workspace="site"))
    place = Hold(workspace_key("site"), 0)
    granted = await step(store, grant(await live(store, waiting("t1", workspace="site")), takes=[place]))
    task = await step(store, start(granted))

    assert await save_state(store, state(1), after=0, holder=None) is Kept.HELD
    assert await save_state(store, state(1), after=0, holder=task.ref) is Kept.KEPT
    await step(store, freeing(settle(task)))
    assert await save_state(store, state(2), after=1, holder=task.ref) is Kept.NOT_CURRENT
    assert await save_state(store, state(2), after=1, holder=None) is Kept.KEPT


async def test_a_state_keeps_its_blob_and_goes_with_its_workspace(store: Store) -> None:
    await store.create_workspace(Workspace(name="site", pool="default", mode=WorkspaceMode.AGENT, created_at=NOW))
    await store.blobs.keep(blob(workspace="site"))
    await save_state(store, state(1), after=0, holder=None)
    assert list((await store.blobs.forget(unused_since=LATE, now=LATE, limit=10)).gone) == []

    await store.remove_workspace("site")

    assert await store.blobs.states("site") == []
    assert list((await store.blobs.forget(unused_since=LATE + 1, now=LATE, limit=10)).gone) == [digest(DATA)]


async def test_bytes_that_nobody_has_are_found_part_by_part(store: Store) -> None:
    await store.blobs.unfinished()
    stray, kept = await put(store, b"stray"), await put(store, b"kept", "")
    found = [sha256 for number in range(256) for sha256 in await store.blobs.strays(number)]
    assert found == [stray]
    assert kept not in found
