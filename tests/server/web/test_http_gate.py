"""Who is let in: Host, Origin, media type, size; and what every answer carries."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from nodelink_server.web.app import create_app
from tests.support.http_door import Door, app_door, http_door
from tests.support.raw_http import raw_connection

TASKS = "/api/v1/tasks"
BODY = {"type": "echo", "payload": 1}


@pytest.mark.parametrize("host", ["localhost", "localhost:8080", "127.0.0.1", "127.0.0.1:1", "[::1]:8080", "LocalHost"])
async def test_loopback_may_be_named_with_any_port(host: str) -> None:
    async with app_door() as door:
        assert (await door.http.post(TASKS, json=BODY, headers={"Host": host})).status_code == 201


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8080",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "10.0.0.1",
        "0.0.0.0",
        "",
        "localhost@evil.example",
        "localhost:x",
        "localhost:80:80",
        "::1",
        "[::1",
        "127.0.0.1/",
        "localhost evil",
    ],
)
async def test_another_host_is_refused_for_every_method(host: str) -> None:
    async with app_door() as door:
        for method, path in (("POST", TASKS), ("GET", TASKS), ("GET", "/metrics"), ("GET", "/nonsense")):
            answer = await door.http.request(method, path, headers={"Host": host})
            assert (answer.status_code, answer.json()["code"]) == (403, "FORBIDDEN")
        assert await listed(door) == 0


async def test_a_configured_host_may_be_named() -> None:
    async with app_door(allowed_hosts=["nodelink.example"]) as door:
        for host in ("nodelink.example", "NodeLink.example:8443"):
            assert (await door.http.get(TASKS, headers={"Host": host})).status_code == 200
        assert (await door.http.get(TASKS, headers={"Host": "other.example"})).status_code == 403


async def test_a_request_names_one_host() -> None:
    async with http_door() as door:
        for hosts in ([], ["localhost", "localhost"], ["localhost", "evil.example"]):
            assert (await raw_status(door, *(f"Host: {host}" for host in hosts))) == 400


async def test_a_page_of_the_same_address_may_call() -> None:
    async with app_door() as door:
        answer = await door.http.post(TASKS, json=BODY, headers={"Origin": f"http://{door.address}"})
        assert answer.status_code == 201


async def test_a_page_of_a_configured_host_may_call() -> None:
    async with app_door(allowed_hosts=["nodelink.example"]) as door:
        answer = await door.http.post(TASKS, json=BODY, headers={"Origin": "https://nodelink.example"})
        assert answer.status_code == 201


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "http://evil.example",
        "http://localhost:1",
        "http://127.0.0.1",
        "file://",
        "http://localhost.evil.example",
        "http://user@localhost",
        "chrome-extension://abc",
        "",
        "http://[",
        "localhost",
        "http://localhost:1/x",
    ],
)
async def test_a_page_of_another_site_is_refused_for_every_method(origin: str) -> None:
    async with app_door(allowed_hosts=["nodelink.example"]) as door:
        for method in ("POST", "GET", "OPTIONS"):
            answer = await door.http.request(method, TASKS, headers={"Origin": origin})
            assert (answer.status_code, answer.json()["code"]) == (403, "FORBIDDEN"), answer.text
            assert "access-control-allow-origin" not in answer.headers
        assert await listed(door) == 0


@pytest.mark.parametrize(
    "media_type",
    [
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "",
        "application/jsonp",
        "application/json; charset=utf-16",
        "text/json",
        "application/xml",
    ],
)
async def test_a_body_that_does_not_say_that_it_is_json_is_refused(media_type: str) -> None:
    async with app_door() as door:
        content = b'{"type": "echo"}'
        answer = await door.http.post(TASKS, content=content, headers={"Content-Type": media_type})
        assert (answer.status_code, answer.json()["code"]) == (415, "UNSUPPORTED_MEDIA_TYPE")
        assert await listed(door) == 0


@pytest.mark.parametrize("mode, status", [("no-cors", 403), ("cors", 403), ("websocket", 403), ("navigate", 200)])
async def test_what_a_page_of_another_site_fetches_is_refused_also_without_an_origin(mode: str, status: int) -> None:
    async with app_door() as door:
        headers = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": mode}
        assert (await door.http.get(TASKS, headers=headers)).status_code == status
        assert (await door.http.get(TASKS, headers={**headers, "Sec-Fetch-Site": "same-origin"})).status_code == 200


async def test_a_body_comes_in_one_coding() -> None:
    async with http_door() as door, raw_connection(door.address) as raw:
        await raw.request("POST /api/v1/tasks", "Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n")
        assert (await raw.answer()).json()["detail"] == "the only Transfer-Encoding is chunked"


async def test_a_compressed_body_is_refused() -> None:
    async with app_door() as door:
        headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
        assert (await door.http.post(TASKS, content=b"{}", headers=headers)).status_code == 415


@pytest.mark.parametrize("media_type", ["application/json", "Application/JSON; charset=UTF-8"])
async def test_json_may_name_its_charset(media_type: str) -> None:
    async with app_door() as door:
        answer = await door.http.post(TASKS, content=b'{"type": "echo"}', headers={"Content-Type": media_type})
        assert answer.status_code == 201


async def test_a_body_over_the_limit_is_refused_with_and_without_a_length() -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(17):
            yield b" " * 65_536

    async with http_door() as door:
        for content in (b" " * ((1 << 20) + 1), chunks()):
            answer = await door.http.post(TASKS, content=content, headers={"Content-Type": "application/json"})
            assert (answer.status_code, answer.json()["code"]) == (413, "TOO_LARGE")


async def test_headers_over_the_limit_are_refused() -> None:
    async with app_door() as door:
        answer = await door.http.get(TASKS, headers={"X-Filler": "x" * (33 << 10)})
        assert (answer.status_code, answer.json()["code"]) == (431, "TOO_LARGE")


@pytest.mark.parametrize("given, kept", [("abc-1.2_3", True), ("x" * 65, False), ("a b", False), ("<script>", False)])
async def test_a_sane_request_id_is_kept_and_any_other_replaced(given: str, kept: bool) -> None:
    async with app_door() as door:
        for path in (TASKS, "/nonsense"):
            answer = await door.http.get(path, headers={"X-Request-Id": given})
            assert (answer.headers["x-request-id"] == given) is kept
            assert answer.headers["x-request-id"]


async def test_every_answer_forbids_guessing_and_framing() -> None:
    async with app_door() as door:
        for path in (TASKS, "/nonsense", "/docs", "/metrics"):
            answer = await door.http.get(path)
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["content-security-policy"].startswith("default-src 'none'")
            assert answer.headers["cache-control"] == "no-store"


async def test_an_insecure_server_says_so_everywhere() -> None:
    async with app_door(insecure=True) as door:
        for path in (TASKS, "/nonsense", "/healthz", "/metrics"):
            answer = await door.http.get(path)
            assert answer.headers["x-nodelink-insecure"] == "remote-code-execution"
        assert (await door.http.get("/healthz")).json()["insecure"] is True
        assert (await door.http.get("/readyz")).json()["insecure"] is True
        assert "\nnodelink_insecure 1.0\n" in (await door.http.get("/metrics")).text


async def test_a_secure_server_says_nothing_of_the_kind() -> None:
    async with app_door() as door:
        assert "x-nodelink-insecure" not in (await door.http.get(TASKS)).headers


async def test_whoever_listens_everywhere_is_reached_by_number_but_not_by_any_name() -> None:
    async with app_door() as door:
        app = create_app(door.manager, version="1", any_address=True)
        for host, status in ((b"192.168.1.5:8080", 200), (b"[fe80::1]:8080", 200), (b"evil.example", 403)):
            assert await asgi_status(app, host) == status


async def listed(door: Door) -> int:
    """How many tasks there are."""
    return len((await door.http.get(TASKS)).json()["tasks"])


async def raw_status(door: Door, *headers: str) -> int:
    """The status of a request with exactly these headers."""
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection(*door.address)
        lines = [f"GET {TASKS} HTTP/1.1", *headers, "Connection: close", "", ""]
        writer.write("\r\n".join(lines).encode())
        status = int((await reader.readline()).split()[1])
        writer.close()
        await writer.wait_closed()
        return status


async def asgi_status(app: object, host: bytes) -> int:
    """The status of a request to an application that nobody serves."""
    statuses: list[int] = []

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: dict[str, object]) -> None:
        if message["type"] == "http.response.start":
            statuses.append(int(str(message["status"])))

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": "/healthz",
        "raw_path": b"/healthz",
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", host)],
        "client": ("127.0.0.1", 1),
        "server": ("0.0.0.0", 1),
    }
    await app(scope, receive, send)  # type: ignore[operator]
    return statuses[0]
