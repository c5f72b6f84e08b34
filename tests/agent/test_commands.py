"""The lines between agents and spawners: what happens when either of them goes away, and who takes up what is left."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pytest

from nodelink.task import LogStream
from nodelink_agent.boottime import boottime
from nodelink_agent.command import CommandSpec, SpawnerLost
from nodelink_agent.commands import Commands, SpawnerProcess, earlier_spawners, start_spawner
from nodelink_agent.found import Exited, NeverBegan, Running, Vanished
from nodelink_agent.spool import Extent
from tests.support.commands import (
    AGENT,
    PATIENCE,
    Gate,
    Shop,
    Watched,
    alive,
    exited,
    handle,
    leave_behind,
    open_commands,
    open_shop,
    sh,
)
from tests.support.processes import until


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    async with open_shop(tmp_path) as shop:
        yield shop


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    gate = Gate(tmp_path)
    yield gate
    gate.release()


# leaving


async def test_leaving_can_end_what_runs(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        watched = await shop.start(*sh("(setsid sleep 1000 &) ; trap '' TERM; echo $$; while :; do sleep 1; done"))
        [pid] = await watched.pids()
    assert not alive(pid)
    assert not alive(shop.spawner_pid)
    assert (await watched.end()).signal == signal.SIGKILL


async def test_leaving_can_let_everything_go_on(tmp_path: Path) -> None:
    spawner = start_spawner(tmp_path / AGENT)
    async with Commands(spawner) as commands:
        watched = await Shop(commands, tmp_path, spawner.process.pid).start(*sh("echo $$; exec sleep 1000"))
        [pid] = await watched.pids()
    with pytest.raises(SpawnerLost):
        await watched.end()
    assert alive(pid)
    async with open_commands(tmp_path):
        pass
    assert not alive(pid)
    assert not alive(spawner.process.pid)


async def test_a_spawner_of_which_nothing_runs_goes_with_its_agent(tmp_path: Path) -> None:
    spawner = start_spawner(tmp_path / AGENT)
    async with Commands(spawner) as commands:
        await Shop(commands, tmp_path, spawner.process.pid).run("true")
    assert spawner.process.returncode == 0


# what goes on when the agent was killed


async def test_a_command_whose_agent_was_killed_is_taken_up_by_the_next_one(tmp_path: Path, gate: Gate) -> None:
    gone = await leave_behind(tmp_path, *sh(f"echo before; {gate}; echo after; exit 7"))
    async with open_commands(tmp_path) as commands:
        assert isinstance(commands.found(gone.spawner_id, "1"), Running)
        gone.watched.adopt(commands, gone.spawner_id, "1")
        await gate.open()
        assert (await gone.watched.end()).exit_code == 7
    assert gone.watched.text() == b"before\nafter\n"


async def test_a_command_that_ended_while_nobody_was_there_is_told_from_the_disk(tmp_path: Path, gate: Gate) -> None:
    gone = await leave_behind(tmp_path, *sh(f"{gate}; echo text; exit 7"))
    with handle(gone.spawner_pid) as descriptor:
        await gate.open()
        await exited(descriptor)
    async with open_commands(tmp_path) as commands:
        found = commands.found(gone.spawner_id, "1")
        assert isinstance(found, Exited)
        gone.watched.adopt(commands, gone.spawner_id, "1")
        end = await gone.watched.end()
        assert (end, end.exit_code, end.durable) == (found.end, 7, True)
        assert isinstance(commands.found(gone.spawner_id, "2"), NeverBegan)
    assert gone.watched.text() == b"text\n"


async def test_a_command_runs_no_longer_than_it_may_though_nobody_is_there(tmp_path: Path) -> None:
    gone = await leave_behind(tmp_path, "sleep", "1000", timeout=1)
    async with open_commands(tmp_path) as commands:
        gone.watched.adopt(commands, gone.spawner_id, "1")
        end = await gone.watched.end()
    assert (end.signal, end.stop_reason, end.signalled_alive) == (signal.SIGTERM, "run_timeout", True)


async def test_a_command_ends_with_its_lease_though_nobody_is_there(tmp_path: Path) -> None:
    gone = await leave_behind(tmp_path, "sleep", "1000", lease=1)
    async with open_commands(tmp_path) as commands:
        gone.watched.adopt(commands, gone.spawner_id, "1")
        end = await gone.watched.end()
    assert (end.signal, end.stop_reason, end.signalled_alive) == (signal.SIGTERM, "lease_expired", True)


async def test_a_command_prints_something_in_time_though_nobody_is_there(tmp_path: Path) -> None:
    gone = await leave_behind(tmp_path, "sleep", "1000", heartbeat=1)
    async with open_commands(tmp_path) as commands:
        gone.watched.adopt(commands, gone.spawner_id, "1")
        end = await gone.watched.end()
    assert (end.signal, end.stop_reason, end.silent_seconds) == (signal.SIGTERM, "heartbeat_timeout", 1)


async def test_a_command_may_be_given_another_time_to_run(shop: Shop) -> None:
    watched = await shop.start("sleep", "1000", timeout_seconds=3600)
    shop.commands.limit("unknown", number=1, run_until=boottime(), heartbeat_seconds=None)
    shop.commands.limit("1", number=1, run_until=boottime(), heartbeat_seconds=None)
    assert (await watched.end()).stop_reason == "run_timeout"


async def test_a_command_may_be_given_another_time_to_be_silent(shop: Shop) -> None:
    watched = await shop.start("sleep", "1000")
    shop.commands.limit("1", number=1, run_until=None, heartbeat_seconds=0.05)
    end = await watched.end()
    assert (end.stop_reason, end.silent_seconds) == ("heartbeat_timeout", 0.05)


async def test_an_extension_is_known_to_the_spawner_when_another_agent_tells_it_again(tmp_path: Path) -> None:
    gone = await leave_behind(tmp_path, "sleep", "1000", run_until=boottime() + 3600)
    async with open_commands(tmp_path) as commands:
        gone.watched.adopt(commands, gone.spawner_id, "1")
        commands.limit("1", number=1, run_until=0.0, heartbeat_seconds=0.0)
        commands.limit("1", number=2, run_until=None, heartbeat_seconds=0.02)
        end = await gone.watched.end()
    assert (end.stop_reason, end.silent_seconds) == ("heartbeat_timeout", 0.02)


@pytest.mark.slow
async def test_an_extended_lease_lets_a_command_go_on(shop: Shop) -> None:
    watched = await shop.start(*sh("sleep 5; exit 5"), lease_until=boottime() + 4)
    shop.commands.extend({"1": boottime() + 3600, "unknown": 0})
    assert ((await watched.end()).exit_code, (await watched.end()).stop_reason) == (5, "")


async def test_the_reason_of_a_stop_survives_who_gave_it(tmp_path: Path, gate: Gate) -> None:
    gone = await leave_behind(tmp_path, *sh(f"trap '' TERM; echo up; {gate}; exit 3"), stop="operator")
    async with open_commands(tmp_path) as commands:
        gone.watched.adopt(commands, gone.spawner_id, "1")
        gone.watched.command.stop(3600, "later")
        await gate.open()
        end = await gone.watched.end()
    assert (end.exit_code, end.signalled_alive, end.stop_reason) == (3, True, "operator")


async def test_an_end_that_was_forgotten_is_told_to_nobody(tmp_path: Path, gate: Gate) -> None:
    gone = await leave_behind(tmp_path, *sh(f"{gate}; exit 7"))
    with handle(gone.spawner_pid) as descriptor:
        async with open_commands(tmp_path) as commands:
            gone.watched.adopt(commands, gone.spawner_id, "1")
            commands.forget("1")  # too early: it runs
            await gate.open()
            await gone.watched.end()
            assert isinstance(commands.found(gone.spawner_id, "1"), Exited)
            commands.forget("1")
            assert isinstance(commands.found(gone.spawner_id, "1"), NeverBegan)
            await exited(descriptor)  # nothing keeps it any more


async def test_what_nobody_knows_of_is_let_go_of_when_it_has_ended(tmp_path: Path, gate: Gate) -> None:
    gone = await leave_behind(tmp_path, *sh(f"{gate}"))
    with handle(gone.spawner_pid) as descriptor:
        async with open_commands(tmp_path) as commands:
            commands.disown(known=["2"])
            assert isinstance(commands.found(gone.spawner_id, "1"), Running)
            await gate.open()
            await exited(descriptor)


async def test_ends_that_nobody_knows_of_are_forgotten_and_the_others_are_kept(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as first:
        await first.run("true")
        await first.run("true")
        running = await first.start(*sh("echo up; exec sleep 1000"))
        await running.line()
        async with open_commands(tmp_path) as second:
            second.disown(known=["2", "3"])
            assert isinstance(second.found(first.commands.spawner_id, "1"), NeverBegan)
            assert isinstance(second.found(first.commands.spawner_id, "2"), Exited)
            assert isinstance(second.found(first.commands.spawner_id, "3"), Running)


async def test_ends_that_nobody_confirmed_are_told_to_the_next_agent(tmp_path: Path, gate: Gate) -> None:
    async with open_shop(tmp_path) as first:
        await first.run(*sh("echo kept; exit 4"))
        await first.run("true")
        first.commands.forget("2")
        running = await first.start(*sh("echo up; exec sleep 1000"))
        await running.line()
        async with open_commands(tmp_path) as second:
            found = second.found(first.commands.spawner_id, "1")
            assert isinstance(found, Exited)
            assert (found.end.exit_code, found.output[LogStream.STDOUT]) == (4, Extent(5, 5, 5))
            assert isinstance(second.found(first.commands.spawner_id, "2"), NeverBegan)
            assert isinstance(second.found(first.commands.spawner_id, "3"), Running)


async def test_what_is_taken_up_once_is_not_taken_up_again(tmp_path: Path, gate: Gate) -> None:
    gone = await leave_behind(tmp_path, *sh(f"{gate}"))
    async with open_commands(tmp_path) as commands:
        gone.watched.adopt(commands, gone.spawner_id, "1")
        for command_id in ("1", "unknown"):
            with pytest.raises(ValueError, match="not there"):
                commands.adopt(gone.spawner_id, command_id, _ignore)


async def test_the_place_of_a_dead_spawner_is_removed_once_nothing_of_it_is_needed(tmp_path: Path, gate: Gate) -> None:
    gone = await leave_behind(tmp_path, *sh(f"{gate}"))
    async with open_commands(tmp_path) as commands:
        commands.prune(keep=[])
        assert gone.home.exists()  # it lives
    async with open_commands(tmp_path) as commands:
        commands.prune(keep=[gone.spawner_id])
        assert gone.home.exists()
        commands.prune(keep=[])
        assert [home.name for home in gone.home.parent.iterdir()] == [commands.spawner_id]


async def test_a_damaged_journal_is_put_aside_and_not_removed(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        await shop.run("true")
        home = tmp_path / AGENT / "spawners" / shop.commands.spawner_id
    journal = bytearray((home / "journal").read_bytes())
    journal[40] ^= 1
    (home / "journal").write_bytes(journal)
    async with open_commands(tmp_path) as commands:
        assert isinstance(commands.found(home.name, "1"), Exited)
        assert isinstance(commands.found(home.name, "2"), Vanished)
        commands.prune(keep=[])
        assert [home.name + ".damaged"] == [place.name for place in home.parent.glob("*.damaged")]
        assert home not in earlier_spawners(commands._spawner)


# two agents


async def test_a_spawner_serves_the_agent_that_came_last(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as first:
        watched = await first.start(*sh("echo $$; exec sleep 1000"))
        [pid] = await watched.pids()
        async with open_commands(tmp_path) as second:
            async with asyncio.timeout(PATIENCE):
                await first.commands.broken.wait()
            assert first.commands.replaced
            assert isinstance(first.commands.found(first.commands.spawner_id, "1"), Running)
            with pytest.raises(SpawnerLost):
                await watched.end()
            assert alive(pid)
            again = Watched(watched.directory)
            again.adopt(second, first.commands.spawner_id, "1")
            assert again.text() == watched.text()
            again.command.stop(0)
            assert (await again.end()).signalled_alive


# what a spawner makes of what it hears


class Raw:
    """An agent that speaks for itself."""

    def __init__(self, spawner: SpawnerProcess) -> None:
        self.spawner = spawner
        spawner.line.settimeout(PATIENCE)
        self.lines = spawner.line.makefile("rb")

    def heard(self) -> Mapping[str, object]:
        words: Mapping[str, object] = json.loads(self.lines.readline())
        return words

    def order(self, command_id: str, directory: Path) -> bytes:
        words = {"do": "start", "id": command_id, "argv": ["sleep", "1000"], "env": {"PATH": os.environ["PATH"]}}
        place = {"cwd": "/", "directory": str(directory), "stdin": "", "head": 100, "tail": 100}
        return json.dumps({**words, **place}).encode() + b"\n"

    def hang_up(self) -> None:
        self.lines.close()
        self.spawner.line.close()


@pytest.fixture
async def raw(tmp_path: Path) -> AsyncIterator[Raw]:
    raw = Raw(start_spawner(tmp_path / AGENT))
    assert raw.heard()["said"] == "ready"
    yield raw
    raw.hang_up()
    async with open_commands(tmp_path):
        pass  # ends it, whatever it holds
    raw.spawner.process.wait(PATIENCE)


async def test_every_whole_order_that_arrived_is_obeyed_when_the_agent_goes(raw: Raw, tmp_path: Path) -> None:
    orders = [raw.order(str(number), tmp_path) for number in range(50)]
    raw.spawner.line.sendall(b"".join(orders) + raw.order("torn", tmp_path)[:-1])
    raw.hang_up()
    async with open_commands(tmp_path) as commands:
        for number in range(50):
            assert isinstance(commands.found(raw.spawner.id, str(number)), Running)
        assert isinstance(commands.found(raw.spawner.id, "torn"), NeverBegan)


async def test_an_agent_that_makes_no_sense_is_hung_up_on_and_harms_nothing(raw: Raw, tmp_path: Path) -> None:
    raw.spawner.line.sendall(raw.order("1", tmp_path) + b"nonsense\n")
    raw.lines.read()  # comes to an end
    async with open_commands(tmp_path) as commands:
        assert isinstance(commands.found(raw.spawner.id, "1"), Running)


async def test_an_order_that_it_does_not_know_is_passed_over(raw: Raw, tmp_path: Path) -> None:
    raw.spawner.line.sendall(b'{"do":"dance"}\n' + raw.order("1", tmp_path))
    assert raw.heard()["said"] == "started"


async def test_a_command_that_is_there_already_is_not_started_again(raw: Raw, tmp_path: Path) -> None:
    raw.spawner.line.sendall(raw.order("1", tmp_path) * 2)
    assert [raw.heard()["said"] for _ in range(2)] == ["started", "refused"]


async def test_a_spawner_that_nobody_ever_used_goes_when_its_agent_has(raw: Raw) -> None:
    raw.hang_up()
    assert await asyncio.to_thread(raw.spawner.process.wait, PATIENCE) == 0


async def test_a_spawner_that_is_alone_holds_nothing_of_its_agents(raw: Raw, tmp_path: Path) -> None:
    raw.spawner.line.sendall(raw.order("1", tmp_path))
    raw.hang_up()
    stderr = Path(f"/proc/{raw.spawner.process.pid}/fd/2")
    await until(lambda: stderr.readlink() == Path(os.devnull) or None, "the agent's stderr is let go")


# when the spawner dies


async def test_when_the_spawner_dies_its_commands_vanish_and_nothing_is_killed(tmp_path: Path) -> None:
    async with open_shop(tmp_path) as shop:
        running = [await shop.start(*sh("echo $$; exec sleep 1000")) for _ in range(3)]
        pids = [pid for watched in running for pid in await watched.pids()]
        await shop.run(*sh("exit 6"))
        os.kill(shop.spawner_pid, signal.SIGKILL)
        async with asyncio.timeout(PATIENCE):
            await shop.commands.broken.wait()
        assert not shop.commands.replaced
        with ExitStack() as handles:
            for watched, pid in zip(running, pids, strict=True):
                with pytest.raises(SpawnerLost):
                    await watched.end()
                found = shop.commands.found(shop.commands.spawner_id, watched.command.id)
                assert isinstance(found, Vanished)
                assert (found.pid, found.output) == (pid, watched.extents | {LogStream.STDERR: Extent()})
                descriptor = handles.enter_context(handle(pid))
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
                await exited(descriptor)
        ended = shop.commands.found(shop.commands.spawner_id, "4")
        assert isinstance(ended, Exited)
        assert ended.end.exit_code == 6
        with pytest.raises(SpawnerLost):
            await shop.start("true")


async def test_a_spawner_that_died_at_once_is_told(tmp_path: Path) -> None:
    spawner = start_spawner(tmp_path)
    spawner.process.kill()
    commands = Commands(spawner)
    with pytest.raises(SpawnerLost):
        await commands.__aenter__()


async def test_an_earlier_spawner_that_does_not_answer_is_no_reason_to_guess(
    tmp_path: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = await leave_behind(tmp_path, *sh(f"{gate}"))
    os.kill(gone.spawner_pid, signal.SIGSTOP)
    monkeypatch.setattr("nodelink_agent.commands.READY_SECONDS", 0.5)
    spawner = start_spawner(tmp_path / AGENT)
    commands = Commands(spawner, earlier=earlier_spawners(spawner))
    with pytest.raises(SpawnerLost, match="does not answer"):
        await commands.__aenter__()
    assert spawner.process.returncode is not None
    os.kill(gone.spawner_pid, signal.SIGCONT)
    monkeypatch.undo()
    async with open_commands(tmp_path) as later:
        assert isinstance(later.found(gone.spawner_id, "1"), Running)


async def test_of_a_spawner_that_left_no_trace_nothing_is_known(shop: Shop) -> None:
    assert shop.commands.found("nobody", "1") == Vanished("")


# small things


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_the_spawner_leaves_signals_to_the_agent(shop: Shop, number: signal.Signals) -> None:
    os.kill(shop.spawner_pid, number)
    _, end = await shop.run("true")
    assert end.exit_code == 0


async def test_the_spawner_is_in_a_session_of_its_own(shop: Shop) -> None:
    assert os.getsid(shop.spawner_pid) == shop.spawner_pid


async def test_it_tells_how_processes_are_held_together(shop: Shop) -> None:
    assert shop.commands.containment == "subreaper"


async def test_a_spawner_is_found_however_long_the_path_to_it_is(tmp_path: Path, gate: Gate) -> None:
    deep = tmp_path.joinpath(*["a-long-name-of-a-directory"] * 8)
    deep.mkdir(parents=True)
    gone = await leave_behind(deep, *sh(f"{gate}"))
    async with open_commands(deep) as commands:
        assert isinstance(commands.found(gone.spawner_id, "1"), Running)


async def test_two_commands_of_the_same_id_cannot_run_at_once(shop: Shop, tmp_path: Path) -> None:
    spec = CommandSpec(
        id="same", argv=["sleep", "1000"], env={"PATH": os.environ["PATH"]}, cwd="/", directory=str(tmp_path)
    )
    first = await shop.commands.start(spec, _ignore)
    with pytest.raises(ValueError, match="same"):
        await shop.commands.start(spec, _ignore)
    first.stop(0)
    async with asyncio.timeout(PATIENCE):
        assert (await first.wait()).signalled_alive


async def test_the_starts_of_one_turn_are_told_in_one_write(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    orders, writes = shop.commands._own._orders, list[int]()
    write = orders._write

    def counting(data: bytes) -> None:
        writes.append(data.count(b"\n"))
        write(data)

    monkeypatch.setattr(orders, "_write", counting)
    ends = await asyncio.gather(*(shop.run("true") for _ in range(3)))
    assert [end.exit_code for _, end in ends] == [0, 0, 0]
    assert writes == [3]


async def test_a_start_that_is_cancelled_leaves_no_command_behind(shop: Shop, tmp_path: Path) -> None:
    env = {"PATH": os.environ["PATH"]}
    spec = CommandSpec(id="cut", argv=["sleep", "1000"], env=env, cwd="/", directory=str(tmp_path))
    start = asyncio.create_task(shop.commands.start(spec, _ignore))
    await asyncio.sleep(0)
    command = shop.commands._own._commands["cut"]
    start.cancel()
    with pytest.raises(asyncio.CancelledError):
        await start
    async with asyncio.timeout(PATIENCE):
        assert (await command.wait()).tree_gone


async def test_a_stop_after_the_end_changes_nothing(shop: Shop) -> None:
    watched, end = await shop.run("true")
    watched.command.stop(0)
    assert await watched.end() == end


async def test_whoever_stops_waiting_does_not_disturb_the_command(shop: Shop) -> None:
    watched = await shop.start(*sh("echo up; exec sleep 1000"))
    await watched.line()
    waiter = asyncio.create_task(watched.command.wait())
    await asyncio.sleep(0)
    waiter.cancel()
    await asyncio.wait([waiter])
    watched.command.stop(0)
    assert (await watched.end()).signalled_alive


def _ignore(_stream: str, _extent: Extent) -> None:
    """These commands print nothing."""
