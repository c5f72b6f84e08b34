"""`nodelink artifacts` and `nodelink workspaces state` against a real server: once as processes of their own, and else
in a thread of this one, which is quicker.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from nodelink.cli.app import execute
from tests.support.cli_shell import Shell
from tests.support.command_line import Said
from tests.support.grpc_door import GrpcDoor, grpc_door

DATA = b"hello"
SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture
async def door() -> AsyncIterator[GrpcDoor]:
    async with grpc_door() as door:
        await door.manager.workspaces.create("site", pool="default", mode="agent")
        yield door


Command = Callable[..., Awaitable[Said]]


@pytest.fixture
def shell(door: GrpcDoor, tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> Command:
    """Runs a command here. A word `@name` is a file in the folder of the test."""
    (tmp_path / "in.tar").write_bytes(DATA)

    async def run(*arguments: str) -> Said:
        words = [str(tmp_path / word[1:]) if word.startswith("@") else word for word in arguments]
        code = await asyncio.to_thread(execute, [*words, "--server", str(door.address)])
        captured = capsysbinary.readouterr()
        return Said(code, captured.out, captured.err.decode())

    return run


async def test_a_file_goes_up_is_listed_and_comes_down(door: GrpcDoor, tmp_path: Path) -> None:
    (tmp_path / "in.tar").write_bytes(DATA)
    shell = Shell(tmp_path, str(door.address))
    up = await shell("artifacts", "upload", "in.tar", "--workspace", "site", "-o", "json")
    assert json.loads(up.out) == {"sha256": SHA256, "size": 5}

    listed = await shell("artifacts", "list", "--workspace", "site", "-o", "id")
    assert listed.out.decode().split() == [SHA256]
    assert "5 bytes of the" in listed.err
    assert (await shell("artifacts", "download", SHA256, "down")).code == 0
    assert (tmp_path / "down").read_bytes() == DATA
    assert (await shell("artifacts", "download", SHA256, "-")).out == DATA


async def test_a_file_is_given_to_a_task(shell: Command, door: GrpcDoor) -> None:
    task_id = await door.submit()
    given = await shell("artifacts", "upload", "@in.tar", "--task", task_id, "-o", "json")
    assert (json.loads(given.out)["name"], json.loads(given.out)["attempt"]) == ("in.tar", 0)
    attached = await shell("artifacts", "attach", task_id, "again", SHA256, "-o", "json")
    assert json.loads(attached.out)["name"] == "again"

    listed = json.loads((await shell("artifacts", "list", "--task", task_id, "-o", "json")).out)
    assert [one["name"] for one in listed] == ["again", "in.tar"]
    assert (await shell("artifacts", "download", "--task", task_id, "in.tar", "-")).out == DATA


async def test_a_state_is_put_and_got_by_its_etag(shell: Command, tmp_path: Path) -> None:
    first = json.loads((await shell("workspaces", "state", "put", "site", "@in.tar", "--first", "-o", "json")).out)
    (tmp_path / "in.tar").write_bytes(b"more")
    late = await shell("workspaces", "state", "put", "site", "@in.tar", "--first")
    assert (late.code, late.out) == (5, b"")
    assert first["etag"] in late.err
    second = await shell("workspaces", "state", "put", "site", "@in.tar", "--if-match", first["etag"], "-o", "id")
    etag = second.out.decode().strip()

    assert (await shell("workspaces", "state", "get", "site", "-o", "id")).out.decode().strip() == etag
    assert (await shell("workspaces", "state", "get", "site", "-", "--version", "1")).out == DATA
    listed = (await shell("workspaces", "state", "list", "site", "-o", "id")).out.decode().split()
    assert listed == [etag, first["etag"]]


@pytest.mark.parametrize(
    "arguments, code, words",
    [
        (("artifacts", "upload", "@nothing"), 2, "nothing"),
        (("artifacts", "upload", "@in.tar", "--name", "x"), 2, "give --task"),
        (("artifacts", "upload", "@in.tar", "--workspace", "nobody"), 4, "there is no workspace 'nobody'"),
        (("artifacts", "download", "0" * 64, "@down"), 4, "there is no blob"),
        (("artifacts", "download", "x", "-"), 2, "must be a SHA-256"),
        (("workspaces", "state", "put", "site", "@in.tar"), 2, "--if-match ETAG, or --first"),
        (("workspaces", "state", "get", "site"), 4, "has no state"),
    ],
)
async def test_what_cannot_be_done_is_said(shell: Command, arguments: tuple[str, ...], code: int, words: str) -> None:
    said = await shell(*arguments)
    assert (said.code, said.out) == (code, b""), said
    assert words in said.err


async def test_over_the_quota_is_not_allowed(shell: Command, door: GrpcDoor) -> None:
    door.manager.blobs.quota = 4
    said = await shell("artifacts", "upload", "@in.tar")
    assert (said.code, said.out) == (3, b"")
    assert "no room for 5" in said.err
