"""The table of processes: who belongs to whom, and signals that never reach a stranger."""

from __future__ import annotations

import os
import signal
import subprocess
import uuid
from collections.abc import Iterator

import pytest

from nodelink_agent.boottime import boottime
from nodelink_agent.processes import deliver, descendants, marks, moments, snapshot, started, tree
from tests.support.commands import alive

IDENTITY = {"NODELINK_TASK_ID": str(uuid.uuid4()), "NODELINK_FENCE": "7"}


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    """A process with the identity of an attempt, in a session of its own."""
    pipe = subprocess.PIPE
    environment = {**os.environ, **IDENTITY}
    with subprocess.Popen(["cat"], env=environment, start_new_session=True, stdin=pipe, stdout=pipe) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"\n"  # it runs: before, the kernel may not show its environment yet
        yield process
        process.kill()


def test_this_process_is_in_the_table() -> None:
    me = snapshot()[os.getpid()]
    assert (me.parent, me.group, me.session) == (os.getppid(), os.getpgrp(), os.getsid(0))
    assert not me.dead


def test_when_a_process_starts_is_known_without_asking_for_it(child: subprocess.Popen[bytes]) -> None:
    since = boottime()
    pid = os.posix_spawn("/bin/true", ["true"], {})
    until = boottime()
    assert started(pid) in moments(since, until)
    assert started(child.pid) not in moments(since + 1, until + 1)
    os.waitpid(pid, 0)
    assert started(pid) is None


def test_a_process_that_has_exited_counts_as_dead_before_it_is_waited_for() -> None:
    pid = os.posix_spawn("/bin/true", ["true"], {})
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert snapshot()[pid].dead
    assert not alive(pid)
    os.waitpid(pid, 0)


def test_a_tree_is_found_by_its_leader(child: subprocess.Popen[bytes]) -> None:
    assert [process.pid for process in tree(snapshot(), child.pid, frozenset())] == [child.pid]


def test_a_tree_is_found_by_its_marks_alone(child: subprocess.Popen[bytes]) -> None:
    assert [process.pid for process in tree(snapshot(), None, marks(IDENTITY))] == [child.pid]


def test_all_marks_must_fit(child: subprocess.Popen[bytes]) -> None:
    older = {**IDENTITY, "NODELINK_FENCE": "6"}
    assert tree(snapshot(), None, marks(older)) == []


def test_without_marks_and_leader_nothing_is_found(child: subprocess.Popen[bytes]) -> None:
    assert marks({"NODELINK_TASK_ID": IDENTITY["NODELINK_TASK_ID"]}) == frozenset()
    assert tree(snapshot(), None, frozenset()) == []


def test_descendants_do_not_include_the_ancestor(child: subprocess.Popen[bytes]) -> None:
    below = {process.pid for process in descendants(snapshot(), os.getpid())}
    assert child.pid in below
    assert os.getpid() not in below


def test_a_signal_reaches_the_process_that_was_meant(child: subprocess.Popen[bytes]) -> None:
    assert deliver(snapshot()[child.pid], signal.SIGKILL)
    assert child.wait(20) == -signal.SIGKILL


def test_a_signal_never_reaches_a_later_process_of_the_same_number(child: subprocess.Popen[bytes]) -> None:
    earlier = snapshot()[child.pid]._replace(started=1)
    assert not deliver(earlier, signal.SIGKILL)
    assert alive(child.pid)


def test_a_signal_to_a_process_that_is_gone_says_so(child: subprocess.Popen[bytes]) -> None:
    process = snapshot()[child.pid]
    child.kill()
    child.wait(20)
    assert not deliver(process, signal.SIGKILL)
