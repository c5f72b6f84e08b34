"""What blobs stand for: artifacts of tasks, and states of workspaces that follow one another."""

from __future__ import annotations

import hashlib

import pytest

from nodelink.errors import (
    BlobConflict,
    BlobNotFound,
    InvalidTask,
    NotAllowed,
    NotAuthenticated,
    StateChanged,
    StateUnguarded,
    TaskNotFound,
    WorkspaceConflict,
    WorkspaceNotFound,
)
from nodelink.task import AttemptRef, Finished, Outcome, Started, TaskRequest
from nodelink_server.core.attempt_access import AgentProof
from nodelink_server.core.blob_ports import UploadName
from nodelink_server.core.workspace_states import NO_STATE
from tests.support.core_parts import Core, eventually, make_submission, running_core
from tests.support.fake_agent import FakeAgent

ONE, TWO = b"one", b"two"
SECRET = b"s" * 32


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


async def put(core: Core, data: bytes, workspace: str = "") -> str:
    name = UploadName(digest(data), len(data), workspace)
    if not (await core.manager.blobs.announce(name)).is_complete:
        await core.manager.blobs.append(name, 0, data)
    return name.sha256


async def working(core: Core, **spec: object) -> tuple[FakeAgent, TaskRequest]:
    """An agent that works at a task, and the task."""
    agent = FakeAgent(core)
    await agent.connect()
    await core.submit(make_submission(**spec))  # type: ignore[arg-type]
    request = await agent.task()
    agent.say(request.ref, Started())
    return agent, request


async def test_an_artifact_is_found_by_its_name_the_last_attempts_first() -> None:
    async with running_core() as core:
        _, request = await working(core)
        task_id = request.ref.task_id
        await core.manager.artifacts.attach(task_id, "plan", await put(core, ONE))
        await core.manager.artifacts.attach(task_id, "plan", await put(core, TWO), holder=request.ref)

        assert [one.attempt for one in await core.manager.artifacts.list(task_id)] == [0, 1]
        assert (await core.manager.artifacts.get(task_id, "plan")).sha256 == digest(TWO)
        assert (await core.manager.artifacts.get(task_id, "plan", attempt=0)).sha256 == digest(ONE)
        with pytest.raises(BlobNotFound):
            await core.manager.artifacts.get(task_id, "other")
        with pytest.raises(BlobNotFound):
            await core.manager.artifacts.get(task_id, "plan", attempt=2)


async def test_what_cannot_be_an_artifact_is_refused() -> None:
    async with running_core() as core:
        [task_id] = await core.submit()
        sha256 = await put(core, ONE)
        attach = core.manager.artifacts.attach
        await attach(task_id, "plan", sha256)

        for name in ("", "../plan", "a/b", "x" * 64):
            with pytest.raises(InvalidTask):
                await attach(task_id, name, sha256)
        with pytest.raises(BlobConflict):
            await attach(task_id, "plan", await put(core, TWO))
        with pytest.raises(BlobNotFound):
            await attach(task_id, "other", digest(b"never came"))
        with pytest.raises(TaskNotFound):
            await attach("nobody", "plan", sha256)
        with pytest.raises(TaskNotFound):
            await core.manager.artifacts.list("nobody")
        with pytest.raises(NotAllowed):
            await attach(task_id, "late", sha256, holder=AttemptRef(task_id, 1, 1))


async def test_a_blob_of_no_workspace_is_that_of_the_task_when_it_becomes_its_artifact() -> None:
    async with running_core() as core:
        await core.manager.workspaces.create("site", pool="default", mode="agent")
        [task_id] = await core.submit(make_submission(workspace="site"))
        await core.manager.artifacts.attach(task_id, "plan", await put(core, ONE))
        assert await core.manager.blobs.used("site") == len(ONE)


async def test_an_agent_proves_that_it_has_the_attempt() -> None:
    async with running_core() as core:
        agent, request = await working(core)
        ref = request.ref
        right = AgentProof(agent_id=agent.agent_id, secret=SECRET, ref=ref)
        access = core.manager.attempt_access

        assert (await access.task_of(right)).id == ref.task_id
        for agent_id, given in ((agent.agent_id, b"x" * 32), ("nobody", SECRET)):
            with pytest.raises(NotAuthenticated):
                await access.task_of(AgentProof(agent_id=agent_id, secret=given, ref=ref))
        for stale in (ref._replace(attempt=2), ref._replace(fence=7), ref._replace(task_id="nobody")):
            with pytest.raises(NotAllowed):
                await access.task_of(AgentProof(agent_id=agent.agent_id, secret=SECRET, ref=stale))

        agent.say(ref, Finished(outcome=Outcome.COMPLETED))
        await eventually(lambda: _is_over(core, ref.task_id))
        with pytest.raises(NotAllowed):
            await access.task_of(right)


async def _is_over(core: Core, task_id: str) -> bool:
    return (await core.manager.get(task_id)).task.is_terminal


async def test_another_agent_has_no_part_in_an_attempt() -> None:
    async with running_core() as core:
        _, request = await working(core)
        other = FakeAgent(core, agent_id="other")
        await other.connect()
        proof = AgentProof(agent_id=other.agent_id, secret=SECRET, ref=request.ref)
        with pytest.raises(NotAllowed):
            await core.manager.attempt_access.task_of(proof)


async def test_states_are_saved_by_who_knows_the_one_before() -> None:
    async with running_core() as core:
        await core.manager.workspaces.create("site", pool="default", mode="agent")
        states, save = core.manager.workspace_states, core.manager.workspace_states.save
        with pytest.raises(BlobNotFound):
            await states.get("site")
        first = await save("site", await put(core, ONE, "site"), if_match=NO_STATE)
        assert (first.version, first.etag) == (1, f"1-{digest(ONE)[:16]}")

        for wrong in (NO_STATE, f"2-{digest(ONE)[:16]}", "*"):
            with pytest.raises(StateChanged):
                await save("site", await put(core, TWO, "site"), if_match=wrong)
        with pytest.raises(StateUnguarded):
            await save("site", digest(TWO), if_match=None)

        second = await save("site", digest(TWO), if_match=first.etag)
        assert await states.list("site") == [second, first]
        assert await states.get("site") == second
        assert await states.get("site", version=1) == first
        with pytest.raises(BlobNotFound):
            await states.get("site", version=3)


async def test_a_state_that_is_saved_again_in_the_same_words_is_saved_once() -> None:
    async with running_core() as core:
        await core.manager.workspaces.create("site", pool="default", mode="agent")
        save = core.manager.workspace_states.save
        first = await save("site", await put(core, ONE, "site"), if_match=NO_STATE)
        assert await save("site", digest(ONE), if_match=NO_STATE) == first
        second = await save("site", await put(core, TWO), if_match=first.etag)
        assert await save("site", digest(TWO), if_match=first.etag) == second
        assert len(await core.manager.workspace_states.list("site")) == 2


async def test_a_state_is_of_a_workspace_and_of_bytes_that_are_there() -> None:
    async with running_core() as core:
        with pytest.raises(WorkspaceNotFound):
            await core.manager.workspace_states.get("nobody's")
        with pytest.raises(WorkspaceNotFound):
            await core.manager.workspace_states.save("nobody's", digest(ONE), if_match=NO_STATE)
        await core.manager.workspaces.create("site", pool="default", mode="agent")
        with pytest.raises(BlobNotFound):
            await core.manager.workspace_states.save("site", digest(ONE), if_match=NO_STATE)


async def test_while_a_task_works_in_a_workspace_it_alone_saves_the_state() -> None:
    async with running_core() as core:
        await core.manager.workspaces.create("site", pool="default", mode="agent")
        agent, request = await working(core, workspace="site")
        save, sha256 = core.manager.workspace_states.save, await put(core, ONE, "site")

        with pytest.raises(WorkspaceConflict):
            await save("site", sha256, if_match=NO_STATE)
        state = await save("site", sha256, if_match=NO_STATE, holder=request.ref)
        assert state.task_id == request.ref.task_id

        agent.say(request.ref, Finished(outcome=Outcome.COMPLETED))
        await eventually(lambda: _is_over(core, request.ref.task_id))
        with pytest.raises(NotAllowed):
            await save("site", await put(core, TWO, "site"), if_match=state.etag, holder=request.ref)
        await save("site", digest(TWO), if_match=state.etag)
