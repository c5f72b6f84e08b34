"""The synchronous client beside real processes: kills of the server, Ctrl-C, threads and forks."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from nodelink.client import Client, TaskFilter, TaskHandle
from nodelink.errors import LinkLost
from tests.support.processes import House, Server, Services, gone

SUBMISSIONS = 6_000
WAIT_SECONDS = 60.0


@pytest.fixture
def client(house: House) -> Iterator[Client]:
    with Client(house.server.grpc, timeout=WAIT_SECONDS) as client:
        yield client


@pytest.mark.slow
async def test_a_loop_of_submits_over_kills_of_the_server_loses_nothing_and_doubles_nothing(services: Services) -> None:
    server = await services.server()
    marks = {SUBMISSIONS // 3: asyncio.Event(), SUBMISSIONS * 2 // 3: asyncio.Event()}
    loop = asyncio.get_running_loop()

    def submit_all() -> list[str]:
        with Client(server.grpc) as client:
            handles: list[TaskHandle] = []
            for number in range(SUBMISSIONS):
                handles.append(client.submit("echo", number))
                if number in marks:
                    loop.call_soon_threadsafe(marks[number].set)
                    _ = handles[number // 2].id
        return [handle.id for handle in handles]

    submitting = asyncio.create_task(asyncio.to_thread(submit_all))
    async with asyncio.timeout(50):
        for reached in marks.values():
            await reached.wait()
            await server.kill()
            server = await services.server(again=server)
        ids = await submitting
        listed = await asyncio.to_thread(_payloads_by_id, server)

    assert listed == {task_id: number for number, task_id in enumerate(ids)}
    assert len(listed) == SUBMISSIONS


async def test_threads_may_share_a_client(client: Client) -> None:
    def work(number: int) -> Any:
        return client.run("echo", number, wait=WAIT_SECONDS).value

    with ThreadPoolExecutor(8) as pool:
        assert await asyncio.to_thread(lambda: list(pool.map(work, range(64)))) == list(range(64))


def test_results_of_a_map_come_in_order(client: Client) -> None:
    assert [result.value for result in client.map("echo", range(300), window=64)] == list(range(300))


def test_lines_come_as_they_are_printed(client: Client) -> None:
    handle = client.submit("shell", {"command": "printf 'one\\ntwo\\nthree'"}, timeout="30s")

    assert list(handle.stream_lines(stream="stdout")) == ["one", "two", "three"]
    assert b"".join(part.data for part in handle.logs()) == b"one\ntwo\nthree"


@pytest.mark.parametrize(
    "block",
    [
        lambda client, handle: handle.wait(),
        lambda client, handle: handle.result(),
        lambda client, handle: next(handle.stream_logs()),
        lambda client, handle: next(client.watch(pool="empty")),
    ],
    ids=["wait", "result", "stream_logs", "watch"],
)
def test_an_interrupt_leaves_the_client_usable(client: Client, block: Callable[[Client, TaskHandle], Any]) -> None:
    handle = client.submit("echo", pool="nobody")
    main = threading.get_ident()
    threading.Timer(0.3, lambda: signal.pthread_kill(main, signal.SIGINT)).start()  # it is waiting, or about to
    with pytest.raises(KeyboardInterrupt):
        block(client, handle)

    assert client.submit("echo").wait(WAIT_SECONDS).is_terminal
    assert handle.cancel().is_terminal


def test_no_thread_is_left_when_a_client_is_closed_or_forgotten(house: House) -> None:
    before = set(threading.enumerate())
    with Client(house.server.grpc) as client:
        assert client.run("echo", wait=WAIT_SECONDS).succeeded
    forgotten = Client(house.server.grpc)
    assert forgotten.submit("echo").id
    del forgotten
    for thread in set(threading.enumerate()) - before:
        thread.join(WAIT_SECONDS)

    assert set(threading.enumerate()) <= before


def test_what_a_forgotten_client_has_given_goes_on(house: House) -> None:
    handle = Client(house.server.grpc).submit("echo", 7)
    results = Client(house.server.grpc).map("echo", range(3))

    assert handle.result(WAIT_SECONDS).value == 7
    assert [result.value for result in results] == [0, 1, 2]


def test_a_client_that_was_inherited_over_a_fork_says_so(client: Client) -> None:
    client._connection._process = os.getppid()  # as it is in a child

    with pytest.raises(RuntimeError, match="make a new one after the fork"):
        client.get("t1")
    with pytest.raises(RuntimeError, match="make a new one after the fork"):
        client.submit("echo")
    with pytest.raises(RuntimeError, match="make a new one after the fork"):
        client.flush()
    client._connection._process = os.getpid()


async def test_a_client_that_is_not_told_finds_the_server(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("NODELINK_SERVER", raising=False)
    with Client() as client:
        assert client.server == "127.0.0.1:50051"
    (tmp_path / ".nodelink").symlink_to(house.server.data_dir)
    with Client() as client:
        assert client.server == house.server.grpc
        assert client.agents()
    monkeypatch.setenv("NODELINK_SERVER", "elsewhere:1")
    with Client() as client:
        assert client.server == "elsewhere:1"


async def test_a_server_that_goes_for_good_is_given_up_after_the_patience(services: Services) -> None:
    server = await services.server()
    with Client(server.grpc, patience=0.2) as client:
        assert await asyncio.to_thread(lambda: client.submit("echo").id)
        await server.kill()
        await gone(server.pid)
        async with asyncio.timeout(WAIT_SECONDS):
            with pytest.raises(LinkLost):
                await asyncio.to_thread(lambda: client.submit("echo").id)


def _payloads_by_id(server: Server) -> dict[str, int]:
    with Client(server.grpc) as client:
        return {task.id: int(task.payload) for task in client.iterate(TaskFilter(type="echo"))}
