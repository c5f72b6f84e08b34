"""Every noun of the command line as processes of their own, against a real server and an agent that a test steers."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from nodelink.task import LogStream, Outcome, Reason
from tests.support.cli_shell import Shell
from tests.support.grpc_door import GrpcDoor, grpc_door
from tests.support.http_door import ManualAgent


@pytest.fixture
async def door() -> AsyncIterator[GrpcDoor]:
    async with grpc_door() as door:
        yield door


@pytest.fixture
def shell(door: GrpcDoor, tmp_path: Path) -> Shell:
    return Shell(tmp_path, str(door.address))


async def _ended(door: GrpcDoor, agent: ManualAgent, type: str = "echo", **end: Any) -> str:
    """The id of a task that has ended so."""
    task_id = await door.submit(type, b'{"command":["x"]}')
    agent.finish((await agent.take()).ref, **end)
    await door.manager.wait_many([task_id], 20_000)
    return task_id


# --- tasks ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options, found",
    [
        ((), {"one", "two", "three"}),
        (("--type", "shell"), {"three"}),
        (("--pool", "gpu"), {"two"}),
        (("--status", "pending"), {"one", "two", "three"}),
        (("--status", "failed", "--status", "lost"), set[str]()),
        (("--label", "team=green"), {"one", "two"}),
        (("--label", "team=green", "--label", "size=2"), {"two"}),
        (("--q", "size=2"), {"two"}),
        (("--q", "shell"), {"three"}),
        (("--created-after", "1h"), {"one", "two", "three"}),
        (("--created-before", "1h"), set[str]()),
        (("--created-after", "2100-01-31T09:30:00Z"), set[str]()),
        (("--created-before", "2100-01-31T09:30:00+02:00", "--limit", "1"), {"three"}),
    ],
)
async def test_a_list_shows_what_matches(
    door: GrpcDoor, shell: Shell, options: tuple[str, ...], found: set[str]
) -> None:
    ids = {
        await door.submit(metadata={"team": "green"}): "one",
        await door.submit(metadata={"team": "green", "size": "2"}, pool="gpu"): "two",
        await door.submit("shell", b'{"command":"true"}'): "three",
    }
    said = await shell("tasks", "list", "-o", "id", *options)

    assert {ids[task_id] for task_id in said.out.decode().split()} == found


async def test_a_task_is_named_by_how_its_id_begins_where_only_one_does(door: GrpcDoor, shell: Shell) -> None:
    first, second = [await door.submit() for _ in range(2)]
    alone = await shell("tasks", "get", first.upper(), "-o", "id")
    begun = await shell("tasks", "get", first[:-1], "-o", "id")

    assert alone.out.decode().strip() == first
    assert begun.code == 5
    assert f"several tasks are named '{first[:-1]}': {second}, {first}" in begun.err


async def test_a_unique_beginning_serves_everywhere(door: GrpcDoor, shell: Shell) -> None:
    async with door.agent() as agent:
        task_id = await _ended(door, agent)
        begun = task_id[:8]
        said = await asyncio.gather(
            *(shell("tasks", verb, begun) for verb in ("get", "result", "logs", "events", "wait", "cancel"))
        )
        retried = await shell("tasks", "retry", begun, "-o", "json")

    assert [one.code for one in said] == [0, 0, 0, 0, 0, 5]
    assert json.loads(retried.out)["retry_of"] == task_id


async def test_a_retry_under_the_same_key_is_the_same_task(door: GrpcDoor, shell: Shell) -> None:
    async with door.agent() as agent:
        task_id = await _ended(door, agent, outcome=Outcome.FAILED, reason=Reason.HANDLER_ERROR)
        first = await shell("tasks", "retry", task_id, "--idempotency-key", "k")
        again = await shell("tasks", "retry", task_id, "--idempotency-key", "k")

    assert first.out == again.out != task_id.encode() + b"\n"


async def test_a_cleanup_tells_how_many_tasks_it_removed(door: GrpcDoor, shell: Shell) -> None:
    async with door.agent() as agent:
        task_id = await _ended(door, agent)
        kept = await shell("tasks", "cleanup", "--older-than", "1h", "-o", "json")
        gone = await shell("tasks", "cleanup", "--older-than", "0s", "-o", "id")
        looked = await shell("tasks", "get", task_id)

    assert (json.loads(kept.out), gone.out, looked.code) == ({"removed": 0}, b"1\n", 4)


async def test_the_last_bytes_of_the_output_can_be_had_alone(door: GrpcDoor, shell: Shell) -> None:
    async with door.agent() as agent:
        task_id = await door.submit("shell", b'{"command":["x"]}')
        ref = (await agent.take()).ref
        agent.write(ref, LogStream.STDOUT, b"a long way to the end")
        agent.finish(ref)
        await door.manager.wait_many([task_id], 20_000)
        said = await shell("tasks", "logs", task_id, "--tail", "3")
        followed = await shell("tasks", "logs", task_id, "--tail", "3", "-f")

    assert (said.out, followed.out) == (b"end", b"end")


async def test_the_end_of_several_tasks_has_the_code_of_the_first_that_went_wrong(door: GrpcDoor, shell: Shell) -> None:
    async with door.agent() as agent:
        good = await _ended(door, agent)
        bad = await _ended(door, agent, "shell", outcome=Outcome.FAILED, reason=Reason.EXIT_CODE, exit_code=9)
        worse = await _ended(door, agent, "shell", outcome=Outcome.TIMEOUT, reason=Reason.RUN_TIMEOUT, exit_code=143)
        said = await shell("tasks", "wait", good, bad, worse, good, "-o", "json")
        well = await shell("tasks", "wait", good, good, "-o", "id")

    assert [result["task_id"] for result in json.loads(said.out)] == [good, bad, worse]
    assert (said.code, well.code) == (9, 0)


async def test_the_first_of_several_is_enough_where_that_is_asked(door: GrpcDoor, shell: Shell) -> None:
    async with door.agent() as agent:
        ended, open_ = await _ended(door, agent), await door.submit(pool="nowhere")
        first = await shell("tasks", "wait", "--any", open_, ended, "-o", "id")
        late = await shell("tasks", "wait", "--all", open_, ended, "-o", "id", "--timeout", "100ms")

    assert (first.code, first.out.decode().split()) == (0, [ended])
    assert (late.code, late.out.decode().split()) == (124, [ended])
    assert "1 of 2 have not ended yet" in late.err


@pytest.mark.parametrize("form", ["json", "yaml", "ndjson", "id", "table"])
async def test_events_come_in_every_form(door: GrpcDoor, shell: Shell, form: str) -> None:
    async with door.agent() as agent:
        task_id = await _ended(door, agent)
        said = (await shell("tasks", "events", task_id, "-o", form)).out.decode()

    names = ["task.created", "task.pending", "task.sent", "task.started", "task.completed"]
    match form:
        case "json":
            decoder, told = json.JSONDecoder(), []
            while said.strip():
                one, end = decoder.raw_decode(said.lstrip())
                told.append(one["event"])
                said = said.lstrip()[end:]
        case "yaml":
            told = [one["event"] for one in yaml.safe_load_all(said) if one]
        case "ndjson":
            told = [json.loads(line)["event"] for line in said.splitlines()]
        case "id":
            assert said.split() == sorted(said.split(), key=int)
            return
        case _:
            told = [line.split()[1] for line in said.splitlines()]
    assert told[-1] == "task.completed"
    assert set(told) <= set(names)


# --- agents, scheduler, statistics ------------------------------------------------------------------------------------


async def test_an_agent_is_named_by_its_name_where_only_one_has_it(door: GrpcDoor, shell: Shell) -> None:
    async with door.agent(labels={"zone": "b"}) as agent, door.agent(agent_id="a2", pool="gpu"):
        task_id = await _ended(door, agent)
        one = await shell("agents", "get", "agent a1", "-o", "id")
        tasks = await shell("agents", "tasks", "agent a1", "-o", "id")
        listed = await shell("tasks", "list", "--agent", "agent a1", "-o", "id")
        none = await shell("agents", "tasks", "a2", "-o", "id")
        sessions = await shell("agents", "sessions", "agent a1", "-o", "json")
        labelled = await shell("agents", "list", "--label", "zone=b", "-o", "id")
        of_pool = await shell("agents", "list", "--pool", "gpu", "--status", "online", "-o", "id")

    assert [said.out.decode().split() for said in (one, tasks, listed, none)] == [["a1"], [task_id], [task_id], []]
    assert [(session["number"], session["disconnected_at"]) for session in json.loads(sessions.out)] == [(1, None)]
    assert (labelled.out, of_pool.out) == (b"a1\n", b"a2\n")


async def test_the_queue_and_the_figures_come_in_every_form(door: GrpcDoor, shell: Shell) -> None:
    async with door.agent() as agent:
        await _ended(door, agent)
        await door.submit(pool="gpu", priority=100)
        status = {
            form: (await shell("scheduler", "status", "-o", form)).out.decode() for form in ("json", "yaml", "id")
        }
        stats = {
            form: (await shell("stats", "--by", "type", "-o", form)).out.decode()
            for form in ("json", "ndjson", "id", "table")
        }

    told = json.loads(status["json"])
    assert (told["queued_tasks"], told["queue_by_priority"]["CRITICAL"], told["available_slots"]) == (1, 1, 4)
    assert yaml.safe_load(status["yaml"]) == told
    assert status["id"] == "running\n"
    group = json.loads(stats["json"])["buckets"][0]["groups"][0]
    assert (group["key"], group["created"], group["finished"]["completed"]) == ("echo", 2, 1)
    assert json.loads(stats["ndjson"])["assignment_success"] == 1.0
    assert stats["id"] == "echo\n"
    assert stats["table"].splitlines()[0].split()[:3] == ["KEY", "CREATED", "COMPLETED"]


# --- doctor -----------------------------------------------------------------------------------------------------------


async def test_a_doctor_finds_a_healthy_server_well(door: GrpcDoor, shell: Shell) -> None:
    async with door.agent() as agent, shell.start("doctor", "--task", "--idle", "10ms", "-o", "json") as command:
        request = await agent.take()
        agent.finish(request.ref, output=request.payload)
        said = await command.end()

    verdicts = {finding["name"]: finding["verdict"] for finding in json.loads(said.out)}
    assert said.code == 0
    for name in ("server", "health", "round trip", "agents", "task", "idle stream", "data directory", "proxy"):
        assert verdicts[name] == "ok", said.out
    assert verdicts["HTTP"] == "warn"  # nobody has said where it is


async def test_a_doctor_says_what_to_do_about_what_is_wrong(shell: Shell) -> None:
    (shell.directory / "file").touch()
    shell.env = {**shell.env, "http_proxy": "http://127.0.0.1:1", "no_proxy": "127.0.0.1"}
    said = await shell("doctor", "--server", "127.0.0.1:1", "--data-dir", "file/below", "--http", "http://127.0.0.1:1")
    lines = said.out.decode().splitlines()

    assert said.code == 1
    assert any(line.startswith("fail") and "cannot reach the server" in line for line in lines)
    assert any(line.startswith("fail") and "data directory" in line for line in lines)
    assert any(line.startswith("warn") and "http_proxy is set; not for: 127.0.0.1" in line for line in lines)
    assert any(line.startswith("server: start it") for line in lines)


async def test_a_doctor_compares_versions_and_clocks_over_http(shell: Shell) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = b'{"status": "ok", "version": "99.0"}'
        head = f"HTTP/1.1 200 OK\r\nDate: Tue, 01 Jan 2030 00:00:00 GMT\r\nContent-Length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as http:
        address = f"http://127.0.0.1:{http.sockets[0].getsockname()[1]}"
        said = await shell("doctor", "--http", address, "-o", "json")

    found = {finding["name"]: finding for finding in json.loads(said.out)}
    assert (found["HTTP"]["verdict"], said.code) == ("ok", 0)
    assert (found["version"]["verdict"], found["clocks"]["verdict"]) == ("warn", "warn")
    assert "99.0 there" in found["version"]["found"]
    assert found["agents"]["advice"].startswith("start one")


# --- signals and pipes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [("tasks", "events"), ("tasks", "get", "--watch")])
async def test_an_interrupt_ends_a_look_without_a_word(
    door: GrpcDoor, shell: Shell, arguments: tuple[str, ...]
) -> None:
    task_id = await door.submit()
    async with shell.start(*arguments, task_id) as command:
        await command.prints(task_id)
        command.interrupt()
        said = await command.end()

    assert (said.code, said.err.strip()) == (130, "")
    assert (await shell("tasks", "get", task_id, "-o", "json")).code == 0


async def test_a_run_takes_a_request_to_stop_as_an_interrupt(door: GrpcDoor, shell: Shell) -> None:
    async with door.agent() as agent, shell.start("run", "sleep", "60") as command:
        ref = (await agent.take()).ref
        agent.start(ref)
        command.signal(signal.SIGTERM)
        await agent.told_to_stop()
        agent.finish(ref, outcome=Outcome.CANCELLED, reason=Reason.CANCELLED_BY_CALLER)
        said = await command.end()

    assert said.code == 130


async def test_a_reader_that_has_gone_is_no_error(door: GrpcDoor, shell: Shell) -> None:
    task_id = await door.submit()
    async with shell.start("tasks", "list", "--watch", "-o", "ndjson") as command:
        await command.prints(task_id)
        command.stop_reading()
        await door.submit()
        said = await command.end()

    assert (said.code, said.err) == (1, "")


# --- watching ---------------------------------------------------------------------------------------------------------


async def test_a_watched_task_is_told_on_a_pipe_once_for_each_change_until_it_ends(
    door: GrpcDoor, shell: Shell
) -> None:
    async with door.agent() as agent:
        task_id = await door.submit()
        ref = (await agent.take()).ref
        async with shell.start("tasks", "get", task_id, "--watch", "-o", "ndjson") as command:
            await command.prints('"sent"')
            agent.start(ref)
            await command.prints('"in_progress"')
            agent.finish(ref)
            said = await command.end()

    assert said.code == 0
    assert json.loads(said.out.splitlines()[-1])["status"] == "completed"


async def test_a_watched_list_tells_only_what_is_new(door: GrpcDoor, shell: Shell) -> None:
    first = await door.submit()
    async with shell.start("tasks", "list", "--watch", "-o", "ndjson") as command:
        await command.prints(first)
        second = await door.submit()
        line = await command.prints(second)
        command.interrupt()
        said = await command.end()

    assert json.loads(line)["id"] == second
    assert said.code == 130
    assert first.encode() not in said.out


async def test_watched_agents_and_figures_follow_the_events(door: GrpcDoor, shell: Shell) -> None:
    async with (
        shell.start("agents", "list", "--watch", "-o", "ndjson") as agents,
        shell.start("scheduler", "status", "--watch", "-o", "ndjson") as scheduler,
        shell.start("stats", "--watch", "-o", "json") as stats,
    ):
        await scheduler.prints('"queued_tasks":0')
        await stats.prints('"live"')
        async with door.agent():
            await agents.prints('"online"')
        await agents.prints('"offline"')
        await door.submit()
        await scheduler.prints('"queued_tasks":1')
        await stats.prints('"created": 1')
