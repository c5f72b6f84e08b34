"""What a killed spawner left running is found and ended or waited for, and nobody else is touched."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import uuid
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from nodelink_agent import found, orphans
from nodelink_agent.boottime import boot_id
from nodelink_agent.found import NeverBegan, Remains, Vanished
from nodelink_agent.orphans import Search, clear_orphans
from nodelink_agent.processes import deliver, lives, started
from nodelink_agent.spawner_home import JOURNAL
from tests.support.commands import AGENT, PATIENCE, Gate, Shop, alive, exited, handle, open_shop, sh
from tests.support.processes import until

TASK = str(uuid.uuid4())
IDENTITY = {"NODELINK_TASK_ID": TASK, "NODELINK_FENCE": "7"}
STRANGER = str(uuid.uuid4())


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    async with open_shop(tmp_path) as shop:
        yield shop


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    gate = Gate(tmp_path)
    yield gate
    gate.release()


@contextmanager
def child(env: Mapping[str, str], script: str = "exec sleep 1000") -> Iterator[int]:
    """A process of its own session, with an environment of its own."""
    pid = os.posix_spawn("/bin/sh", list(sh(script)), dict(env), setsid=True)
    try:
        yield pid
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        reap(pid)


def reap(pid: int) -> None:
    """Wait for a child, so that its number is free. It may have been waited for."""
    with suppress(ChildProcessError):
        os.waitpid(pid, 0)


async def vanish(shop: Shop, *argv: str) -> tuple[Vanished, list[int]]:
    """Start a command, learn the processes that it names, and kill its spawner."""
    watched = await shop.start(*argv, env=IDENTITY)
    pids = await watched.pids()
    os.kill(shop.spawner_pid, signal.SIGKILL)
    async with asyncio.timeout(PATIENCE):
        await shop.commands.broken.wait()
    found = shop.commands.found(shop.commands.spawner_id, "1")
    assert isinstance(found, Vanished)
    return found, pids


def named(pid: int, **changes: object) -> Vanished:
    """A command whose leader was that process."""
    moment = started(pid)
    assert moment is not None
    words: dict[str, object] = {"boot_id": boot_id(), "pid": pid, "started": range(moment, moment + 1), **changes}
    return Vanished(**words)  # type: ignore[arg-type]


async def test_orphans_are_killed_wherever_they_hide(shop: Shop) -> None:
    apart = "(setsid sh -c 'echo $0 $1 $$; exec sleep 1000' $$ $! &)"
    found, pids = await vanish(shop, *sh(f"env -i sleep 1000 & {apart}; exec sleep 1000"))
    assert len(pids) == 3
    with ExitStack() as handles:
        descriptors = [handles.enter_context(handle(pid)) for pid in pids]
        async with asyncio.timeout(PATIENCE):
            await clear_orphans(found, task_id=TASK, fence=7, exclusive=False)
            for descriptor in descriptors:
                await exited(descriptor)
    assert not Search(found, TASK, 7).living()


async def test_nothing_is_touched_while_the_spawner_lives_that_a_copied_journal_tells_of(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine's directories may be copied, and an agent begun from the copy beside the one that is at work."""
    watched = await shop.start(*sh("echo $$; exec sleep 1000"), env=IDENTITY)
    [pid] = await watched.pids()
    copy = tmp_path / "copy"
    copy.mkdir()
    shutil.copy(tmp_path / AGENT / "spawners" / shop.commands.spawner_id / JOURNAL, copy)
    told = Remains(copy).found("1")
    assert isinstance(told, Vanished)
    looked = asyncio.Queue[bool]()

    def look(pid: int, moment: int) -> bool:
        looked.put_nowait(it_lives := lives(pid, moment))
        return it_lives

    monkeypatch.setattr(orphans, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(found, "lives", look)
    clearing = asyncio.create_task(clear_orphans(told, task_id=TASK, fence=7, exclusive=False))
    async with asyncio.timeout(PATIENCE):
        assert [await looked.get() for _ in range(3)] == [True] * 3
        assert alive(pid)

        os.kill(shop.spawner_pid, signal.SIGKILL)
        await clearing


@pytest.mark.parametrize("starts", [1, 4, 7])
async def test_whenever_the_spawner_is_killed_what_it_began_is_found(shop: Shop, starts: int) -> None:
    tasks = [str(uuid.uuid4()) for _ in range(8)]
    envs = [{"NODELINK_TASK_ID": task, "NODELINK_FENCE": "1"} for task in tasks]
    starting = [asyncio.create_task(shop.start("sleep", "1000", env=env)) for env in envs]
    for start in starting[:starts]:
        await start
    os.kill(shop.spawner_pid, signal.SIGKILL)
    await asyncio.gather(*starting, return_exceptions=True)
    async with asyncio.timeout(PATIENCE):
        await shop.commands.broken.wait()
    for number, task in enumerate(tasks, 1):
        found = shop.commands.found(shop.commands.spawner_id, str(number))
        if number <= starts:
            assert isinstance(found, Vanished)
        if isinstance(found, Vanished):
            await clear_orphans(found, task_id=task, fence=1, exclusive=False)
        else:
            assert found == NeverBegan()
        assert not Search(Vanished(""), task, 1).living()


async def test_an_exclusive_command_is_waited_for_and_not_killed(shop: Shop, gate: Gate) -> None:
    # The leader goes when its child is there; the child starts another one behind the gate, and goes.
    last = f"(setsid sh -c '{gate}' &)"
    found, [pid] = await vanish(shop, *sh(f'echo $$; exec >/dev/null 2>&1; (setsid sh -c "{gate}; {last}" &)'))
    clearing = asyncio.create_task(clear_orphans(found, task_id=TASK, fence=7, exclusive=True))
    for _ in range(2):
        await until(lambda: (Search(found, TASK, 7).living() and not alive(pid)) or None, "a child waits at the gate")
        for _ in range(2):  # each takes longer than a sweep
            await clear_orphans(Vanished(""), task_id=STRANGER, fence=1, exclusive=False)
        assert Search(found, TASK, 7).living()
        assert not clearing.done()
        await gate.open()
    async with asyncio.timeout(PATIENCE):
        await clearing
    assert not Search(found, TASK, 7).living()


async def test_a_wait_for_an_exclusive_command_can_be_given_up(shop: Shop) -> None:
    found, [pid] = await vanish(shop, *sh("echo $$; exec sleep 1000"))
    clearing = asyncio.create_task(clear_orphans(found, task_id=TASK, fence=7, exclusive=True))
    await asyncio.sleep(0)
    clearing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await clearing
    assert alive(pid)
    await clear_orphans(found, task_id=TASK, fence=7, exclusive=False)


async def test_when_nothing_is_left_it_is_over_at_once() -> None:
    for exclusive in (False, True):
        await clear_orphans(Vanished(""), task_id=TASK, fence=7, exclusive=exclusive)


def test_a_leader_is_known_by_its_number_and_its_start() -> None:
    with child({}) as pid:
        assert [process.pid for process in Search(named(pid), STRANGER, 1).living()] == [pid]


@pytest.mark.parametrize("lie", [{"started": range(1)}, {"boot_id": "another run"}, {"boot_id": ""}])
def test_a_number_that_was_given_to_another_process_means_nobody(lie: Mapping[str, object]) -> None:
    with child({}) as pid:
        assert not Search(named(pid, **lie), STRANGER, 1).living()


async def test_who_only_has_the_number_is_not_killed() -> None:
    with child({}) as pid:
        await clear_orphans(named(pid, started=range(1)), task_id=STRANGER, fence=1, exclusive=False)
        assert alive(pid)


def test_the_marks_are_enough() -> None:
    with child(IDENTITY) as pid:
        assert [process.pid for process in Search(Vanished(""), TASK, 7).living()] == [pid]


def test_another_attempt_of_the_same_task_is_not_meant() -> None:
    with child(IDENTITY):
        assert not Search(Vanished(""), TASK, 8).living()


async def test_a_session_counts_once_it_was_seen_with_its_leader(gate: Gate) -> None:
    with child({"PATH": os.environ["PATH"]}, f"sleep 1000 & {gate}") as pid, handle(pid) as descriptor:
        late, early = Search(named(pid), STRANGER, 1), Search(named(pid), STRANGER, 1)
        await until(lambda: len(early.living()) == 2 or None, "the child is there")
        await gate.open()
        await exited(descriptor)
        reap(pid)
        assert not late.living()
        [left] = early.living()
        assert left.session == pid
        assert deliver(left, signal.SIGKILL)
