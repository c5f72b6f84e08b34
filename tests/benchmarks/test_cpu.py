"""Processor time of trees of processes."""

from __future__ import annotations

import os
import subprocess
import sys

from benchmarks.cpu import Stat, cpu_seconds, stat_of

BURN = "import time\nwhile time.process_time() < 0.3: pass\nprint('burnt', flush=True)\ninput()"


def test_a_process_s_time_is_read_whatever_its_name() -> None:
    text = "7 (a) b (c)) S 3 7 7 0 -1 4194304 1 2 3 4 50 6 700 8 20 0 1 0 99 0 0\n"

    assert stat_of(text) == Stat(pid=7, parent=3, ticks=764)


def test_the_time_of_a_child_counts_while_it_lives_and_after_it_has_ended() -> None:
    before = cpu_seconds([os.getpid()])
    with subprocess.Popen(
        [sys.executable, "-c", BURN], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        alive = cpu_seconds([os.getpid(), child.pid])
        child.communicate("\n")
    ended = cpu_seconds([os.getpid()])

    assert before + 0.25 <= alive <= ended


def test_a_process_that_is_not_there_has_no_time() -> None:
    assert cpu_seconds([2**22 + 1]) == 0.0
