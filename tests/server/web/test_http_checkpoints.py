"""Pauses and checkpoints over HTTP, over a real database."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from nodelink_server.store.checkpoint_blobs import Bounds
from nodelink_server.web.app import create_app
from tests.support.blobs_given import give, save_state
from tests.support.checkpointed import Checkpointed, checkpointed_core
from tests.support.core_parts import make_submission
from tests.support.http_door import app_door

API = "/api/v1"


@pytest.fixture
async def core(tmp_path: Path) -> AsyncIterator[Checkpointed]:
    async with checkpointed_core(tmp_path / "first") as core:
        yield core


def http_of(core: Checkpointed) -> httpx.AsyncClient:
    app = create_app(core.manager, version="1.2.3")
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=f"http://127.0.0.1:8080{API}")


def refused(answer: httpx.Response) -> tuple[int, str, list[str]]:
    problem = answer.json()
    return answer.status_code, problem["code"], [wrong["field"] for wrong in problem["errors"]]


async def test_a_pause_answers_with_its_checkpoint_and_another_server_goes_on_from_it(
    core: Checkpointed, tmp_path: Path
) -> None:
    [task_id] = await core.submit()
    async with http_of(core) as http:
        paused = (await http.post("/scheduler/pause", json={"reason": "an upgrade"})).json()
        assert (paused["scope"], paused["by"], paused["reason"]) == ("scheduler", "local", "an upgrade")
        taken = paused["checkpoint"]
        assert (taken["why"], taken["complete"], taken["waiting"]) == ("pause", True, 1)
        status = (await http.get("/scheduler/status")).json()
        assert (status["state"], status["last_checkpoint_at"]) == ("paused", taken["taken_at"])
        assert [pause["scope"] for pause in status["pauses"]] == ["scheduler"]
        shown = (await http.get(f"/tasks/{task_id}")).json()
        assert (shown["reason"], shown["message"]) == ("paused", "waits: the scheduler is paused (an upgrade)")
        content = await http.get(f"/checkpoints/{taken['id']}/content")
        assert content.content == base64.b64decode(paused["content"])
        assert content.headers["content-type"] == "application/octet-stream"
        assert len(content.content) == taken["bytes"]

    async with checkpointed_core(tmp_path / "second") as second, http_of(second) as http:
        asked = {"checkpoint": paused["content"]}
        assert refused(await http.post("/scheduler/resume", json=asked)) == (409, "CONFLICT", [])
        await http.post("/scheduler/pause")
        resumed = (await http.post("/scheduler/resume", json=asked)).json()
        assert resumed == {"was_paused": True, "loaded": True, "checkpoint": taken}
        assert (await http.get(f"/tasks/{task_id}")).status_code == 200
        await http.post("/scheduler/pause")
        named = {"checkpoint_id": taken["id"], "as_waiting": True}
        resumed = (await http.post("/scheduler/resume", json=named)).json()
        assert resumed == {"was_paused": True, "loaded": False, "checkpoint": taken}


async def test_a_pool_and_a_type_are_paused_and_resumed(core: Checkpointed) -> None:
    async with http_of(core) as http:
        for scope in ({"pool": "gpu"}, {"type": "shell"}):
            assert (await http.post("/scheduler/pause", json=scope)).status_code == 200
        status = (await http.get("/scheduler/status")).json()
        assert (status["state"], [one["scope"] for one in status["pauses"]]) == ("running", ["pool:gpu", "type:shell"])
        assert (await http.post("/scheduler/resume", json={"pool": "gpu"})).json()["was_paused"]
        assert not (await http.post("/scheduler/resume", json={"pool": "gpu"})).json()["was_paused"]


@pytest.mark.parametrize(
    "body, wrong",
    [
        ({"pool": "a", "type": "b"}, ["type"]),
        ({"pool": "a b"}, ["pool"]),
        ({"pool": ""}, ["pool"]),
        ({"type": ""}, ["type"]),
        ({"checkpoint": ""}, ["checkpoint"]),
        ({"checkpoint_id": ""}, ["checkpoint_id"]),
        ({"reason": "x" * 1_001}, ["reason"]),
        ({"checkpoint": "?"}, ["checkpoint"]),
        ({"checkpoint": "bm90IG9uZQ=="}, ["checkpoint"]),
        ({"checkpoint": "bm90IG9uZQ==", "checkpoint_id": "x"}, ["checkpoint"]),
        ({"as_waiting": True}, ["as_waiting"]),
        ({"checkpoint_id": "x", "pool": "gpu"}, ["checkpoint"]),
        ({"nonsense": 1}, ["nonsense"]),
    ],
)
async def test_a_resumption_that_means_nothing_is_refused_and_it_stays_paused(
    core: Checkpointed, body: dict[str, Any], wrong: list[str]
) -> None:
    async with http_of(core) as http:
        await http.post("/scheduler/pause")
        assert refused(await http.post("/scheduler/resume", json=body)) == (422, "INVALID", wrong)
        assert (await http.get("/scheduler/status")).json()["state"] == "paused"


async def test_checkpoints_are_taken_listed_shown_and_verified(core: Checkpointed) -> None:
    async with http_of(core) as http:
        answer = await http.post("/checkpoints")
        taken = answer.json()
        assert (answer.status_code, answer.headers["location"]) == (201, f"{API}/checkpoints/{taken['id']}")
        assert (await http.get("/checkpoints")).json() == {"checkpoints": [taken]}
        assert (await http.get(f"/checkpoints/{taken['id']}")).json() == taken
        assert (await http.post(f"/checkpoints/{taken['id']}/verify")).json() == taken

        whole = core.file(taken["id"]).read_bytes()
        core.file(taken["id"]).write_bytes(whole[:-1])
        answer = await http.post(f"/checkpoints/{taken['id']}/verify")
        assert refused(answer) == (422, "INVALID", ["checkpoint"])
        assert answer.json()["detail"].startswith("checkpoint: truncated: ")
        for path in ("x", "x/content"):
            assert (await http.get(f"/checkpoints/{path}")).status_code == 404
        assert (await http.post("/checkpoints/x/verify")).status_code == 404


async def test_blobs_that_a_checkpoint_lacks_are_named(tmp_path: Path) -> None:
    async with checkpointed_core(tmp_path / "first", bounds=Bounds(blob_bytes=5)) as core, http_of(core) as http:
        await core.manager.workspaces.create("site", pool="default", mode="agent")
        [task_id] = await core.submit(make_submission(workspace="site"))
        await give(core, task_id, "fits", b"12345")
        artifact = await give(core, task_id, "in", b"too large")
        state = await save_state(core, "site", b"larger yet")
        taken = (await http.post("/checkpoints")).json()

        assert (taken["version"], taken["blobs"], taken["blob_bytes"], taken["blobs_left_out"]) == (2, 1, 5, 2)
        lacking = {"why": "too large", "workspace": "site"}
        assert taken["left_out"] == [
            {"sha256": artifact, "size": 9, "task_id": task_id, "name": "in", **lacking},
            {"sha256": state.sha256, "size": 10, "task_id": None, "name": None, **lacking},
        ]
        assert (await http.get("/checkpoints")).json() == {"checkpoints": [taken]}
        assert (await http.post(f"/checkpoints/{taken['id']}/verify")).json() == taken


async def test_a_server_without_checkpoints_says_so_and_pauses_all_the_same() -> None:
    async with app_door() as door:
        paused = (await door.http.post(f"{API}/scheduler/pause")).json()
        assert (paused["checkpoint"], paused["content"]) == (None, None)
        assert refused(await door.http.get(f"{API}/checkpoints"))[1] == "NOT_BUILT"
