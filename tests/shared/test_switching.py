"""That servers and agents let waiting threads have the interpreter soon."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from nodelink.switching import SWITCH_SECONDS

RUNNING = """
import importlib, os, sys

def told(seconds):
    print(seconds, flush=True)
    os._exit(0)

sys.setswitchinterval = told
importlib.import_module(sys.argv[1]).main(sys.argv[2:])
"""
"""Runs one of our programs until it sets how often threads switch, tells what it set, and ends there."""


@pytest.mark.parametrize(
    "program, flags",
    [
        ("nodelink_server.__main__", ("--grpc-address", "127.0.0.1:0", "--http-address", "127.0.0.1:0")),
        ("nodelink_agent.__main__", ("--server", "127.0.0.1:1", "--name", "a")),
    ],
)
def test_a_waiting_thread_gets_the_interpreter_soon(program: str, flags: tuple[str, ...], tmp_path: Path) -> None:
    command = [sys.executable, "-c", RUNNING, program, "--data-dir", str(tmp_path / "home"), *flags]
    answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert float(answer.stdout.splitlines()[-1]) == SWITCH_SECONDS
