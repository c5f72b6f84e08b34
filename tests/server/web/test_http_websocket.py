"""Events over a WebSocket: several subscriptions on one connection, each complete and in order; bounded in all ways."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from collections.abc import Sequence
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send
from websockets.exceptions import InvalidStatus

from nodelink.errors import StoreUnavailable
from nodelink.task import LogStream
from nodelink_server.core.assembly import Options
from nodelink_server.core.ports import TaskEvent
from nodelink_server.web.events import EventFrames
from nodelink_server.web.protocol import ConnectionLimits
from nodelink_server.web.server import MAX_MESSAGE_BYTES
from nodelink_server.web.socket_protocol import MOST_FRAGMENTS
from nodelink_server.web.websocket import MOST_MISTAKES, MOST_SUBSCRIPTIONS
from tests.support.http_door import Door, http_door
from tests.support.raw_http import deaf_caller, raw_connection
from tests.support.sockets import Json, open_socket

SECONDS = 30
FILLER = "x" * 10_000
VERSION_13 = "Sec-WebSocket-Version: 13"
KEY = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="


def revisions(messages: Sequence[Json]) -> list[int]:
    """The revisions of the events that are kept."""
    return [message["id"] for message in messages if "id" in message]


async def test_a_subscription_is_acknowledged_with_the_newest_revision_and_hears_what_happens() -> None:
    async with http_door() as door, open_socket(door.address) as listener:
        before = await door.submit()
        assert await listener.ask({"subscribe": {}}) == {"subscribed": "1", "revision": before["revision"]}
        task = await door.submit(priority="HIGH")
        created, pending = await listener.until("task.pending")
        assert created["event"] == "task.created"
        assert pending == {
            "subscription": "1",
            "event": "task.pending",
            "id": task["revision"],
            "data": pending["data"],
        }
        assert (pending["data"]["task_id"], pending["data"]["priority"]) == (task["id"], 75)


async def test_subscriptions_on_one_connection_hear_each_its_own() -> None:
    async with http_door() as door, open_socket(door.address) as listener:
        await listener.ask({"subscribe": {"id": "mine", "pool": "p"}})
        await listener.ask({"subscribe": {"id": "all", "names": ["task.created"]}})
        await door.submit(pool="q")
        await door.submit(pool="p")
        heard = [await listener.hear() for _ in range(4)]
        assert sorted((message["subscription"], message["event"], message["data"]["pool"]) for message in heard) == [
            ("all", "task.created", "p"),
            ("all", "task.created", "q"),
            ("mine", "task.created", "p"),
            ("mine", "task.pending", "p"),
        ]


@pytest.mark.parametrize("wish", ["mine", {"id": "mine"}])
async def test_after_an_unsubscription_is_acknowledged_nothing_more_comes_of_it(wish: Any) -> None:
    async with http_door() as door, open_socket(door.address) as listener:
        await listener.ask({"subscribe": {"id": "mine"}})
        await listener.ask({"subscribe": {"id": "other", "pool": "p"}})
        assert await listener.ask({"unsubscribe": wish}) == {"unsubscribed": "mine"}
        await door.submit()
        await door.submit(pool="p")
        assert [message["subscription"] for message in await listener.until("task.pending")] == ["other", "other"]
        assert door.manager.events.listeners == 1
        assert (await listener.ask({"subscribe": {"id": "mine"}}))["subscribed"] == "mine"


async def test_a_listener_that_is_cut_resumes_and_misses_nothing() -> None:
    async with http_door() as door:
        heard: list[Json] = []
        for _ in range(5):
            after = revisions(heard)[-1] if heard else 0
            async with open_socket(door.address) as listener:
                await listener.ask({"subscribe": {"after": after}})
                await door.submit()
                heard += await listener.until("task.created")
            await door.submit()
        async with open_socket(door.address) as listener:
            await listener.ask({"subscribe": {"after": revisions(heard)[-1]}})
            while revisions(heard)[-1] < door.manager.events.newest:
                heard.append(await listener.hear())
        assert revisions(heard) == list(range(1, door.manager.events.newest + 1))


async def test_the_room_of_a_task_has_its_history_and_its_output() -> None:
    async with http_door() as door, door.agent() as agent, open_socket(door.address) as listener:
        task_id = (await door.submit())["id"]
        ref = (await agent.take()).ref
        await listener.ask({"subscribe": {"task_id": task_id}})
        await listener.until("task.sent")
        agent.start(ref)
        agent.write(ref, LogStream.STDOUT, b"out")
        output = (await listener.until("task.output"))[-1]
        assert output["data"]["text"] == "out"
        assert "id" not in output
        agent.finish(ref)
        await listener.until("task.completed")


async def test_the_runs_of_an_agent_are_told_as_its_own() -> None:
    async with http_door() as door, door.agent() as agent, open_socket(door.address) as listener:
        await listener.ask({"subscribe": {"agent_id": "a1", "names": ["agent.completed"]}})
        await door.submit()
        agent.finish((await agent.take()).ref)
        assert (await listener.hear())["event"] == "agent.completed"


async def test_whoever_asks_for_what_is_not_there_is_told_to_begin_again() -> None:
    async with http_door() as door, open_socket(door.address) as listener:
        await listener.ask({"subscribe": {"after": 1000}})
        assert (await listener.hear())["event"] == "reset"
        await door.submit()
        await listener.until("task.created")


async def test_a_listener_for_whom_nothing_comes_stays_and_is_told_how_far_it_may_resume() -> None:
    pinging = ConnectionLimits(ping_seconds=0.05)
    async with http_door(limits=pinging) as door, open_socket(door.address) as listener:
        await listener.ask({"subscribe": {"id": "quiet", "pool": "quiet"}})
        task = await door.submit()
        assert await listener.hear() == {"subscription": "quiet", "bookmark": task["revision"]}


@pytest.mark.parametrize(
    "text, code, field",
    [
        ("nonsense", "MALFORMED", None),
        ('{"subscribe": {}, "subscribe": {}}', "MALFORMED", None),
        ("[]", "INVALID", "message"),
        ("{}", "INVALID", "message"),
        ('{"subscribe": {}, "unsubscribe": "1"}', "INVALID", "message"),
        ('{"subscribe": "all"}', "INVALID", "subscribe"),
        ('{"unsubscribe": 1}', "INVALID", "unsubscribe"),
        ('{"unsubscribe": "nobody"}', "INVALID", "unsubscribe"),
        ('{"unsubscribe": {}}', "INVALID", "id"),
        ('{"subscribe": {"id": "here"}}', "INVALID", "id"),
        ('{"subscribe": {"id": ""}}', "INVALID", "id"),
        ('{"subscribe": {"id": 7}}', "INVALID", "id"),
        ('{"subscribe": {"after": "7"}}', "INVALID", "after"),
        ('{"subscribe": {"after": -1}}', "INVALID", "after"),
        ('{"subscribe": {"after": 9223372036854775808}}', "INVALID", "after"),
        ('{"subscribe": {"names": ["task.complete"]}}', "INVALID", "names"),
        ('{"subscribe": {"names": []}}', "INVALID", "names"),
        ('{"subscribe": {"pools": "p"}}', "INVALID", "pools"),
        ('{"subscribe": {"task_id": "nowhere"}}', "NOT_FOUND", None),
    ],
)
async def test_a_mistake_is_answered_with_its_field_and_ends_nothing(text: str, code: str, field: str | None) -> None:
    async with http_door() as door, open_socket(door.address) as listener:
        await listener.ask({"subscribe": {"id": "here"}})
        await listener.connection.send(text)
        error = (await listener.hear())["error"]
        assert (error["code"], [wrong["field"] for wrong in error["errors"]]) == (code, [field] if field else [])
        assert error["detail"]
        await door.submit()
        await listener.until("task.created", "here")


async def test_too_many_mistakes_end_the_connection() -> None:
    async with http_door() as door, open_socket(door.address) as listener:
        for _ in range(MOST_MISTAKES):
            await listener.ask([])
        assert await listener.end() == (1008, f"{MOST_MISTAKES} messages could not be carried out")


async def test_only_text_is_understood() -> None:
    async with http_door() as door, open_socket(door.address) as listener:
        await listener.connection.send(b"{}")
        assert await listener.end() == (1003, "only text is understood")


async def test_a_message_has_a_bound() -> None:
    async with http_door() as door, open_socket(door.address) as listener:
        wish = json.dumps({"subscribe": {}})
        await listener.connection.send(wish.ljust(MAX_MESSAGE_BYTES))
        assert (await listener.hear())["subscribed"] == "1"
        await listener.connection.send(wish.ljust(MAX_MESSAGE_BYTES + 1))
        assert (await listener.end())[0] == 1009


async def test_the_pieces_of_a_message_have_a_bound() -> None:
    async with http_door() as door, open_socket(door.address) as listener:
        await listener.connection.send([""] * (MOST_FRAGMENTS + 2))
        assert await listener.end() == (1009, "too many fragments")


async def test_one_connection_has_so_many_subscriptions_and_no_more() -> None:
    async with http_door() as door, open_socket(door.address) as listener:
        for number in range(MOST_SUBSCRIPTIONS):
            await listener.ask({"subscribe": {"id": f"s{number}", "pool": "p"}})
        assert (await listener.ask({"subscribe": {}}))["error"]["code"] == "OVERLOADED"
        await listener.ask({"unsubscribe": "s7"})
        assert (await listener.ask({"subscribe": {}}))["subscribed"] == "1"


async def test_one_listener_too_many_is_refused_at_every_door() -> None:
    async with http_door(options=Options(max_listeners=2)) as door, open_socket(door.address) as listener:
        await listener.ask({"subscribe": {"id": "one"}})
        await listener.ask({"subscribe": {"id": "two"}})
        error = (await listener.ask({"subscribe": {"id": "three"}}))["error"]
        assert (error["code"], error["subscription"], error["retry_after"]) == ("OVERLOADED", "three", 5)
        answer = await door.http.get("/api/v1/events")
        assert (answer.status_code, answer.json()["code"]) == (429, "OVERLOADED")
        assert answer.headers["retry-after"] == "5"
        await listener.ask({"unsubscribe": "one"})
        assert (await listener.ask({"subscribe": {"id": "three"}}))["subscribed"] == "three"


async def test_a_database_that_cannot_be_read_ends_a_subscription_and_not_the_connection() -> None:
    away = False

    def fault(kind: str) -> None:
        if away and kind == "read":
            raise StoreUnavailable("the disk is gone")

    async with http_door(fault=fault) as door, open_socket(door.address) as listener:
        await door.submit()
        away = True
        await listener.ask({"subscribe": {"id": "old", "after": 0}})
        error = (await listener.hear())["error"]
        assert (error["subscription"], error["code"], error["detail"]) == ("old", "UNAVAILABLE", "the disk is gone")
        away = False
        await listener.ask({"subscribe": {"id": "old", "after": 0}})
        await listener.until("task.created", "old")


@pytest.mark.parametrize(
    "headers",
    [{"Host": "evil.example"}, {"Origin": "http://evil.example"}, {"Origin": "null"}, {"Origin": "http://localhost:1"}],
)
async def test_other_sites_are_refused_before_the_upgrade(headers: dict[str, str]) -> None:
    async with http_door() as door:
        answer = await _handshake(door, headers)
        assert answer.startswith(b"HTTP/1.1 403")
        assert b"application/problem+json" in answer
        assert b'"code":"FORBIDDEN"' in answer


async def test_a_page_of_the_server_itself_may_open_one() -> None:
    async with http_door() as door:
        async with open_socket(door.address, origin=f"http://{door.address}") as listener:
            await listener.ask({"subscribe": {}})
        with pytest.raises(InvalidStatus) as refused:
            async with open_socket(door.address, origin="https://evil.example"):
                pass
        assert refused.value.response.status_code == 403


async def test_a_request_without_an_upgrade_is_told_so() -> None:
    async with http_door() as door:
        answer = await door.http.get("/api/v1/ws")
        assert (answer.status_code, answer.headers["upgrade"]) == (426, "websocket")
        assert answer.json()["code"] == "UPGRADE_REQUIRED"


async def test_anywhere_else_the_wish_for_an_upgrade_is_passed_over() -> None:
    async with http_door() as door:
        assert (await _handshake(door, {}, path="/healthz")).startswith(b"HTTP/1.1 200")
        assert (await _handshake(door, {}, path="/api/v1/wss")).startswith(b"HTTP/1.1 404")


async def test_a_peer_that_answers_no_ping_is_let_go() -> None:
    async with http_door(limits=ConnectionLimits(ping_seconds=0.1, linger_seconds=0.1)) as door:
        answer = await _handshake(door, {})
        assert b"101 Switching Protocols" in answer
        assert b"keepalive ping timeout" in answer


async def test_a_listener_that_is_too_slow_is_told_to_begin_again_and_let_go_and_delays_nobody() -> None:
    async with http_door() as door, open_socket(door.address) as quick:
        await quick.ask({"subscribe": {}})
        async with open_socket(door.address, **_small(door), max_queue=1) as slow:
            await slow.ask({"subscribe": {"id": "slow"}})
            heard: list[Json] = []
            async with asyncio.timeout(SECONDS):
                while not door.manager.tally.events_dropped:
                    _publish(door, 500)
                    heard += [await quick.hear() for _ in range(500)]
            assert revisions(heard) == list(range(1, len(heard) + 1))

            messages = await slow.until("reset")
            assert revisions(messages) == list(range(1, len(messages)))
            assert len(messages) < len(heard)
            assert await slow.end() == (1013, "the subscription 'slow' could not keep up")


async def test_a_listener_that_never_reads_is_cut_off() -> None:
    limits = ConnectionLimits(stall_seconds=0.2, ping_seconds=3600)
    async with (
        http_door(limits=limits) as door,
        open_socket(door.address, **_small(door), max_queue=1, close_timeout=0.1) as stuck,
        asyncio.timeout(SECONDS),
    ):
        await stuck.ask({"subscribe": {}})
        while door.manager.events.listeners:
            _publish(door, 500)
            await door.http.get("/healthz")


async def test_every_socket_is_told_that_the_server_goes_away() -> None:
    async with asyncio.timeout(SECONDS):
        async with http_door() as door:
            opened = [open_socket(door.address) for _ in range(20)]
            sockets = [await one.__aenter__() for one in opened]
            for listener in sockets[:10]:
                await listener.ask({"subscribe": {}})
        assert {await listener.end() for listener in sockets} == {(1001, "the server is stopping")}
        for one in opened:
            await one.__aexit__(None, None, None)


async def test_a_listener_that_never_reads_does_not_hold_up_the_end() -> None:
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(SECONDS):
        async with http_door() as door:
            stuck = open_socket(door.address, **_small(door), max_queue=1, close_timeout=0.1)
            listener = await stuck.__aenter__()
            await listener.ask({"subscribe": {}})
            while not door.manager.tally.events_dropped:
                _publish(door, 500)
                await door.http.get("/healthz")
            began = loop.time()
        assert loop.time() - began < 4  # far below the backstop of five seconds: nothing was cancelled by force
        await stuck.__aexit__(None, None, None)


def test_a_message_and_a_frame_are_made_of_the_same_text() -> None:
    frames = EventFrames()
    event = TaskEvent(7, "task.created", 0, "t1", data={"a": 1})
    shown = json.loads("{" + frames.message(event) + "}")
    assert shown == {"event": "task.created", "id": 7, "data": shown["data"]}
    assert json.dumps(shown["data"], separators=(",", ":")).encode() in frames.frame(event)
    assert frames.message(event) is frames.message(event)
    assert "id" not in json.loads("{" + frames.message(event._replace(revision=0)) + "}")


def _publish(door: Door, count: int) -> None:
    """Let long events happen."""
    bus = door.manager.events
    first = bus.newest + 1
    bus.publish([TaskEvent(first + n, "task.created", 0, "t", data={"filler": FILLER}) for n in range(count)])


def _small(door: Door) -> dict[str, Any]:
    """A connection with as small a buffer as the system allows."""
    small = socket.socket()
    small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    small.connect(door.address)
    return {"sock": small}


async def _handshake(door: Door, headers: dict[str, str], *, path: str = "/api/v1/ws") -> bytes:
    """Everything that comes back for a handshake made by hand, up to the end of the connection."""
    sent = {
        "Host": str(door.address),
        "Upgrade": "websocket",
        "Connection": "Upgrade, close" if path != "/api/v1/ws" else "Upgrade",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        **headers,
    }
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in sent.items()), "", ""]
    async with asyncio.timeout(SECONDS):
        reader, writer = await asyncio.open_connection(*door.address)
        writer.write("\r\n".join(lines).encode())
        try:
            return await reader.read()
        finally:
            writer.close()


@pytest.mark.parametrize(
    "line, headers, status",
    [
        ("GET /api/v1/ws", [VERSION_13], 400),
        ("GET /api/v1/ws", ["Sec-WebSocket-Version: 8", KEY], 400),
        ("GET /api/v1/ws", [VERSION_13, KEY, KEY], 400),
        ("GET /api/v1/ws", [VERSION_13, KEY, "X-Filler: " + "x" * 9_000], 400),
        ("GET /api/v1/ws", [VERSION_13, KEY, *["X: x"] * 200], 400),
        ("GET /api/v1/ws", [VERSION_13, KEY, "Content-Length: 2"], 400),
        ("GET /api/v1/ws?after=1", [VERSION_13, KEY], 422),
        ("GET /api/v1/ws?" + "x" * 8_300, [VERSION_13, KEY], 400),
        ("POST /api/v1/ws", [VERSION_13, KEY], 405),
    ],
)
async def test_a_handshake_that_is_not_right_is_refused_as_any_request_is(
    line: str, headers: list[str], status: int
) -> None:
    async with http_door() as door, raw_connection(door.address) as raw:
        await raw.request(line, "Connection: Upgrade", "Upgrade: websocket", *headers)
        answer = await raw.answer()
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
        assert answer.json()["request_id"] == answer.headers["x-request-id"]
        assert status == 405 or await raw.rest() == b""


async def test_a_socket_too_many_is_told_when_to_come_again() -> None:
    async with http_door(limits=ConnectionLimits(connections=1)) as door, open_socket(door.address) as listener:
        with pytest.raises(InvalidStatus) as refused:
            async with open_socket(door.address):
                pass
        answer = refused.value.response
        assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
        assert answer.headers["retry-after"] == "5"
        assert (await listener.ask({"subscribe": {}}))["subscribed"] == "1"


async def test_nothing_is_read_from_a_peer_as_long_as_it_does_not_read() -> None:
    loop = asyncio.get_running_loop()
    pings = (b"\x89\xfd\0\0\0\0" + bytes(125)) * 10
    async with deaf_caller(accept, ConnectionLimits()) as (peer, server), asyncio.timeout(SECONDS):
        handshake = ["GET /api/v1/ws HTTP/1.1", "Connection: Upgrade", "Upgrade: websocket", VERSION_13, KEY, "", ""]
        await loop.sock_sendall(peer, "\r\n".join(handshake).encode())
        assert (await loop.sock_recv(peer, 1_000)).startswith(b"HTTP/1.1 101 ")
        while server.transport.is_reading():
            await loop.sock_sendall(peer, pings)
        while not server.transport.is_reading():
            assert await loop.sock_recv(peer, 1_000)


async def accept(scope: Scope, receive: Receive, send: Send) -> None:
    """Take a WebSocket, and whatever comes over it."""
    await send({"type": "websocket.accept"})
    while (await receive())["type"] != "websocket.disconnect":
        pass


async def test_a_peer_that_leaves_before_its_answer_is_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    async with http_door() as door, raw_connection(door.address) as raw, asyncio.timeout(SECONDS):
        await raw.request("GET /api/v1/ws", "Connection: Upgrade", "Upgrade: websocket", VERSION_13, KEY)
        await raw.reader.readuntil(b"\r\n\r\n")
        await raw.write(masked(1, b"nonsense"), masked(8, b"\x03\xe8"))
        assert await raw.rest() == b"\x88\x02\x03\xe8"
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


def masked(opcode: int, content: bytes) -> bytes:
    """A frame of a client's."""
    return bytes([0x80 | opcode, 0x80 | len(content), 0, 0, 0, 0]) + content


async def test_a_subscription_that_ends_before_it_has_begun_leaves_nothing_behind() -> None:
    churn = [{"subscribe": {"id": "a"}}, {"unsubscribe": "a"}] * 2 + [{"unsubscribe": "end"}]
    async with http_door() as door, raw_connection(door.address) as raw, asyncio.timeout(SECONDS):
        await raw.request("GET /api/v1/ws", "Connection: Upgrade", "Upgrade: websocket", VERSION_13, KEY)
        await raw.reader.readuntil(b"\r\n\r\n")
        await raw.write(*(masked(1, json.dumps(wish).encode()) for wish in churn))
        heard = await raw.reader.readuntil(b"there is no subscription 'end'")
        assert (heard.count(b'{"error"'), heard.count(b'{"unsubscribed":"a"}')) == (1, 2)
