"""Bytes over gRPC: for callers, and for the attempts of agents, each on a stream of its own."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

import grpc
import pytest

from nodelink.task import AttemptRef, TaskRequest
from nodelink.v1 import agent_pb2, agent_pb2_grpc, data_pb2, data_pb2_grpc
from nodelink.wire import put_ref
from nodelink_server.core.blob_ports import MAX_CHUNK_BYTES, UploadName
from nodelink_server.core.workspace_states import NO_STATE
from nodelink_server.store.disk import Disk
from tests.support.core_parts import eventually
from tests.support.grpc_door import GrpcDoor, grpc_door, reason_of, refusal
from tests.support.http_door import ManualAgent

WAIT_SECONDS = 30.0
DATA = bytes(range(256)) * 8
SECRET = b"s" * 32


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def artifacts(door: GrpcDoor) -> Any:
    return data_pb2_grpc.ArtifactServiceStub(door.channel)


def states(door: GrpcDoor) -> Any:
    return data_pb2_grpc.WorkspaceStateServiceStub(door.channel)


def announced(data: bytes = DATA, *, workspace: str = "", sha256: str = "") -> data_pb2.UploadArtifactRequest:
    wanted = data_pb2.ArtifactAnnouncement(sha256=sha256 or digest(data), size=len(data), workspace=workspace)
    return data_pb2.UploadArtifactRequest(announcement=wanted)


def piece(data: bytes) -> data_pb2.UploadArtifactRequest:
    return data_pb2.UploadArtifactRequest(data=data)


async def upload(door: GrpcDoor, *frames: data_pb2.UploadArtifactRequest) -> list[tuple[int, bool]]:
    async with asyncio.timeout(WAIT_SECONDS):
        return [(one.offset, one.complete) async for one in artifacts(door).UploadArtifact(iter(frames))]


async def put(door: GrpcDoor, data: bytes = DATA, *, workspace: str = "") -> str:
    assert (await upload(door, announced(data, workspace=workspace), piece(data)))[-1][1]
    return digest(data)


async def read(door: GrpcDoor, sha256: str, offset: int = 0) -> bytes:
    request = data_pb2.DownloadArtifactRequest(sha256=sha256, offset=offset)
    async with asyncio.timeout(WAIT_SECONDS):
        frames = [frame async for frame in artifacts(door).DownloadArtifact(request)]
    assert max(len(frame.data) for frame in frames) <= MAX_CHUNK_BYTES
    return b"".join(frame.data for frame in frames)


async def refused(call: Any) -> tuple[grpc.StatusCode, str]:
    async def all_of_it() -> None:
        async for _ in call:
            pass

    code, status = await refusal(all_of_it())
    return code, reason_of(status)


async def test_bytes_go_up_in_pieces_and_come_down_from_any_offset() -> None:
    async with grpc_door() as door:
        answers = await upload(door, announced(), piece(DATA[:1000]), piece(DATA[1000:]))
        assert answers == [(0, False), (len(DATA), True)]
        assert await read(door, digest(DATA)) == DATA
        assert await read(door, digest(DATA), 2000) == DATA[2000:]
        assert await read(door, digest(DATA), len(DATA)) == b""
        assert await upload(door, announced()) == [(len(DATA), True)]


async def test_an_upload_that_broke_off_goes_on_where_it_was() -> None:
    async with grpc_door() as door:
        assert await upload(door, announced(), piece(DATA[:1000])) == [(0, False), (1000, False)]
        assert await upload(door, announced(), piece(DATA[1000:])) == [(1000, False), (len(DATA), True)]


async def test_large_bytes_come_in_pieces_of_a_bounded_size() -> None:
    data = bytes(MAX_CHUNK_BYTES * 2 + 5)
    async with grpc_door() as door:
        frames = [piece(data[start : start + MAX_CHUNK_BYTES]) for start in range(0, len(data), MAX_CHUNK_BYTES)]
        assert (await upload(door, announced(data), *frames))[-1] == (len(data), True)
        assert await read(door, digest(data)) == data


@pytest.mark.parametrize(
    "frames, code, reason",
    [
        ([], grpc.StatusCode.INVALID_ARGUMENT, "MALFORMED"),
        ([piece(DATA)], grpc.StatusCode.INVALID_ARGUMENT, "MALFORMED"),
        ([announced(), announced()], grpc.StatusCode.INVALID_ARGUMENT, "MALFORMED"),
        ([announced(), piece(b"")], grpc.StatusCode.INVALID_ARGUMENT, "INVALID"),
        ([announced(), piece(DATA + b"x")], grpc.StatusCode.INVALID_ARGUMENT, "INVALID"),
        ([announced(), piece(DATA[:-1] + b"x")], grpc.StatusCode.DATA_LOSS, "DIGEST_MISMATCH"),
        ([announced(sha256="../x")], grpc.StatusCode.INVALID_ARGUMENT, "INVALID"),
        ([announced(workspace="nobody's")], grpc.StatusCode.NOT_FOUND, "NOT_FOUND"),
        (
            [announced(bytes(MAX_CHUNK_BYTES + 1)), piece(bytes(MAX_CHUNK_BYTES + 1))],
            grpc.StatusCode.INVALID_ARGUMENT,
            "TOO_LARGE",
        ),
    ],
)
async def test_what_cannot_be_taken_in_is_refused(
    frames: Sequence[data_pb2.UploadArtifactRequest], code: grpc.StatusCode, reason: str
) -> None:
    async with grpc_door() as door:
        assert await refused(artifacts(door).UploadArtifact(iter(frames))) == (code, reason)


async def test_what_cannot_be_read_is_refused() -> None:
    async with grpc_door() as door:
        await put(door)
        for sha256, offset, reason in (
            ("0" * 64, 0, "NOT_FOUND"),
            ("x", 0, "INVALID"),
            (digest(DATA), 2049, "INVALID"),
        ):
            request = data_pb2.DownloadArtifactRequest(sha256=sha256, offset=offset)
            assert (await refused(artifacts(door).DownloadArtifact(request)))[1] == reason


async def test_bytes_are_listed_with_what_a_workspace_has() -> None:
    async with grpc_door() as door:
        await door.manager.workspaces.create("site", pool="default", mode="agent")
        await put(door, workspace="site")
        await put(door, b"other")
        page = await artifacts(door).ListArtifacts(data_pb2.ListArtifactsRequest(workspace="site"))
        assert [(one.sha256, one.size, one.workspace) for one in page.artifacts] == [(digest(DATA), len(DATA), "site")]
        assert (page.used, page.quota, page.next_page_token) == (len(DATA), door.manager.blobs.quota, "")
        first = await artifacts(door).ListArtifacts(data_pb2.ListArtifactsRequest(page_size=1))
        second = await artifacts(door).ListArtifacts(
            data_pb2.ListArtifactsRequest(page_size=1, page_token=first.next_page_token)
        )
        assert not first.HasField("used")
        assert first.artifacts[0].sha256 < second.artifacts[0].sha256


async def test_bytes_become_parts_of_a_task() -> None:
    async with grpc_door() as door:
        task_id, sha256 = await door.submit(), await put(door)
        request = data_pb2.AttachArtifactRequest(task_id=task_id, name="in.tar", sha256=sha256)
        attached = (await artifacts(door).AttachArtifact(request)).artifact
        listed = await artifacts(door).ListTaskArtifacts(data_pb2.ListTaskArtifactsRequest(task_id=task_id))
        assert list(listed.artifacts) == [attached]
        assert (attached.name, attached.attempt, attached.sha256, attached.size) == ("in.tar", 0, sha256, len(DATA))

        request.sha256 = await put(door, b"other")
        code, status = await refusal(artifacts(door).AttachArtifact(request))
        assert (code, reason_of(status)) == (grpc.StatusCode.FAILED_PRECONDITION, "CONFLICT")


async def test_states_follow_one_another() -> None:
    async with grpc_door() as door:
        await door.manager.workspaces.create("site", pool="default", mode="agent")
        one, two = await put(door, b"one"), await put(door, b"two")

        def request(sha256: str, **guard: str) -> data_pb2.SaveWorkspaceStateRequest:
            return data_pb2.SaveWorkspaceStateRequest(workspace="site", sha256=sha256, **guard)

        code, status = await refusal(states(door).SaveWorkspaceState(request(one)))
        assert (code, reason_of(status)) == (grpc.StatusCode.INVALID_ARGUMENT, "PRECONDITION_REQUIRED")
        first = (await states(door).SaveWorkspaceState(request(one, if_match=NO_STATE))).state
        code, status = await refusal(states(door).SaveWorkspaceState(request(two, if_match=NO_STATE)))
        assert (code, reason_of(status)) == (grpc.StatusCode.ABORTED, "PRECONDITION_FAILED")
        second = (await states(door).SaveWorkspaceState(request(two, if_match=first.etag))).state

        listed = await states(door).ListWorkspaceStates(data_pb2.ListWorkspaceStatesRequest(workspace="site"))
        assert list(listed.states) == [second, first]
        got = await states(door).GetWorkspaceState(data_pb2.GetWorkspaceStateRequest(workspace="site", version=1))
        assert got.state == first


async def test_a_server_that_stops_ends_transfers_and_they_go_on_later() -> None:
    disk = Disk()
    begun = asyncio.Event()

    async def frames() -> AsyncIterator[data_pb2.UploadArtifactRequest]:
        yield announced()
        yield piece(DATA[:1000])
        begun.set()
        await asyncio.Event().wait()

    async with grpc_door(disk=disk) as door:
        call = artifacts(door).UploadArtifact(frames())
        await call.read()
        await begun.wait()
        await eventually(lambda: has_come(door, 1000))
        door.manager.stopping.set()
        code, _ = await refusal(call.read())
        assert code is grpc.StatusCode.UNAVAILABLE
    async with grpc_door(disk=disk) as door:
        assert await upload(door, announced(), piece(DATA[1000:])) == [(1000, False), (len(DATA), True)]


async def has_come(door: GrpcDoor, count: int) -> bool:
    return (await door.manager.blobs.announce(UploadName(digest(DATA), len(DATA)))).offset == count


# --- for attempts -----------------------------------------------------------------------------------------------------


def proof(ref: AttemptRef, *, agent_id: str = "a1", secret: bytes = SECRET) -> agent_pb2.AttemptProof:
    pb = agent_pb2.AttemptProof(agent_id=agent_id, secret=secret)
    put_ref(pb.ref, ref)
    return pb


async def working(door: GrpcDoor, agent: ManualAgent, **spec: Any) -> TaskRequest:
    await door.submit(**spec)
    request = await agent.take()
    agent.start(request.ref)
    return request


def agents(door: GrpcDoor) -> Any:
    return agent_pb2_grpc.AgentServiceStub(door.channel)


def data_of(door: GrpcDoor) -> Any:
    return data_pb2_grpc.DataServiceStub(door.channel)


def sending(given: agent_pb2.AttemptProof, data: bytes, *, name: str = "") -> AsyncIterator[agent_pb2.PutBlobRequest]:
    async def frames() -> AsyncIterator[agent_pb2.PutBlobRequest]:
        wanted = agent_pb2.BlobAnnouncement(proof=given, sha256=digest(data), size=len(data), artifact_name=name)
        yield agent_pb2.PutBlobRequest(announcement=wanted)
        yield agent_pb2.PutBlobRequest(data=data)

    return frames()


async def test_an_attempt_loads_what_it_works_on_and_leaves_what_it_made() -> None:
    async with grpc_door() as door, door.agent() as agent:
        await door.manager.workspaces.create("site", pool="default", mode="agent")
        await put(door, b"old", workspace="site")
        old = await door.manager.workspace_states.save("site", digest(b"old"), if_match=NO_STATE)
        request = await working(door, agent, workspace="site")
        mine = proof(request.ref)
        await put(door, b"input")
        await door.manager.artifacts.attach(request.ref.task_id, "in", digest(b"input"))

        loaded = await data_of(door).LoadTaskData(data_pb2.LoadTaskDataRequest(proof=mine))
        assert (loaded.workspace, loaded.state.etag) == ("site", old.etag)
        assert [(one.name, one.sha256) for one in loaded.artifacts] == [("in", digest(b"input"))]
        got = agents(door).GetBlob(agent_pb2.GetBlobRequest(proof=mine, sha256=digest(b"input"), offset=2))
        assert b"".join([frame.data async for frame in got]) == b"put"

        answers = [(one.offset, one.complete) async for one in agents(door).PutBlob(sending(mine, DATA, name="plan"))]
        assert answers == [(0, False), (len(DATA), True)]
        again = [(one.offset, one.complete) async for one in agents(door).PutBlob(sending(mine, DATA, name="plan"))]
        assert again == [(len(DATA), True)]
        made = await door.manager.artifacts.get(request.ref.task_id, "plan")
        assert (made.attempt, made.sha256) == (1, digest(DATA))
        assert await door.manager.blobs.used("site") == len(DATA) + len(b"old") + len(b"input")

        wish = data_pb2.SaveStateRequest(proof=mine, sha256=digest(DATA), if_match=loaded.state.etag)
        saved = (await data_of(door).SaveState(wish)).state
        assert (saved.version, saved.task_id) == (2, request.ref.task_id)


async def test_what_an_attempt_leaves_is_audited_as_its_agents() -> None:
    disk = Disk()
    async with grpc_door(disk=disk) as door, door.agent() as agent:
        await door.manager.workspaces.create("site", pool="default", mode="agent")
        await put(door, b"input")
        request = await working(door, agent, workspace="site")
        disk.deeds.clear()
        mine = proof(request.ref)
        async for _ in agents(door).PutBlob(sending(mine, DATA, name="plan")):
            pass
        await data_of(door).SaveState(data_pb2.SaveStateRequest(proof=mine, sha256=digest(DATA), if_match=NO_STATE))

        assert [(deed.kind, deed.by, deed.about) for deed in disk.deeds] == [
            ("blob_kept", "agent:a1", f"blob:{digest(DATA)}"),
            ("artifact_attached", "agent:a1", f"task:{request.ref.task_id}"),
            ("state_saved", "agent:a1", "workspace:site"),
        ]


async def test_who_has_not_the_attempt_has_nothing() -> None:
    async with grpc_door() as door, door.agent() as agent:
        request = await working(door, agent)
        await put(door)
        stale = request.ref._replace(fence=request.ref.fence + 1)
        for given, code in (
            (proof(request.ref, secret=b"x" * 32), grpc.StatusCode.UNAUTHENTICATED),
            (proof(request.ref, agent_id="a2"), grpc.StatusCode.UNAUTHENTICATED),
            (agent_pb2.AttemptProof(), grpc.StatusCode.UNAUTHENTICATED),
            (proof(stale), grpc.StatusCode.PERMISSION_DENIED),
        ):
            get = agents(door).GetBlob(agent_pb2.GetBlobRequest(proof=given, sha256=digest(DATA)))
            assert (await refused(get))[0] is code
            assert (await refused(agents(door).PutBlob(sending(given, DATA))))[0] is code
            load = data_of(door).LoadTaskData(data_pb2.LoadTaskDataRequest(proof=given))
            assert (await refusal(load))[0] is code
            save = data_of(door).SaveState(data_pb2.SaveStateRequest(proof=given, sha256=digest(DATA), if_match=""))
            assert (await refusal(save))[0] is code


async def test_an_attempt_has_no_part_in_the_bytes_of_another_workspace() -> None:
    async with grpc_door() as door, door.agent() as agent:
        await door.manager.workspaces.create("lab", pool="default", mode="agent")
        await put(door, workspace="lab")
        request = await working(door, agent)
        get = agents(door).GetBlob(agent_pb2.GetBlobRequest(proof=proof(request.ref), sha256=digest(DATA)))
        assert await refused(get) == (grpc.StatusCode.NOT_FOUND, "NOT_FOUND")


async def test_a_task_without_a_workspace_has_no_state() -> None:
    async with grpc_door() as door, door.agent() as agent:
        mine = proof((await working(door, agent)).ref)
        await put(door)
        loaded = await data_of(door).LoadTaskData(data_pb2.LoadTaskDataRequest(proof=mine))
        assert not loaded.HasField("state")
        save = data_of(door).SaveState(data_pb2.SaveStateRequest(proof=mine, sha256=digest(DATA), if_match=""))
        assert (await refusal(save))[0] is grpc.StatusCode.NOT_FOUND


async def test_a_name_that_is_none_is_refused_before_any_byte_comes() -> None:
    async with grpc_door() as door, door.agent() as agent:
        mine = proof((await working(door, agent)).ref)
        assert (await refused(agents(door).PutBlob(sending(mine, DATA, name="../plan"))))[1] == "INVALID"
        assert await door.manager.blobs.used("") == 0
