"""Clients in other languages, as docs/grpc.md shows them, with a server and an agent as people run them."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from tests.support.pages import blocks_of
from tests.support.processes import ROOT, Services, environment, services_in
from tests.support.rest import Rest

HERE = Path(__file__).parent
BUILD_SECONDS = 240
RUN_SECONDS = 60
GO_PACKAGE = "example.org/nodelink/v1"
GO_LIBRARIES = "/usr/share/gocode"
"""Where Debian puts Go libraries."""

LIVES = ["task.created", "task.started", "task.completed", "line 1", "line 2", "line 3"]


@pytest.fixture
async def services(tmp_path: Path) -> AsyncIterator[Services]:
    async with services_in(tmp_path / "services") as services:
        yield services


async def served(services: Services) -> str:
    """The address of a server with an agent."""
    server = await services.server()
    await services.agent(server)
    async with Rest(server) as rest:
        await rest.online()
    return server.grpc


async def said(*command: str | Path, env: Mapping[str, str] | None = None, seconds: float = RUN_SECONDS) -> list[str]:
    """What a program prints, line by line. It must end well."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=ROOT,
        env=environment() | dict(env or {}),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(seconds):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, (out + err).decode()
    return out.decode().splitlines()


def tool(name: str) -> str:
    """Where a program is."""
    path = shutil.which(name)
    assert path, f"{name} is not installed: run scripts/test --all"
    return path


def in_order(lines: list[str], expected: list[str]) -> bool:
    """Whether all of this was said, in this order, whatever else was."""
    left = iter(lines)
    return all(line in left for line in expected)


@pytest.mark.node
@pytest.mark.timeout(RUN_SECONDS * 2)
async def test_a_client_in_node_submits_watches_reads_and_cancels(services: Services) -> None:
    modules = str(ROOT / ".tools" / "node_modules")
    settings = {"NODE_PATH": modules, "NODELINK_SERVER": await served(services)}
    lines = await said(tool("node"), HERE / "node" / "tasks.js", env=settings)

    assert in_order(lines, [*LIVES, "TASK_STATUS_CANCELLED cancelled_by_caller"]), "\n".join(lines)
    assert lines[-1] == "NOT_FOUND there is no task no such task"


@pytest.mark.go
@pytest.mark.slow
@pytest.mark.timeout(BUILD_SECONDS + RUN_SECONDS)
async def test_a_client_in_go_submits_watches_reads_and_cancels(services: Services, tmp_path: Path) -> None:
    source = tmp_path / "go" / "src"
    (source / "client").mkdir(parents=True)
    shutil.copy(HERE / "go" / "main.go", source / "client")
    mapping = [f"Mnodelink/v1/{path.name}={GO_PACKAGE}" for path in (ROOT / "protos/nodelink/v1").glob("*.proto")]
    await said(
        *(sys.executable, "-m", "grpc_tools.protoc", "--proto_path", ROOT / "protos"),
        *(f"--plugin={tool(plugin)}" for plugin in ("protoc-gen-go", "protoc-gen-go-grpc")),
        *(f"--{language}_out={source}" for language in ("go", "go-grpc")),
        *(f"--{language}_opt={one}" for language in ("go", "go-grpc") for one in mapping),
        *("nodelink/v1/task.proto", "nodelink/v1/agent.proto", "nodelink/v1/admin.proto"),
    )
    paths = os.pathsep.join([str(tmp_path / "go"), GO_LIBRARIES])
    settings = {"GOPATH": paths, "GO111MODULE": "off", "GOCACHE": str(tmp_path / "cache"), "GOFLAGS": "-p=2"}
    await said(tool("go"), "build", "-o", tmp_path / "program", "client", env=settings, seconds=BUILD_SECONDS)
    lines = await said(tmp_path / "program", env={"NODELINK_SERVER": await served(services)})

    assert in_order(lines, [*LIVES, "TASK_STATUS_CANCELLED cancelled_by_caller"]), "\n".join(lines)
    assert lines[-1] == "NOT_FOUND there is no task no such task"


@pytest.mark.parametrize("language, name", [("js", "node/tasks.js"), ("go", "go/main.go")])
def test_the_page_shows_the_client_that_is_tested(language: str, name: str) -> None:
    shown = [block.text for block in blocks_of(ROOT / "docs" / "grpc.md") if block.language == language]

    assert shown == [(HERE / name).read_text()]
