"""Bytes over HTTP: announced, sent a piece at a time, read in ranges; as parts of tasks and as states of workspaces."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

import httpx
import pytest

from nodelink_server.core.assembly import Options
from nodelink_server.core.blob_ports import MAX_CHUNK_BYTES
from tests.support.core_parts import Database
from tests.support.http_door import Door, http_door

API = "/api/v1"
DATA = bytes(range(256)) * 8
OCTETS = {"Content-Type": "application/octet-stream"}
WAIT_SECONDS = 30.0


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


SHA256 = digest(DATA)


async def announced(door: Door, data: bytes = DATA, *, workspace: str = "") -> httpx.Response:
    body = {"sha256": digest(data), "size": len(data), "workspace": workspace}
    return await door.http.post(f"{API}/artifacts", json=body)


async def sent(
    door: Door, data: bytes, offset: int, *, of: bytes = DATA, size: int | None = None, workspace: str = ""
) -> httpx.Response:
    place: dict[str, str | int] = {"offset": offset, "size": len(of) if size is None else size, "workspace": workspace}
    return await door.http.put(f"{API}/artifacts/{digest(of)}", params=place, content=data, headers=OCTETS)


async def put(door: Door, data: bytes = DATA, *, workspace: str = "") -> str:
    """Have the server have it."""
    if not (await announced(door, data, workspace=workspace)).json()["complete"]:
        answer = await sent(door, data, 0, of=data, workspace=workspace)
        assert answer.json()["complete"], answer.text
    return digest(data)


async def site(door: Door) -> None:
    await door.http.post(f"{API}/workspaces", json={"name": "site"})


def refused(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    return dict(answer.json())


async def test_bytes_are_announced_sent_in_pieces_and_read() -> None:
    async with http_door() as door:
        first = await announced(door)
        assert "location" not in first.headers
        shown = {"sha256": SHA256, "size": len(DATA), "workspace": ""}
        assert first.json() == {**shown, "offset": 0, "complete": False}
        assert (await sent(door, DATA[:1000], 0)).json() == {**shown, "offset": 1000, "complete": False}
        assert (await announced(door)).json()["offset"] == 1000
        assert (await sent(door, DATA[1000:], 1000)).json() == {**shown, "offset": len(DATA), "complete": True}

        assert (await announced(door)).headers["location"] == f"{API}/artifacts/{SHA256}"
        answer = await door.http.get(f"{API}/artifacts/{SHA256}")
        assert answer.content == DATA
        assert answer.headers["content-type"] == "application/octet-stream"
        assert answer.headers["content-disposition"] == "attachment"
        assert answer.headers["etag"] == f'"{SHA256}"'
        assert "sandbox" in answer.headers["content-security-policy"]


@pytest.mark.parametrize(
    "asked, first, end",
    [("bytes=0-9", 0, 10), ("bytes=2040-", 2040, 2048), ("bytes=-5", 2043, 2048), ("bytes=10-99999", 10, 2048)],
)
async def test_a_range_of_them_is_read(asked: str, first: int, end: int) -> None:
    async with http_door() as door:
        await put(door)
        answer = await door.http.get(f"{API}/artifacts/{SHA256}", headers={"Range": asked})
        assert (answer.status_code, answer.content) == (206, DATA[first:end])
        assert answer.headers["content-range"] == f"bytes {first}-{end - 1}/2048"


async def test_what_cannot_be_read_says_why() -> None:
    async with http_door() as door:
        await put(door)
        answer = await door.http.get(f"{API}/artifacts/{SHA256}", headers={"Range": "bytes=2048-"})
        refused(answer, 416, "RANGE_NOT_SATISFIABLE")
        assert answer.headers["content-range"] == "bytes */2048"
        refused(await door.http.get(f"{API}/artifacts/{'0' * 64}"), 404, "NOT_FOUND")
        for wrong in ("x", "A" * 64, "..%2f" + "0" * 61):
            answer = await door.http.get(f"{API}/artifacts/{wrong}")
            assert answer.status_code in {404, 422}, answer.text
        refused(await door.http.get(f"{API}/artifacts/{'A' * 64}"), 422, "INVALID")
        assert (await door.http.get(f"{API}/artifacts/{SHA256}")).content == DATA


async def test_who_only_asks_for_the_head_is_sent_no_bytes() -> None:
    async with http_door() as door:
        await put(door)
        answer = await door.http.head(f"{API}/artifacts/{SHA256}")
        assert (answer.status_code, answer.headers["content-length"], answer.content) == (200, "2048", b"")
        assert (await door.http.get("/healthz")).status_code == 200
        assert door.manager.tally.blob_bytes["read"] == 0


async def test_pieces_that_cannot_be_taken_are_refused() -> None:
    async with http_door() as door:
        refused(await sent(door, DATA, 0), 404, "NOT_FOUND")
        await announced(door)
        await sent(door, DATA[:1000], 0)
        assert "at offset 1000" in refused(await sent(door, DATA[:1000], 0), 409, "CONFLICT")["detail"]
        refused(await sent(door, b"", 1000), 422, "INVALID")
        refused(await sent(door, DATA, 1000), 422, "INVALID")
        refused(await sent(door, DATA[1000:-1] + b"x", 1000), 422, "DIGEST_MISMATCH")
        refused(await sent(door, DATA[1000:], 1000), 404, "NOT_FOUND")


async def test_a_piece_has_so_many_bytes_and_no_more() -> None:
    async with http_door() as door:
        data = bytes(MAX_CHUNK_BYTES + 1)
        await announced(door, data)
        refused(await sent(door, data, 0, of=data), 413, "TOO_LARGE")
        assert (await sent(door, data[:-1], 0, of=data)).json()["offset"] == MAX_CHUNK_BYTES
        assert (await sent(door, data[-1:], MAX_CHUNK_BYTES, of=data)).json()["complete"]


async def test_bytes_must_say_that_they_are_bytes_and_nothing_else_may() -> None:
    async with http_door() as door:
        await announced(door)
        for said in ("application/json", "text/plain", "application/x-www-form-urlencoded"):
            answer = await door.http.put(
                f"{API}/artifacts/{SHA256}?offset=0&size=2048", content=DATA, headers={"Content-Type": said}
            )
            refused(answer, 415, "UNSUPPORTED_MEDIA_TYPE")
        for method, path in (("POST", "/artifacts"), ("POST", "/tasks"), ("PUT", "/workspaces/site")):
            answer = await door.http.request(method, API + path, content=b"{}", headers=OCTETS)
            refused(answer, 415, "UNSUPPORTED_MEDIA_TYPE")


async def test_a_workspace_over_its_quota_is_told_so_and_its_use_is_listed() -> None:
    async with http_door(options=Options(blob_quota=len(DATA))) as door:
        await site(door)
        await put(door, workspace="site")
        answer = await announced(door, b"more", workspace="site")
        refused(answer, 429, "QUOTA_EXCEEDED")
        assert int(answer.headers["retry-after"]) > 0
        assert (await announced(door, b"more")).status_code == 200

        shown = (await door.http.get(f"{API}/artifacts", params={"workspace": "site"})).json()
        assert (shown["used"], shown["quota"]) == (len(DATA), len(DATA))
        assert [(one["sha256"], one["workspace"]) for one in shown["artifacts"]] == [(SHA256, "site")]


async def test_a_full_disk_is_unavailable_and_says_when_to_come_again() -> None:
    database = Database()
    database.disk.blobs.room = 10
    async with http_door(database=database) as door:
        answer = await announced(door)
        refused(answer, 503, "UNAVAILABLE")
        assert int(answer.headers["retry-after"]) > 0
        assert (await door.submit())["status"] == "pending"


async def test_bytes_are_listed_page_by_page() -> None:
    async with http_door() as door:
        digests = sorted([await put(door, bytes([number])) for number in range(5)])
        first = (await door.http.get(f"{API}/artifacts", params={"page_size": 3})).json()
        token = first["next_page_token"]
        second = (await door.http.get(f"{API}/artifacts", params={"page_size": 3, "page_token": token})).json()
        assert [one["sha256"] for page in (first, second) for one in page["artifacts"]] == digests
        assert (second["next_page_token"], first["used"]) == ("", None)
        refused(await door.http.get(f"{API}/artifacts", params={"page_token": "x"}), 422, "INVALID")
        refused(await door.http.get(f"{API}/artifacts", params={"workspace": "nobody"}), 404, "NOT_FOUND")


async def test_bytes_become_parts_of_a_task() -> None:
    async with http_door() as door:
        task_id, path = (await door.submit())["id"], f"{API}/tasks/"
        sha256, other = await put(door), await put(door, b"other")
        path = f"{API}/tasks/{task_id}/artifacts"
        given = (await door.http.put(f"{path}/in.tar", json={"sha256": sha256})).json()
        assert {name: given[name] for name in ("name", "attempt", "sha256", "size")} == {
            "name": "in.tar",
            "attempt": 0,
            "sha256": sha256,
            "size": len(DATA),
        }
        assert (await door.http.get(path)).json() == {"artifacts": [given]}
        answer = await door.http.get(f"{path}/in.tar", headers={"Range": "bytes=5-9"})
        assert (answer.status_code, answer.content) == (206, DATA[5:10])
        assert answer.headers["content-disposition"] == 'attachment; filename="in.tar"'

        refused(await door.http.put(f"{path}/in.tar", json={"sha256": other}), 409, "CONFLICT")
        refused(await door.http.put(f"{path}/.hidden", json={"sha256": other}), 422, "INVALID")
        refused(await door.http.put(f"{path}/new", json={"sha256": "0" * 64}), 404, "NOT_FOUND")
        refused(await door.http.get(f"{path}/nothing"), 404, "NOT_FOUND")
        refused(await door.http.get(f"{path}/in.tar", params={"attempt": 1}), 404, "NOT_FOUND")
        assert (await door.http.get(f"{path}/in.tar", params={"attempt": 0})).content == DATA
        refused(await door.http.get(f"{API}/tasks/nobody/artifacts"), 404, "NOT_FOUND")


async def test_a_state_is_replaced_by_who_knows_it() -> None:
    async with http_door() as door:
        await site(door)
        path = f"{API}/workspaces/site/state"
        refused(await door.http.get(path), 404, "NOT_FOUND")
        refused(await door.http.put(path, content=b"one", headers=OCTETS), 428, "PRECONDITION_REQUIRED")
        refused(
            await door.http.put(path, content=b"x", headers={**OCTETS, "If-Match": '"1-a"'}), 412, "PRECONDITION_FAILED"
        )
        assert await door.manager.blobs.used("site") == 0  # what could not be saved was not taken in

        first = await door.http.put(path, content=b"one", headers={**OCTETS, "If-None-Match": "*"})
        assert first.status_code == 200, first.text
        assert first.headers["etag"] == f'"{first.json()["etag"]}"'
        refused(
            await door.http.put(path, content=b"x", headers={**OCTETS, "If-None-Match": "*"}),
            412,
            "PRECONDITION_FAILED",
        )

        etag = first.headers["etag"]
        second = await door.http.put(path, content=b"two", headers={**OCTETS, "If-Match": etag})
        assert second.json()["version"] == 2
        refused(
            await door.http.put(path, content=b"x", headers={**OCTETS, "If-Match": etag}), 412, "PRECONDITION_FAILED"
        )

        read = await door.http.get(path)
        assert (read.content, read.headers["etag"], read.headers["x-state-version"]) == (
            b"two",
            second.headers["etag"],
            "2",
        )
        assert (await door.http.get(path, params={"version": 1})).content == b"one"
        same = await door.http.get(path, headers={"If-None-Match": read.headers["etag"]})
        assert (same.status_code, same.content) == (304, b"")
        states = (await door.http.get(f"{API}/workspaces/site/states")).json()["states"]
        assert [one["version"] for one in states] == [2, 1]


async def test_bytes_that_are_there_become_a_state() -> None:
    async with http_door() as door:
        await site(door)
        path, sha256 = f"{API}/workspaces/site/state", await put(door)
        both = await door.http.put(
            path, params={"sha256": sha256}, content=b"x", headers={**OCTETS, "If-None-Match": "*"}
        )
        refused(both, 422, "INVALID")
        saved = await door.http.put(path, params={"sha256": sha256}, headers={"If-None-Match": "*"})
        assert saved.json()["sha256"] == sha256
        assert (await door.http.get(path, headers={"Range": "bytes=0-3"})).content == DATA[:4]


@pytest.mark.parametrize(
    "headers", [{"If-Match": "*"}, {"If-Match": '""'}, {"If-Match": "1-abc"}, {"If-None-Match": '"1-abc"'}]
)
async def test_what_names_no_state_is_refused(headers: dict[str, str]) -> None:
    async with http_door() as door:
        await site(door)
        answer = await door.http.put(f"{API}/workspaces/site/state", content=b"x", headers={**OCTETS, **headers})
        refused(answer, 422, "INVALID")


async def test_while_a_task_works_there_nobody_else_saves_the_state() -> None:
    async with http_door() as door, door.agent() as agent:
        await site(door)
        await door.submit(workspace="site")
        await agent.take()
        answer = await door.http.put(
            f"{API}/workspaces/site/state", content=b"x", headers={**OCTETS, "If-None-Match": "*"}
        )
        refused(answer, 409, "CONFLICT")


async def test_a_server_that_stops_ends_a_reading_early_and_it_can_go_on_later() -> None:
    """The caller takes nothing, so the answer is under way when the doors close."""
    database, data = Database(), bytes(MAX_CHUNK_BYTES) * 24
    async with asyncio.timeout(WAIT_SECONDS):
        async with http_door(database=database) as door:
            await announced(door, data)
            for offset in range(0, len(data), MAX_CHUNK_BYTES):
                await sent(door, data[offset : offset + MAX_CHUNK_BYTES], offset, of=data)
            reader, writer = await asyncio.open_connection(*door.address)
            writer.write(f"GET {API}/artifacts/{digest(data)} HTTP/1.1\r\nHost: {door.address}\r\n\r\n".encode())
            await reader.readuntil(b"\r\n\r\n")
        with pytest.raises((asyncio.IncompleteReadError, ConnectionResetError)):
            await reader.readexactly(len(data))
        writer.close()
        async with http_door(database=database) as door:
            answer = await door.http.get(f"{API}/artifacts/{digest(data)}", headers={"Range": "bytes=25165823-"})
            assert answer.content == b"\0"
