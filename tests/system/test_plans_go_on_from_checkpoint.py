"""The server and its data are gone while a plan waits for an approval: the next one has that plan, and applies it."""

from __future__ import annotations

import hashlib
import json
import shutil
import tarfile
from pathlib import Path

import pytest

from tests.support.approvals import approve, having, planned
from tests.support.command_line import nodelink
from tests.support.processes import EndedEarly, Server, Services
from tests.support.rest import Json, Rest
from tests.support.small_tool import PAYLOAD, SmallTool

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

STATE = b'{"pillars": 2}'


@pytest.fixture
def tool(tmp_path: Path) -> SmallTool:
    """What plans and applies."""
    return SmallTool(tmp_path)


async def waiting_for_approval(
    services: Services, rest: Rest, server: Server, tool: SmallTool, payload: Json = PAYLOAD
) -> tuple[str, Json]:
    """A task in a workspace that has a state, with a plan that nobody has approved yet."""
    await services.agent(server, "--tools", "ansible", env=tool.env)
    await rest.online()
    await rest.post("/workspaces", {"name": "site"})
    headers = {"If-None-Match": "*", "Content-Type": "application/octet-stream"}
    saved = await rest.http.put("/api/v1/workspaces/site/state", content=STATE, headers=headers)
    assert saved.is_success, saved.text
    return await planned(rest, payload, workspace="site")


async def uploaded(server: Server, folder: Path) -> Json:
    """A payload that names its source, an archive, by its digest."""
    (folder / "site.yml").write_text("- hosts: all\n")
    with tarfile.open(folder / "site.tar", "w") as archive:
        archive.add(folder / "site.yml", "site.yml")
    sent = await nodelink("artifacts", "upload", "site.tar", "--server", server.grpc, cwd=folder)
    assert sent.code == 0, sent.err
    sha256 = hashlib.sha256((folder / "site.tar").read_bytes()).hexdigest()
    return {"tool": "ansible", "source": {"sha256": sha256, "playbook": "site.yml"}}


async def kept(rest: Rest) -> tuple[Json, bytes]:
    """Pause. Returns what the checkpoint of the pause says of itself, and its file."""
    checkpoint = (await rest.post("/scheduler/pause", {}, 200))["checkpoint"]
    return checkpoint, (await rest.http.get(checkpoint["url"])).content


async def lost(server: Server) -> None:
    """The end of a server, and of all that it had."""
    await server.kill()
    shutil.rmtree(server.data_dir)


async def test_the_plan_that_waited_is_applied_by_the_next_server_though_that_dies_as_it_loads(
    services: Services, tool: SmallTool, tmp_path: Path
) -> None:
    file = tmp_path / "queue.checkpoint"
    server = await services.server()
    async with Rest(server) as rest:
        payload = await uploaded(server, tmp_path)
        task_id, plan = await waiting_for_approval(services, rest, server, tool, payload)
        checkpoint, content = await kept(rest)
        file.write_bytes(content)
        stored = await rest.http.get(f"/api/v1/artifacts/{plan['sha256']}")
        state = await rest.http.get("/api/v1/workspaces/site/state")
    await lost(server)
    loading = ("--load-checkpoint", str(file))
    with pytest.raises(EndedEarly):  # with the bytes, and without the rows that name them
        await services.server(*loading, again=server, failpoint="server.writer.before_commit")
    came_first = (server.data_dir / "blobs" / plan["sha256"][:2] / plan["sha256"]).exists()
    server = await services.server(*loading, again=server)

    async with Rest(server) as rest:
        await rest.online()
        same_plan = await rest.get(f"/tasks/{task_id}/plan")
        same_stored = await rest.http.get(f"/api/v1/artifacts/{plan['sha256']}")
        same_state = await rest.http.get("/api/v1/workspaces/site/state")
        await approve(rest, task_id, plan["sha256"])
        await rest.post("/scheduler/resume", {}, 200)
        applied = await having(rest, task_id, "completed")

    assert (checkpoint["complete"], checkpoint["blobs"], checkpoint["blobs_left_out"]) == (True, 3, 0)
    assert came_first
    assert {**same_plan, "expires_at": plan["expires_at"]} == plan  # that is told by another clock
    assert (same_stored.status_code, same_stored.content) == (200, stored.content)
    assert (same_state.content, same_state.headers["etag"]) == (STATE, state.headers["etag"])
    assert (applied["attempt"], tool.applied) == (2, 1)


@pytest.mark.parametrize("is_brought", [True, False])
async def test_a_plan_that_the_checkpoint_lacks_is_brought_by_a_person_or_its_task_fails_by_its_name(
    services: Services, tool: SmallTool, tmp_path: Path, is_brought: bool
) -> None:
    file = tmp_path / "queue.checkpoint"
    server = await services.server()
    async with Rest(server) as rest:
        task_id, plan = await waiting_for_approval(services, rest, server, tool)
        sha256 = plan["sha256"]
        (tmp_path / "plan.json").write_bytes((await rest.http.get(f"/api/v1/artifacts/{sha256}")).content)
        (server.data_dir / "blobs" / sha256[:2] / sha256).unlink()  # as if it had been too large
        file.write_bytes((await kept(rest))[1])
    await lost(server)
    server = await services.server(again=server)

    async with Rest(server) as rest:
        await rest.post("/scheduler/pause", {}, 200)
        reach = ("--server", server.grpc)
        resumed = await nodelink("scheduler", "resume", "--checkpoint", str(file), *reach, cwd=tmp_path)
        if is_brought:
            brought = await nodelink("artifacts", "upload", "plan.json", *reach, cwd=tmp_path)
            assert brought.code == 0, brought.err
        await rest.online()
        await approve(rest, task_id, sha256)
        ended = await having(rest, task_id, "completed" if is_brought else "failed")

    assert resumed.code == 0, resumed.err
    assert f"{sha256}  {plan['size']:,} bytes  missing  plan of task {task_id}" in resumed.err
    assert tool.applied == int(is_brought)
    assert is_brought or f"the bytes of the blob {sha256} are not here" in json.dumps(ended)
