"""That a task has got an artifact, and a workspace another state, is told like everything else that is durable."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator

import pytest

from nodelink.errors import BlobConflict, StoreUnavailable
from nodelink.task import Started
from nodelink_server.core.blob_ports import Artifact, Kept, NewArtifact, UploadName
from nodelink_server.core.deeds import Deed
from nodelink_server.core.events import EventFilter, Heard
from nodelink_server.core.ports import EventName, Keeping, Notice, TaskEvent
from nodelink_server.core.workspace_states import NO_STATE
from tests.support.core_parts import Core, make_submission, running_core
from tests.support.fake_agent import FakeAgent

DATA, OTHER = b"one", b"another"
TOLD = frozenset({str(EventName.TASK_ARTIFACT), str(EventName.WORKSPACE_STATE)})


async def put(core: Core, data: bytes) -> str:
    """Have bytes. Returns their SHA-256."""
    name = UploadName(hashlib.sha256(data).hexdigest(), len(data))
    if not (await core.manager.blobs.announce(name)).is_complete:
        await core.manager.blobs.append(name, 0, data)
    return name.sha256


async def listening(core: Core, wanted: EventFilter) -> AsyncGenerator[Heard, None]:
    """A listener that has been greeted."""
    stream = core.manager.events.watch(wanted, after=None)
    await anext(stream)
    return stream


async def heard(stream: AsyncGenerator[Heard, None], count: int) -> list[TaskEvent]:
    """The next so many events."""
    events: list[TaskEvent] = []
    async with asyncio.timeout(60):
        while len(events) < count:
            events += await anext(stream)
    return events


async def test_an_artifact_is_told_everywhere_and_in_the_room_of_its_task_also_to_who_comes_later() -> None:
    async with running_core() as core:
        await core.manager.workspaces.create("site", pool="default", mode="agent")
        [task_id, other] = await core.submit(make_submission(workspace="site"), make_submission())
        everywhere = await listening(core, EventFilter(names=TOLD))
        [room, another] = [await listening(core, EventFilter(task_id=one, names=TOLD)) for one in (task_id, other)]
        sha256 = await put(core, DATA)
        artifact = await core.manager.artifacts.attach(task_id, "in.tar", sha256)
        await core.manager.artifacts.attach(other, "in.tar", sha256)

        [first, second] = await heard(everywhere, 2)
        assert (first.name, first.task_id, first.type, first.pool) == ("task.artifact", task_id, "echo", "default")
        assert (first.time, first.attempt, first.agent_id, first.status) == (artifact.created_at, 0, "", "")
        assert first.data == {"name": "in.tar", "sha256": sha256, "size": 3}
        assert await heard(room, 1) == [first]
        assert await heard(another, 1) == [second]
        later = await listening(core, EventFilter(task_id=task_id, names=TOLD))
        assert await heard(later, 1) == [first]
        for stream in (everywhere, room, another, later):
            await stream.aclose()


async def test_an_artifact_of_an_attempt_is_told_with_it() -> None:
    async with running_core() as core:
        agent = FakeAgent(core)
        await agent.connect()
        await core.submit()
        ref = (await agent.task()).ref
        agent.say(ref, Started())
        await core.manager.artifacts.attach(ref.task_id, "plan", await put(core, DATA), holder=ref)

        history = await core.database.store().history(ref.task_id)
        [event] = [event for event in history if event.name == "task.artifact"]
        assert (event.attempt, event.data and event.data["name"]) == (1, "plan")


async def test_a_state_is_told_with_its_workspace_and_its_etag() -> None:
    async with running_core() as core:
        await core.manager.workspaces.create("site", pool="web", mode="agent")
        stream = await listening(core, EventFilter(pool="web", names=TOLD))
        state = await core.manager.workspace_states.save("site", await put(core, DATA), if_match=NO_STATE)

        [event] = await heard(stream, 1)
        assert (event.name, event.task_id, event.time) == ("workspace.state", "", state.created_at)
        told = {"workspace": "site", "etag": state.etag, "version": 1, "sha256": state.sha256, "size": 3}
        assert event.data == told
        await stream.aclose()


async def test_of_several_who_ride_in_one_commit_each_hears_what_became_of_its_own() -> None:
    async with running_core() as core:
        [task_id] = await core.submit()
        sha256 = await put(core, DATA)

        def keeping(name: str, digest: str) -> Keeping:
            artifact = Artifact(name=name, attempt=0, sha256=digest, size=3, created_at=1)
            notice = Notice(EventName.TASK_ARTIFACT, "", "", {"name": name}, task_id)
            return Keeping(NewArtifact(task_id, artifact, ""), notice, Deed("artifact_attached", "anna", "it", 1))

        commit, before = core.manager.ledger.commit, core.manager.ledger.rounds
        outcomes = await asyncio.gather(
            commit(keepings=[keeping("a", sha256), keeping("a", sha256)]),
            commit(),
            commit(keepings=[keeping("b", "nobody has it")]),
        )

        assert core.manager.ledger.rounds - before == 1
        assert [list(one.kept) for one in outcomes] == [[Kept.KEPT, Kept.ALREADY], [], [Kept.NO_BLOB]]


async def test_what_changes_nothing_or_is_refused_is_not_told() -> None:
    async with running_core() as core:
        await core.manager.workspaces.create("site", pool="default", mode="agent")
        [task_id] = await core.submit(make_submission(workspace="site"))
        one, other = await put(core, DATA), await put(core, OTHER)
        for _ in range(2):
            await core.manager.artifacts.attach(task_id, "in.tar", one)
            await core.manager.workspace_states.save("site", one, if_match=NO_STATE)
        with pytest.raises(BlobConflict):
            await core.manager.artifacts.attach(task_id, "in.tar", other)
        core.database.failing.add("apply")
        with pytest.raises(StoreUnavailable):
            await core.manager.artifacts.attach(task_id, "late", one)
        core.database.failing.clear()

        told = [event.name for event in await core.database.store().events(0, 1_000) if event.name in TOLD]
        assert told == ["task.artifact", "workspace.state"]
