"""Commands under a real spawner: what they are given, what they print, how they end, and that nothing is left."""

from __future__ import annotations

import asyncio
import os
import re
import resource
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nodelink.task import LogStream
from nodelink_agent.command import StartFailed
from nodelink_agent.commands import Commands, start_spawner
from nodelink_agent.found import Exited, Remains, Vanished
from nodelink_agent.processes import snapshot
from nodelink_agent.spool import Extent, Gap
from tests.support.commands import AGENT, PATIENCE, Gate, Shop, alive, exited, handle, leave_behind, open_shop, sh
from tests.support.full_disk import full_disk
from tests.support.processes import until

ERR = LogStream.STDERR
LIBC_SIGNALS = 0b11 << 31
"""Two signals without a name that the C library keeps to itself, and leaves ignored in what it spawns."""


@contextmanager
def small_disk(place: Path) -> Iterator[None]:
    """A file system of 256 KiB, mounted there."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(place)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", str(place)], check=True)


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    gate = Gate(tmp_path)
    yield gate
    gate.release()


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    async with open_shop(tmp_path) as shop:
        yield shop


# what a command is given


async def test_streams_and_exit_code_come_back(shop: Shop) -> None:
    watched, end = await shop.run(*sh("echo out; echo err >&2; exit 7"))
    assert (end.exit_code, end.signal, end.tree_gone, end.leftovers) == (7, None, True, 0)
    assert (watched.text(), watched.text(ERR)) == (b"out\n", b"err\n")
    assert not end.signalled_alive


async def test_a_command_reads_its_input_to_the_end(shop: Shop) -> None:
    text = b"line\n" * 50_000
    watched, _ = await shop.run("cat", stdin=text)
    assert watched.text() == text


async def test_without_input_a_command_reads_nothing(shop: Shop) -> None:
    watched, end = await shop.run("cat")
    assert (watched.text(), end.exit_code) == (b"", 0)


async def test_a_command_runs_in_its_directory(shop: Shop, tmp_path: Path) -> None:
    watched, _ = await shop.run("pwd", cwd=str(tmp_path))
    assert watched.text().decode().strip() == str(tmp_path)


async def test_a_command_gets_its_environment_and_nothing_else(shop: Shop) -> None:
    watched, _ = await shop.run("env", env={"COLOUR": "grün"})
    names = {line.partition("=")[0] for line in watched.text().decode().splitlines()}
    assert names == {"PATH", "COLOUR", "NODELINK_TASK_ID", "NODELINK_FENCE"}
    assert "COLOUR=grün" in watched.text().decode()


async def test_a_program_is_looked_up_in_the_commands_own_path(shop: Shop, tmp_path: Path) -> None:
    program = tmp_path / "greet"
    program.write_text("#!/bin/sh\necho hello\n")
    program.chmod(0o755)
    watched, _ = await shop.run("greet", env={"PATH": f"/nowhere:{tmp_path}"})
    assert watched.text() == b"hello\n"


async def test_a_command_has_the_usual_umask_limits_and_signals(shop: Shop) -> None:
    watched, _ = await shop.run(*sh("umask; ulimit -Sn; grep -E 'Sig(Ign|Blk)' /proc/self/status; ls /proc/self/fd"))
    umask, limit, blocked, ignored, *files = watched.text().decode().split("\n")
    assert umask == "0022"
    assert limit == str(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    signals = int(re.split(r"\s+", blocked)[1], 16) | int(re.split(r"\s+", ignored)[1], 16)
    assert signals & ~LIBC_SIGNALS == 0
    assert [file for file in files if file] == ["0", "1", "2", "3"]  # the last is the listing's own


async def test_a_command_leads_a_session_of_its_own(shop: Shop) -> None:
    watched, _ = await shop.run(*sh("set -- $(cat /proc/$$/stat); echo $1 $5 $6"))
    leader, group, session = await watched.pids()
    assert leader == group == session


# what cannot be started


@pytest.mark.parametrize(
    "argv,exit_code,words",
    [
        (["no-such-command"], 127, "'no-such-command' not found"),
        (["/no/such/command"], 127, "No such file"),
        (["/etc/passwd"], 126, "Permission denied"),
        (["/etc"], 126, "Permission denied"),
    ],
)
async def test_what_cannot_be_run_is_refused_as_a_shell_would(
    shop: Shop, argv: list[str], exit_code: int, words: str
) -> None:
    with pytest.raises(StartFailed, match=words) as failure:
        await shop.start(*argv)
    assert failure.value.exit_code == exit_code


async def test_a_file_in_the_path_that_is_not_executable_is_126(shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("text")
    with pytest.raises(StartFailed, match="notes' is not executable") as failure:
        await shop.start("notes", env={"PATH": str(tmp_path)})
    assert failure.value.exit_code == 126


async def test_a_directory_that_does_not_exist_is_named(shop: Shop) -> None:
    with pytest.raises(StartFailed, match="working directory '/no/such/place'") as failure:
        await shop.start("true", cwd="/no/such/place")
    assert failure.value.exit_code is None


async def test_text_that_no_program_can_be_given_is_refused(shop: Shop) -> None:
    with pytest.raises(StartFailed, match="null"):
        await shop.start("echo", "a\0b")
    with pytest.raises(StartFailed, match="surrogates"):
        await shop.start("echo", "\ud800")


async def test_after_a_refusal_others_still_start(shop: Shop) -> None:
    with pytest.raises(StartFailed):
        await shop.start("no-such-command")
    _, end = await shop.run("true")
    assert end.exit_code == 0


# how a command ends


async def test_a_killed_command_has_128_and_the_signal(shop: Shop) -> None:
    _, end = await shop.run(*sh("kill -9 $$"))
    assert (end.exit_code, end.signal, end.signalled_alive) == (137, 9, False)


async def test_a_command_that_closes_its_streams_and_lives_on_is_waited_for(shop: Shop, gate: Gate) -> None:
    watched = await shop.start(*sh(f"exec >&- 2>&-; {gate}; exit 5"))
    await gate.open()
    assert (await watched.end()).exit_code == 5


async def test_who_holds_the_pipe_after_the_leader_is_heard_and_then_killed(shop: Shop, gate: Gate) -> None:
    watched = await shop.start(*sh(f"sh -c '{gate}; echo late; exec sleep 1000' & echo $! $$; exit 3"))
    child, leader = await watched.pids()
    if alive(leader):
        with handle(leader) as descriptor:
            await exited(descriptor)
    await gate.open()
    end = await watched.end()
    assert (end.exit_code, end.tree_gone, end.leftovers) == (3, True, 1)
    assert watched.text().endswith(b"late\n")
    assert not alive(child)


async def test_children_in_sessions_of_their_own_are_killed_at_the_end(shop: Shop, gate: Gate) -> None:
    script = "sleep 1000 >/dev/null 2>&1 & echo $$ $!; exec sleep 1000 >/dev/null 2>&1"
    watched = await shop.start(*sh(f"setsid sh -c '{script}' & {gate}; exit 0"))
    children = await watched.pids()
    await gate.open()
    end = await watched.end()
    assert (end.exit_code, end.tree_gone, end.leftovers) == (0, True, 2)
    assert not any(alive(child) for child in children)


async def test_a_child_that_has_shed_its_marks_is_killed_when_nothing_else_runs(shop: Shop, gate: Gate) -> None:
    hidden = "env -i setsid sh -c 'echo $$; exec sleep 1000 >/dev/null 2>&1'"
    watched = await shop.start(*sh(f"({hidden} &) ; {gate}; exit 0"))
    [child] = await watched.pids()
    with handle(child) as descriptor:
        await gate.open()
        await watched.end()
        await exited(descriptor)


async def test_what_is_orphaned_while_its_command_runs_is_waited_for(shop: Shop, gate: Gate) -> None:
    watched = await shop.start(*sh(f"(setsid sh -c 'echo $$; {gate}' &) ; exec sleep 1000"))
    [orphan] = await watched.pids()
    with handle(orphan) as descriptor:
        await gate.open()
        await exited(descriptor)
    await until(lambda: orphan not in snapshot() or None, "the spawner has waited for the orphan")


async def test_cpu_time_and_memory_are_reported(shop: Shop) -> None:
    _, end = await shop.run(*sh("i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done"))
    assert end.cpu_seconds > 0
    assert end.max_rss_bytes > 100_000


# what a command prints


async def test_output_arrives_while_the_command_runs(shop: Shop) -> None:
    watched = await shop.start(*sh("echo first; read x; exec sleep 1000"))
    assert await watched.line() == b"first"
    watched.command.stop(0)
    await watched.end()


async def test_invalid_utf8_and_a_missing_newline_are_kept_as_they_are(shop: Shop) -> None:
    watched, _ = await shop.run("printf", r"\377\376\000end")
    assert watched.text() == b"\xff\xfe\x00end"


async def test_a_gibibyte_costs_neither_memory_nor_disk(shop: Shop) -> None:
    watched, end = await shop.run("head", "-c", "1G", "/dev/zero", head_bytes=1 << 20, tail_bytes=1 << 20)

    assert end.exit_code == 0
    assert watched.extent() == Extent(1 << 30, 1 << 20, watched.extent().tail_start)
    pieces = list(watched.pieces())
    assert sum(piece.length if isinstance(piece, Gap) else len(piece) for piece in pieces) == 1 << 30
    assert sum(file.stat().st_size for file in watched.directory.iterdir()) < 3 << 20
    assert _peak_memory(shop.spawner_pid) < 64 << 20


async def test_a_spool_that_is_taken_away_stops_no_command(shop: Shop, gate: Gate) -> None:
    watched = await shop.start(*sh(f"{gate}; head -c 1M /dev/zero"))
    watched.directory.rmdir()
    watched.directory.touch()
    await gate.open()
    assert (await watched.end()).exit_code == 0
    assert list(watched.pieces()) == [Gap(1 << 20)]


@pytest.mark.tmpfs
async def test_a_full_disk_stops_no_command(shop: Shop, gate: Gate) -> None:
    watched = await shop.start(*sh(f"{gate}; head -c 64M /dev/zero; echo done"))
    with small_disk(watched.directory):
        await gate.open()
        assert (await watched.end()).exit_code == 0
        pieces = list(watched.pieces())
        assert sum(piece.length if isinstance(piece, Gap) else len(piece) for piece in pieces) == (64 << 20) + 5


async def test_when_nothing_can_be_written_down_nothing_starts(shop: Shop) -> None:
    with full_disk(_journal(shop).stat().st_size, shop.spawner_pid), pytest.raises(StartFailed, match="written down"):
        await shop.start("true")
    _, end = await shop.run("true")
    assert end.exit_code == 0


async def test_an_end_that_cannot_be_written_is_told_all_the_same_and_written_later(shop: Shop, gate: Gate) -> None:
    watched = await shop.start(*sh(f"{gate}; exit 5"))
    with full_disk(_journal(shop).stat().st_size, shop.spawner_pid):
        await gate.open()
        end = await watched.end()
        assert (end.exit_code, end.durable) == (5, False)
        assert isinstance(Remains(_journal(shop).parent).found("1"), Vanished)
    await until(
        lambda: isinstance(Remains(_journal(shop).parent).found("1"), Exited) or None, "the end has been written"
    )


async def test_a_spawner_does_not_go_before_the_ends_it_knows_are_on_the_disk(tmp_path: Path, gate: Gate) -> None:
    gone = await leave_behind(tmp_path, *sh(f"{gate}; exit 5"))
    with handle(gone.spawner_pid) as descriptor:
        with full_disk((gone.home / "journal").stat().st_size, gone.spawner_pid):
            await gate.open()
            visitor = start_spawner(tmp_path / AGENT)
            async with Commands(visitor, earlier=[gone.home]) as commands:
                gone.watched.adopt(commands, gone.spawner_id, "1")
                assert not (await gone.watched.end()).durable
            assert alive(gone.spawner_pid)
        await exited(descriptor)
    assert isinstance(Remains(gone.home).found("1"), Exited)


async def test_a_loud_command_does_not_delay_a_quiet_one(shop: Shop) -> None:
    loud = await shop.start("cat", "/dev/zero", head_bytes=1 << 20, tail_bytes=1 << 20)
    for _ in range(5):
        watched, _ = await shop.run("echo", "quiet")
        assert watched.text() == b"quiet\n"
    loud.command.stop(0)
    assert (await loud.end()).signalled_alive


# stopping


async def test_a_stop_is_a_signal_to_the_whole_tree(shop: Shop, tmp_path: Path) -> None:
    # The one in a session of its own tells of itself, and starts nothing afterwards: between a fork and the end of an
    # exec the kernel shows no environment, so that somebody could be overlooked until the grace is over.
    os.mkfifo(tmp_path / "never")
    apart = f"echo $PPID $$; read forever <>{tmp_path}/never"
    watched = await shop.start(*sh(f"sleep 1000 & setsid sh -c '{apart}' & wait"))
    pids = await watched.pids()
    watched.command.stop(PATIENCE)
    end = await watched.end()
    assert (end.exit_code, end.signal, end.signalled_alive, end.tree_gone) == (143, 15, True, True)
    assert not any(alive(pid) for pid in pids)


async def test_a_command_may_end_in_its_own_way_within_the_grace(shop: Shop) -> None:
    watched = await shop.start(*sh("trap 'echo bye; exit 4' TERM; echo up; while :; do sleep 0.01; done"))
    await watched.line()
    watched.command.stop(PATIENCE)
    end = await watched.end()
    assert (end.exit_code, end.signalled_alive, end.tree_gone) == (4, True, True)
    assert watched.text() == b"up\nbye\n"


async def test_who_ignores_the_signal_is_killed_after_the_grace(shop: Shop) -> None:
    watched = await shop.start(*sh("trap '' TERM; sleep 1000 & echo $$ $!; while :; do sleep 1; done"))
    pids = await watched.pids()
    watched.command.stop(0.1)
    end = await watched.end()
    assert (end.exit_code, end.signal, end.signalled_alive, end.tree_gone) == (137, 9, True, True)
    assert not any(alive(pid) for pid in pids)


async def test_a_double_fork_does_not_escape_a_stop(shop: Shop) -> None:
    script = "(setsid sh -c 'trap \"\" TERM; echo $$; while :; do sleep 1; done' &) ; exec sleep 1000"
    watched = await shop.start(*sh(script))
    [daemon] = await watched.pids()
    watched.command.stop(0.1)
    end = await watched.end()
    assert (end.signalled_alive, end.tree_gone) == (True, True)
    assert not alive(daemon)


async def test_a_suspended_command_hears_the_stop(shop: Shop) -> None:
    watched = await shop.start(*sh("echo $$; exec sleep 1000"))
    [pid] = await watched.pids()
    os.kill(pid, signal.SIGSTOP)
    watched.command.stop(PATIENCE)
    assert (await watched.end()).signal == signal.SIGTERM


async def test_a_second_stop_shortens_the_grace(shop: Shop) -> None:
    watched = await shop.start(*sh("trap '' TERM; echo up; while :; do sleep 1; done"))
    await watched.line()
    watched.command.stop(3600)
    watched.command.stop(0)
    assert (await watched.end()).signal == signal.SIGKILL


async def test_a_second_stop_does_not_lengthen_the_grace(shop: Shop) -> None:
    watched = await shop.start(*sh("trap '' TERM; echo up; while :; do sleep 1; done"))
    await watched.line()
    watched.command.stop(0.1)
    watched.command.stop(3600)
    assert (await watched.end()).signal == signal.SIGKILL


async def test_a_stop_ends_one_command_only(shop: Shop) -> None:
    one = await shop.start(*sh("(setsid sleep 1000 &) ; echo $$; exec sleep 1000"))
    other = await shop.start(*sh("(setsid sleep 1000 &) ; echo $$; exec sleep 1000"))
    await one.line()
    [survivor] = await other.pids()
    one.command.stop(0)
    await one.end()
    assert alive(survivor)
    other.command.stop(0)
    assert (await other.end()).tree_gone


async def test_two_hundred_commands_at_once_all_end(shop: Shop) -> None:
    ends = await asyncio.gather(*(shop.run(*sh(f"echo {n}; exit {n % 100}")) for n in range(200)))
    assert [end.exit_code for _, end in ends] == [n % 100 for n in range(200)]
    assert [watched.text() for watched, _ in ends] == [f"{n}\n".encode() for n in range(200)]


async def test_many_commands_run_at_once_whatever_limit_they_are_born_with(tmp_path: Path, gate: Gate) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    few = _highest_open_file() + 32  # this process itself has to go on
    resource.setrlimit(resource.RLIMIT_NOFILE, (few, hard))
    try:
        opening = open_shop(tmp_path)
        shop = await opening.__aenter__()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    try:
        running = [await shop.start(*sh("ulimit -Sn; exec sleep 1000")) for _ in range(few)]
        assert {await watched.line() for watched in running} == {str(few).encode()}
    finally:
        await opening.__aexit__(None, None, None)


async def test_an_agent_that_does_not_listen_costs_the_spawner_no_memory(shop: Shop, gate: Gate) -> None:
    watched = await shop.start(*sh(f"head -c 512M /dev/zero; {gate}"), head_bytes=1 << 20, tail_bytes=1 << 20)
    transport = shop.commands._own._transport
    assert transport is not None
    transport.pause_reading()
    await gate.open()
    transport.resume_reading()
    assert (await watched.end()).exit_code == 0
    assert watched.extent().total == 512 << 20
    assert _peak_memory(shop.spawner_pid) < 64 << 20


async def test_nothing_is_left_open_in_the_spawner(shop: Shop) -> None:
    await shop.run("true")
    before = _open_files(shop.spawner_pid)
    await asyncio.gather(*(shop.run(*sh("echo x; echo y >&2"), stdin=b"text") for _ in range(50)))
    after = _open_files(shop.spawner_pid)
    assert len(after) == len(before)
    assert not any(target.startswith("pipe:") for target in after)


async def test_the_spawner_stays_in_no_commands_directory(shop: Shop, tmp_path: Path) -> None:
    await shop.run("true", cwd=str(tmp_path))
    assert _directory(shop.spawner_pid) == Path("/")


def _journal(shop: Shop) -> Path:
    return shop.folder / AGENT / "spawners" / shop.commands.spawner_id / "journal"


def _open_files(pid: int) -> list[str]:
    return [str(file.readlink()) for file in Path(f"/proc/{pid}/fd").iterdir()]


def _highest_open_file() -> int:
    return max(int(file.name) for file in Path("/proc/self/fd").iterdir())


def _directory(pid: int) -> Path:
    return Path(f"/proc/{pid}/cwd").readlink()


def _peak_memory(pid: int) -> int:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024
