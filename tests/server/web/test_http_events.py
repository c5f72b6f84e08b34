"""Events over HTTP: complete, in order, resumed; bounded for who does not read; ended with the server."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable

from nodelink.errors import StoreUnavailable
from nodelink.task import LogStream, Outcome, Progress
from nodelink_server.core.assembly import Options
from nodelink_server.core.ports import TaskEvent
from nodelink_server.web.events import EventFrames
from nodelink_server.web.protocol import ConnectionLimits
from tests.support.core_parts import Database
from tests.support.http_door import Door, ManualAgent, ServerEvent, http_door, listening, raw_request, until
from tests.support.sockets import open_socket

SECONDS = 30


def kept(events: Iterable[ServerEvent]) -> list[int]:
    """The revisions of the events that are kept."""
    return [event.id for event in events if event.id is not None]


async def test_the_first_event_is_hello_and_names_the_newest_revision() -> None:
    async with http_door() as door:
        task = await door.submit()
        async with listening(door.http, "/api/v1/events") as events:
            [hello] = await until(events, "hello")
        assert hello.data["revision"] == task["revision"]
        assert hello.id is None


async def test_an_event_tells_what_happened_to_which_task() -> None:
    async with http_door() as door, listening(door.http, "/api/v1/events") as events:
        await until(events, "hello")
        task = await door.submit(priority="HIGH")
        created, pending = await until(events, "task.pending")
        assert (created.name, created.id) == ("task.created", created.data["revision"])
        expected = {
            "task_id": task["id"],
            "status": "pending",
            "reason": "agent",
            "priority": 75,
            "type": "echo",
            "pool": "default",
        }
        assert {name: pending.data[name] for name in expected} == expected
        assert pending.data["time"].endswith("Z")
        assert "agent_id" not in pending.data


async def test_the_room_of_a_task_has_its_history_its_output_and_its_progress() -> None:
    async with http_door() as door, door.agent() as agent:
        task_id = (await door.submit())["id"]
        await door.submit()
        ref = (await agent.take()).ref
        async with listening(door.http, f"/api/v1/tasks/{task_id}/events") as events:
            heard = await until(events, "task.sent")
            agent.start(ref)
            agent.write(ref, LogStream.STDOUT, b"out")
            heard += await until(events, "task.output")
            agent.say(ref, Progress(fraction=0.25, message="m"))
            heard += await until(events, "task.progress")
            agent.finish(ref)
            heard += await until(events, "task.completed")
        names = [event.name for event in heard]
        assert [name for name in names if name not in {"task.output", "task.progress"}] == [
            "hello",
            "task.created",
            "task.sent",
            "task.started",
            "task.completed",
        ]
        assert {event.data["task_id"] for event in heard[1:]} == {task_id}
        assert [event.data["text"] for event in heard if event.name == "task.output"] == ["out"]
        assert [event.data["fraction"] for event in heard if event.name == "task.progress"] == [0.25]
        assert kept(heard) == sorted(kept(heard))
        assert all(event.id is None for event in heard if event.name in {"task.output", "task.progress", "hello"})


async def test_a_listener_that_is_cut_again_and_again_misses_nothing_and_hears_nothing_twice() -> None:
    async with http_door() as door, door.agent(slots=2) as agent, asyncio.TaskGroup() as group:
        works = group.create_task(work(door, agent, 40))
        heard: list[ServerEvent] = []
        headers: dict[str, str] = {}
        async with asyncio.timeout(SECONDS):
            while len(ended(heard)) < 40:
                path = "/api/v1/events?after=0"  # the header beats it from the second time on
                async with listening(door.http, path, headers=headers) as events:
                    heard += await until(events, "task.completed")
                headers = {"Last-Event-ID": str(kept(heard)[-1])}
        await works
        revisions = kept(heard)
        assert revisions == sorted(set(revisions))
        assert len(set(ended(heard))) == 40
        async with listening(door.http, "/api/v1/events?after=0") as events:
            whole: list[ServerEvent] = []
            while len(ended(whole)) < 40:
                whole += await until(events, "task.completed")
        assert kept(whole) == revisions


async def test_a_listener_that_asks_for_what_is_not_there_is_told_to_begin_again() -> None:
    async with http_door() as door, listening(door.http, "/api/v1/events?after=1000") as events:
        await until(events, "reset")
        await door.submit()
        await until(events, "task.created")


async def test_a_listener_is_told_where_to_resume_before_anything_has_happened() -> None:
    async with http_door() as door, asyncio.timeout(SECONDS):
        task = await door.submit()
        reader, writer = await raw_request(door.address, "/api/v1/events?pool=quiet")
        await reader.readuntil(b"event: hello")
        assert (await reader.readuntil(b"id: %d\n\n" % task["revision"])).count(b"id: ") == 1
        task = await door.submit()
        await reader.readuntil(b"id: %d\n\n" % task["revision"])  # seconds later: nothing matched, and it is said so
        writer.close()


async def test_one_listener_too_many_is_told_when_to_come_again() -> None:
    async with http_door(options=Options(max_listeners=1)) as door, listening(door.http, "/api/v1/events") as events:
        await until(events, "hello")
        answer = await door.http.get("/api/v1/events")
        assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (429, "OVERLOADED", "5")
        task = await door.submit()
        answer = await door.http.get(f"/api/v1/tasks/{task['id']}/events")
        assert (answer.status_code, answer.json()["detail"]) == (429, "there are 1 listeners already")


async def test_a_database_that_cannot_be_read_ends_a_stream_and_the_listener_comes_again() -> None:
    away = False

    def fault(kind: str) -> None:
        if away and kind == "read":
            raise StoreUnavailable("the disk is gone")

    async with http_door(fault=fault) as door, asyncio.timeout(SECONDS):
        await door.submit()
        away = True
        reader, writer = await raw_request(door.address, "/api/v1/events?after=0")
        await reader.readuntil(b"event: hello")
        assert (await reader.readuntil(b"0\r\n\r\n")).count(b"event: ") == 0
        writer.close()
        away = False
        async with listening(door.http, "/api/v1/events?after=0") as events:
            await until(events, "task.pending")


async def test_every_listener_is_sent_home_before_commits_and_agents_are_waited_for() -> None:
    database = Database()
    async with http_door(database=database) as door, door.agent(), asyncio.timeout(SECONDS):
        streams = [await raw_request(door.address, "/api/v1/events") for _ in range(3)]
        for reader, _ in streams:
            await reader.readuntil(b"event: hello")
        async with open_socket(door.address) as listener:
            await listener.ask({"subscribe": {}})
            database.hold("apply")
            submission = asyncio.ensure_future(door.http.post("/api/v1/tasks", json={"type": "echo"}))
            await database.until_held("apply")
            await door.manager.drain()
            for reader, writer in streams:
                await reader.readuntil(b"\r\n0\r\n\r\n")
                writer.close()
            assert await listener.end() == (1001, "the server is stopping")
        assert not submission.done()
        assert door.manager.agents.sessions()
        database.let_go("apply")
        assert (await submission).status_code == 201


async def test_the_runs_of_an_agent_are_told_as_its_own() -> None:
    async with http_door() as door, door.agent() as agent, listening(door.http, "/api/v1/events?agent_id=a1") as events:
        for outcome in (Outcome.COMPLETED, Outcome.FAILED):
            await door.submit()
            ref = (await agent.take()).ref
            agent.start(ref)
            agent.finish(ref, outcome=outcome)
        heard = await until(events, "agent.failed")
        names = [event.name for event in heard if event.name != "hello"]
        assert names == ["agent.started", "agent.completed", "agent.started", "agent.failed"]


async def test_filters_leave_out_what_does_not_match() -> None:
    async with http_door() as door, listening(door.http, "/api/v1/events?pool=p&type=echo") as events:
        await until(events, "hello")
        await door.submit(pool="q")
        await door.http.post("/api/v1/tasks/shell", json={"command": "true", "pool": "p"})
        wanted = await door.submit(pool="p")
        heard = await until(events, "task.created")
        assert [event.data["task_id"] for event in heard] == [wanted["id"]]


async def test_streams_are_not_cached_and_say_when_to_come_again() -> None:
    async with http_door() as door, asyncio.timeout(SECONDS), door.http.stream("GET", "/api/v1/events") as answer:
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-accel-buffering"] == "no"
        assert (await anext(answer.aiter_lines())) == "retry: 2000"


async def test_a_listener_that_leaves_is_forgotten() -> None:
    async with http_door() as door:
        async with listening(door.http, "/api/v1/events") as events:
            await until(events, "hello")
            assert door.manager.events.listeners == 1
        await until_no_listener(door)


async def test_a_listener_that_never_reads_is_cut_off_and_delays_nobody() -> None:
    limits = ConnectionLimits(stall_seconds=0.2)
    async with http_door(limits=limits) as door, asyncio.timeout(SECONDS):
        stuck = stuck_listener(door)
        async with listening(door.http, "/api/v1/events") as events:
            await until(events, "hello")
            heard: list[ServerEvent] = []
            metadata = {"filler": "x" * 1000}
            while door.manager.events.listeners > 1:
                items = [{"type": "echo", "pool": "p" * 60, "metadata": metadata}] * 500
                await door.http.post("/api/v1/tasks/batch", json={"tasks": items})
                heard += await until(events, "task.pending")
        assert kept(heard) == sorted(set(kept(heard)))
        stuck.close()


async def test_streams_end_with_the_server_well_within_a_second_of_work() -> None:
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(SECONDS):
        async with http_door() as door:
            listeners = [await raw_request(door.address, "/api/v1/events") for _ in range(20)]
            for reader, _ in listeners:
                await reader.readuntil(b"event: hello")
            began = loop.time()
        assert loop.time() - began < 4  # far below the backstop of five seconds: nothing was cancelled by force
        for reader, writer in listeners:
            assert (await reader.read()).endswith(b"0\r\n\r\n")
            writer.close()


async def test_a_listener_that_never_reads_does_not_hold_up_the_end() -> None:
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(SECONDS):
        async with http_door() as door:
            stuck = stuck_listener(door)
            async with listening(door.http, "/api/v1/events") as events:
                await until(events, "hello")
            while door.manager.tally.events_dropped == 0:
                items = [{"type": "echo", "pool": "p" * 60}] * 1000
                await door.http.post("/api/v1/tasks/batch", json={"tasks": items})
            began = loop.time()
        assert loop.time() - began < 4
        stuck.close()


def test_an_event_is_written_once_for_all_its_listeners() -> None:
    frames = EventFrames()
    event = TaskEvent(7, "task.created", 0, "t1", data={"a": 1})
    assert frames.frame(event) is frames.frame(event)
    assert frames.frame(event) == (
        b'id: 7\nevent: task.created\ndata: {"revision":7,"time":"1970-01-01T00:00:00.000Z","task_id":"t1","a":1}\n\n'
    )


def test_events_that_were_written_are_kept_for_a_while_only() -> None:
    frames = EventFrames()
    for revision in range(3 * EventFrames.MOST_KEPT):
        assert b"id: %d\n" % (revision + 1) in frames.frame(TaskEvent(revision + 1, "task.created", 0))
    assert len(frames) == EventFrames.MOST_KEPT


def test_long_events_are_kept_for_a_shorter_while() -> None:
    frames = EventFrames()
    text = "x" * (EventFrames.MOST_BYTES // 10)
    for revision in range(20):
        frames.frame(TaskEvent(revision + 1, "task.created", 0, data={"text": text}))
    assert len(frames) == 9


def test_no_text_of_a_task_can_break_out_of_its_event() -> None:
    frame = EventFrames().frame(TaskEvent(1, "task.output", 0, data={"text": "a\n\nevent: x\r\ndata: \u2028"}))
    assert frame.count(b"\n") == 4
    assert b"\r" not in frame


async def work(door: Door, agent: ManualAgent, tasks: int) -> None:
    """Submit tasks one by one, and have each of them run."""
    for _ in range(tasks):
        await door.submit()
        ref = (await agent.take()).ref
        agent.start(ref)
        agent.finish(ref)


def ended(events: Iterable[ServerEvent]) -> list[str]:
    """The tasks that were heard to end."""
    return [event.data["task_id"] for event in events if event.name == "task.completed"]


def stuck_listener(door: Door) -> socket.socket:
    """A listener that never reads, with as small a buffer as the system allows."""
    stuck = socket.socket()
    stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    stuck.connect(door.address)
    stuck.sendall(b"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
    return stuck


async def until_no_listener(door: Door) -> None:
    """Wait until nobody listens any more."""
    async with asyncio.timeout(SECONDS):
        while door.manager.events.listeners:
            await door.http.get("/healthz")
