"""Processes that help to measure: they say what has happened, and whoever ends early is noticed."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

import pytest

from benchmarks.cpu import tree_of
from benchmarks.helper import helping
from benchmarks.processes import free_port

LISTENING = "benchmarks.scale.listening"


async def test_a_helper_is_told_and_says_what_it_found() -> None:
    async with asyncio.timeout(60), helping(LISTENING, {"http": "http://127.0.0.1:1", "listeners": []}) as helper:
        assert await helper.hear() == "listening"
        helper.tell('{"since": 0, "until": 1, "given": {}}')
        assert await helper.hear() == []


async def test_one_that_ends_early_is_noticed() -> None:
    nobody = f"http://127.0.0.1:{free_port()}"
    async with asyncio.timeout(60), helping(LISTENING, {"http": nobody, "listeners": [("", False)]}) as helper:
        with pytest.raises(AssertionError, match="a helper has ended with 1"):
            await helper.hear()


def test_the_tree_of_a_process_has_its_children() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        try:
            assert {os.getpid(), child.pid} <= set(tree_of([os.getpid()]))
        finally:
            child.kill()
