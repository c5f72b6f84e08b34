"""The quick suite for real, with a few tasks: every figure is there, and nothing is left running."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.quiet import Silence
from benchmarks.ratios import values_of
from benchmarks.runner import Run, run_rounds
from benchmarks.suites import Sizes, quick

FEW = Sizes(tasks=256, singles=3, sdk_tasks=50, shell_tasks=16, slots=256)


@pytest.mark.slow
async def test_the_quick_suite_measures_everything_and_leaves_nothing(tmp_path: Path) -> None:
    async def listen() -> Silence:
        return Silence(0.0)

    run = Run(quick(FEW))
    await run_rounds(run, rounds=1, parent=tmp_path, listen=listen, tell=lambda what: None)

    assert run.not_measured == {}
    assert run.medians.keys() == {figure.key for one in run.measurements for figure in one.figures}
    assert all(value > 0 for value in run.medians.values())
    assert {"stream_to_raw", "one_task_p50", "one_task_p99", "shell_to_spawn"} <= values_of(run.medians).keys()
    assert _left_in(tmp_path) == []
    assert _running_in(tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_what_was_started(tmp_path: Path, stop: signal.Signals) -> None:
    command = [sys.executable, "-m", "benchmarks", "--only", "NodeLink stream", "--directory", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        assert run.stderr is not None
        while not _running_in(tmp_path):
            assert run.poll() is None
        run.send_signal(stop)
        run.communicate(timeout=60)

    assert run.returncode == 130
    assert _running_in(tmp_path) == []


def _left_in(place: Path) -> list[Path]:
    return list(place.iterdir())


def _running_in(place: Path) -> list[str]:
    """The command lines of processes that work below a directory."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if f"{place}{os.sep}" in line:
            found.append(line)
    return found
