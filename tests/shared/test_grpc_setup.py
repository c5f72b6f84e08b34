"""What gRPC is told before it is loaded."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from nodelink.grpc_setup import WANTED, set_up_grpc

LOADING = """
import importlib, json, os, sys

class Grpc:
    def find_spec(self, name, path=None, target=None):
        if name == "grpc":
            print(json.dumps([os.environ.get(name) for name in json.loads(sys.argv[2])]), flush=True)
            os._exit(0)

sys.meta_path.insert(0, Grpc())
importlib.import_module(sys.argv[1]).main(sys.argv[3:])
"""
"""Begins one of our programs, tells the values of some variables at the moment when it loads gRPC, and ends there."""


@pytest.mark.parametrize(
    "program, flags",
    [("nodelink_server.__main__", ()), ("nodelink_agent.__main__", ("--server", "127.0.0.1:1", "--name", "a"))],
)
def test_it_is_told_by_the_time_it_is_loaded(program: str, flags: tuple[str, ...], tmp_path: Path) -> None:
    names = '["' + '", "'.join(WANTED) + '"]'
    command = [sys.executable, "-c", LOADING, program, names, "--data-dir", str(tmp_path / "home"), *flags]
    answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert answer.stdout == '["' + '", "'.join(WANTED.values()) + '"]\n'


def test_what_a_person_has_set_stays() -> None:
    environment = {"GRPC_VERBOSITY": "DEBUG", "HOME": "/"}
    set_up_grpc(environment)
    assert environment == {**WANTED, "GRPC_VERBOSITY": "DEBUG", "HOME": "/"}


@pytest.mark.parametrize("name", [*WANTED, *(name.lstrip("-") for name in WANTED["GRPC_EXPERIMENTS"].split(","))])
def test_grpc_knows_every_name(name: str) -> None:
    """One that it does not know it passes over, or complains about at each start."""
    spec = find_spec("grpc._cython.cygrpc")
    assert spec is not None
    assert spec.origin is not None
    assert name.encode() in Path(spec.origin).read_bytes()
