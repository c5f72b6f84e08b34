"""TAB, pressed in real shells: the scripts that `nodelink completion` prints, and what they offer."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import sys
import time
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from nodelink.cli.candidates import CACHE_SECONDS
from tests.support.command_line import ROOT, WAIT_SECONDS
from tests.support.grpc_door import GrpcDoor, grpc_door
from tests.support.pseudo_terminal import on_terminal

BASH = r"""
eval "$(nodelink completion bash)"
COMP_WORDS=({words})
COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
compopt() {{ :; }}
_nodelink_completion nodelink
printf '%s\n' "${{COMPREPLY[@]}}"
"""


@pytest.fixture
async def door() -> AsyncIterator[GrpcDoor]:
    async with grpc_door() as door:
        yield door


class Typist:
    """Somebody with `nodelink` on the PATH, and a home of their own."""

    def __init__(self, directory: Path, server: str) -> None:
        self.directory = directory
        self.cache = directory / "cache" / "nodelink"
        program = directory / "bin" / "nodelink"
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m nodelink.cli "$@"\n')
        program.chmod(0o755)
        self.env: Mapping[str, str] = {
            "PATH": f"{program.parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "HOME": str(directory),
            "XDG_CACHE_HOME": str(directory / "cache"),
            "NODELINK_SERVER": server,
            "NODELINK_COMPLETION_SECONDS": "20",
        }

    async def offered(self, *words: str) -> list[str]:
        """What bash offers for the last of these words."""
        script = BASH.format(words=" ".join(shlex.quote(word) for word in ("nodelink", *words)))
        process = await asyncio.create_subprocess_exec(
            *("bash", "--norc", "-c", script),
            cwd=self.directory,
            env=self.env,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(WAIT_SECONDS):
            out, err = await process.communicate()
        assert (process.returncode, err) == (0, b"")
        return out.decode().split()


@pytest.fixture
def typist(door: GrpcDoor, tmp_path: Path) -> Typist:
    return Typist(tmp_path, str(door.address))


@pytest.mark.parametrize(
    "words, some",
    [
        (("",), {"run", "tasks", "doctor", "completion"}),
        (("ta",), {"tasks"}),
        (("tasks", ""), {"list", "get", "wait", "cleanup"}),
        (("tasks", "list", "--st"), {"--status"}),
        (("tasks", "list", "--status", "c"), {"completed", "cancelled", "cancelling", "created"}),
        (("agents", "list", "--status", "on"), {"online"}),
        (("run", "--priority", "h"), {"HIGH"}),
        (("run", "--lo"), {"--lock"}),
        (("run", "--retr"), {"--retries", "--retry-initial", "--retry-max", "--retry-on"}),
        (("submit", "echo", "--retry-on", "e"), {"exit_code"}),
        (("submit", "echo", "--execution", ""), {"replayable", "once", "exclusive"}),
        (("submit", "echo", "--when-taken", ""), {"wait", "skip", "replace"}),
        (("submit", "echo", "--on-conflict", "u"), {"use-existing"}),
        (("tasks", "a"), {"abandon", "approve"}),
        (("tasks", "e"), {"events", "extend"}),
        (("tasks", "extend", "--t"), {"--timeout", "--total-timeout"}),
        (("tasks", "resolve", "x", "--as", ""), {"completed", "failed", "rerun"}),
        (("agents", "un"), {"undrain"}),
        (("tasks", "wh"), {"why"}),
        (("agents", "wh"), {"why"}),
        (("tasks", "list", "-o", ""), {"table", "json", "ndjson", "yaml", "id"}),
        (("completion", ""), {"bash", "zsh", "fish"}),
        (("help", "tasks", "can"), {"cancel"}),
    ],
)
async def test_words_that_are_known_are_offered_and_nothing_that_is_not_there(
    typist: Typist, words: tuple[str, ...], some: set[str]
) -> None:
    offered = set(await typist.offered(*words))

    assert some <= offered
    assert not {"pools", "checkpoint", "--token"} & offered


async def test_what_the_server_knows_is_offered(door: GrpcDoor, typist: Typist) -> None:
    ids = [await door.submit() for _ in range(3)]
    async with door.agent(agent_id="build-7", pool="gpu"):
        assert await typist.offered("tasks", "get", "") == ids[::-1]
        assert await typist.offered("tasks", "wait", ids[0], ids[1]) == [ids[1]]
        assert await typist.offered("tasks", "list", "--type", "s") == ["shell"]
        assert await typist.offered("run", "--pool", "") == ["gpu"]
        assert await typist.offered("run", "--agent", "b") == ["build-7"]
        assert await typist.offered("submit", "e") == ["echo"]


async def test_a_name_that_means_something_to_a_shell_is_not_offered(door: GrpcDoor, typist: Typist) -> None:
    async with door.agent(agent_id="a1"):  # its name has a space in it
        assert await typist.offered("agents", "get", "") == []
    told = next(typist.cache.glob("*-agents.json"))
    told.write_text(json.dumps([["$(touch x)", ""], ["-rf", ""], ["fine", ""], ["a;b", ""]]))

    assert await typist.offered("agents", "get", "") == ["fine"]


async def test_a_server_that_is_away_is_passed_over_in_silence(typist: Typist) -> None:
    typist.env = {**typist.env, "NODELINK_SERVER": "127.0.0.1:1"}

    assert await typist.offered("tasks", "get", "") == []


async def test_what_was_offered_is_remembered_for_a_moment_and_for_nobody_else(door: GrpcDoor, typist: Typist) -> None:
    first = await door.submit()
    before = await typist.offered("tasks", "get", "")
    second = await door.submit()
    kept = await typist.offered("tasks", "get", "")
    memory = next(typist.cache.glob("*-tasks.json"))
    long_ago = time.time() - CACHE_SECONDS - 1
    os.utime(memory, (long_ago, long_ago))
    fresh = await typist.offered("tasks", "get", "")

    assert (before, kept, fresh) == ([first], [first], [second, first])
    assert (typist.cache.stat().st_mode & 0o777, memory.stat().st_mode & 0o777) == (0o700, 0o600)


@pytest.mark.parametrize("damage", ["", "{", "[1]", '[["only one"]]', "null"])
async def test_a_damaged_memory_is_asked_for_again(door: GrpcDoor, typist: Typist, damage: str) -> None:
    task_id = await door.submit()
    await typist.offered("tasks", "get", "")
    next(typist.cache.glob("*-tasks.json")).write_text(damage)

    assert await typist.offered("tasks", "get", "") == [task_id]


async def test_a_script_takes_hold_in_an_interactive_bash(door: GrpcDoor, typist: Typist) -> None:
    task_id = await door.submit()
    async with on_terminal("bash", "--norc", "-i", cwd=typist.directory, env=typist.env, width=200) as terminal:
        terminal.press(b'eval "$(nodelink completion bash)"; echo re""ady\n')
        await terminal.shows("ready")
        terminal.press(b"nodelink tasks get \t")
        await terminal.shows(task_id)


@pytest.mark.shells
async def test_fish_offers_the_same_and_says_what_it_is(door: GrpcDoor, typist: Typist) -> None:
    task_id = await door.submit()
    script = 'nodelink completion fish | source; complete -C "nodelink tasks get "; complete -C "nodelink task"'
    process = await asyncio.create_subprocess_exec(
        *("fish", "--no-config", "-c", script),
        cwd=typist.directory,
        env=typist.env,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(WAIT_SECONDS):
        out, _ = await process.communicate()

    assert out.decode().splitlines() == [
        f"{task_id}\techo; pending",
        "tasks\tLook at tasks; wait for them; stop them.",
    ]


@pytest.mark.shells
async def test_zsh_offers_the_same_and_says_what_it_is(door: GrpcDoor, typist: Typist) -> None:
    first = await door.submit("shell", b'{"command":"true"}')
    second = await door.submit()
    async with on_terminal("zsh", "-f", "-i", cwd=typist.directory, env=typist.env, width=160) as terminal:
        terminal.press(b'autoload -U compinit; compinit -u; eval "$(nodelink completion zsh)"; echo re""ady\n')
        seen = await terminal.shows("ready")
        terminal.press(b"nodelink tasks get \t\t")
        for words in (first, second, "-- shell, pending", "-- echo, pending"):
            await terminal.shows(words, after=seen)
