"""The published description against the server, by a fuzzer: every check that it has, and nothing found.

The only agent can run `echo`: commands that a fuzzer makes up wait for ever, and are never run.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from nodelink.address import Address
from nodelink.task import Execution
from nodelink_server.web.server import http_server
from tests.support.checkpointed import checkpointed_core
from tests.support.http_door import WAIT_SECONDS, Door, ManualAgent

EXAMPLES = 4
BEAT_SECONDS = 1.0
SECONDS = 480
"""A backstop: it takes a fraction of this."""

SHORT = "^[1-9][0-9]{0,2}ms$"
LONGER = "^[1-9][0-9]?s$"
AMOUNT = "^[1-9][0-9]{0,2}(m|GiB)?$"
RATE = "^[1-9][0-9]{0,2}/[1-9][0-9]?m$"
SOME_SECONDS = {"heartbeat_timeout"}
DURATIONS = {"delay", "timeout", "queue_timeout", "start_timeout", "total_timeout", "grace", "older_than", "deadline"}
LEFT_OUT = {"tail", "limit", "Range", "attempt"}
"""Some are refused beside another, and which attempts there are is up to the task. test_http_logs.py has them all."""
CONFIGURATION = """
[checks.negative_data_rejection]  # a wrong parameter may be too long to be read at all
expected-statuses = [400, 401, 403, 404, 405, 406, 409, 413, 414, 415, 422, 431]

[phases.stateful.generation]  # what it means to be wrong there can be right, and is called wrong all the same
mode = "positive"
"""
NARROW: dict[str, Any] = {
    "page_token": {"enum": [""]},  # any other is one that the server gave
    "wait": {"type": "string", "pattern": "^(0|[1-9][0-9]{0,2}ms)$"},  # a longer one would be waited for
    "from": {"type": "string", "pattern": "^2025-0[1-9]-0[1-9]T00:00:00Z$"},  # before `to`
    "to": {"type": "string", "pattern": "^2026-0[1-9]-0[1-9]T00:00:00Z$"},
    "step": {"type": "string", "pattern": "^[1-9]d$"},  # whole minutes, and not too many steps
}


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 60)
async def test_a_fuzzer_finds_nothing(tmp_path: Path) -> None:
    async with served(tmp_path) as door, echoing_agent(door):
        door.manager.events.close()  # what would last for ever is answered, and ends at once
        door.manager.logs.close()
        document = tmp_path / "openapi.json"
        document.write_text(json.dumps(narrowed((await door.http.get("/openapi.json")).json())))
        found = await fuzzed(document, f"http://{door.address}", tmp_path)
    assert found.returncode == 0, found.output


@asynccontextmanager
async def served(directory: Path) -> AsyncIterator[Door]:
    """A server over a real database: one in memory keeps no checkpoints."""
    async with (
        checkpointed_core(directory / "server") as core,
        http_server(core.manager, Address("127.0.0.1", 0), version="1.2.3") as address,
        httpx.AsyncClient(base_url=f"http://{address}", timeout=WAIT_SECONDS, trust_env=False) as http,
    ):
        yield Door(core.manager, core.database.disk, address, http)


class Found:
    """What a run of the fuzzer said."""

    def __init__(self, returncode: int | None, output: str) -> None:
        self.returncode = returncode
        self.output = output


async def fuzzed(document: Path, url: str, cwd: Path) -> Found:
    """Run the fuzzer with all its checks over every operation."""
    (cwd / "schemathesis.toml").write_text(CONFIGURATION)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "schemathesis.cli", "run", str(document), "--url", url, "--checks", "all"),
        *("--mode", "all", "--max-examples", str(EXAMPLES), "--generation-deterministic"),
        # One worker: two threads that parse sources at once make Python 3.11 raise a SystemError now and then.
        *("--request-timeout", "10", "--no-color", "--continue-on-failure", "--workers", "1"),
        cwd=cwd,
        env={**os.environ, "NO_PROXY": "*", "COLUMNS": "160"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(SECONDS):
            output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return Found(process.returncode, output.decode(errors="replace"))


def narrowed(document: dict[str, Any]) -> dict[str, Any]:
    """The description with what no schema can say: what depends on the server's state, or on another parameter."""
    document["paths"].pop("/debug/profile", None)  # each answer takes a second at least
    for path in ("/api/v1/artifacts/{sha256}", "/api/v1/workspaces/{name}/state"):
        document["paths"].pop(path)  # what a piece may be is up to what was announced, a state to the newest one
    schemas = document["components"]["schemas"]
    schemas["NewTask"]["properties"]["type"] = {"enum": ["echo"]}  # which types there are is up to the agents
    for name in ("NewTask", "NewShellTask", "TaskExtension", "Cancellation", "CleanUp", "Drain"):
        narrow_durations(schemas[name]["properties"])
    schemas["NewArtifact"]["properties"]["size"] = {"type": "integer", "minimum": 1}  # no bytes have one digest
    for name in ("NewTask", "NewShellTask"):
        narrow_placing(schemas[name]["properties"])
    narrow_bulk(schemas)
    narrow_pauses(schemas)
    for name, pattern in {"initial": SHORT, "max": LONGER}.items():  # `max` is no shorter than `initial`
        schemas["RetryFields"]["properties"][name] = {"type": ["string", "null"], "pattern": pattern}
    for methods in document["paths"].values():
        for operation in methods.values():
            parameters = operation.get("parameters", [])
            operation["parameters"] = [one for one in parameters if one["name"] not in LEFT_OUT]
            for one in operation["parameters"]:
                one["schema"] = NARROW.get(one["name"], one["schema"])
    return document


def narrow_bulk(schemas: dict[str, Any]) -> None:
    """Each action has fields of its own, a token is one that the server gave, and a search has a form."""
    narrow_durations(schemas["NewBulk"]["properties"])
    fields = {"action": {"enum": ["cancel"]}, "priority": {"type": "null"}, "page_token": {"enum": [""]}}
    schemas["NewBulk"]["properties"].update(fields)
    schemas["BulkFilter"]["properties"]["q"] = {"type": "string", "pattern": "^[a-z]{1,9}$"}


def narrow_pauses(schemas: dict[str, Any]) -> None:
    """It is a pool or a type or a checkpoint, and no text that is made up is the file of one."""
    schemas["PauseFields"]["properties"].pop("type")
    for name in ("pool", "type"):
        schemas["ResumeFields"]["properties"].pop(name)
    schemas["ResumeFields"]["properties"]["checkpoint"] = {"type": "null"}
    schemas["ResumeFields"]["properties"]["as_waiting"] = {"enum": [False]}  # it needs a checkpoint


def narrow_durations(properties: dict[str, Any]) -> None:
    """Each field has a most of its own; and `0s` as `queue_timeout` asks for a 503."""
    for name in DURATIONS & properties.keys():
        kinds = ["string"] if name == "older_than" else ["string", "null"]
        properties[name] = {"type": kinds, "pattern": SHORT}
    for name in SOME_SECONDS & properties.keys():
        properties[name] = {"type": ["string", "null"], "pattern": LONGER}


def narrow_placing(properties: dict[str, Any]) -> None:
    """Some need another field, as a weight needs a key; a workspace must be there, and texts with units have bounds."""
    properties["workspace"] = {"type": "null"}
    properties["approval"] = {"type": "null"}  # it is only for what makes a plan
    for name in ("when_taken", "on_conflict", "fairness_weight"):
        properties[name] = {"enum": [properties[name]["default"]]}
    properties["resources"]["additionalProperties"] = {"type": "string", "pattern": AMOUNT}
    properties["rate"]["additionalProperties"] = {"type": "string", "pattern": RATE}


@asynccontextmanager
async def echoing_agent(door: Door) -> AsyncIterator[None]:
    """An agent that echoes what it is given, and can do nothing else."""
    async with door.agent(slots=50, handlers={"echo": Execution.REPLAYABLE}) as agent, asyncio.TaskGroup() as group:
        parts = [group.create_task(echo(agent)), group.create_task(beat(agent))]
        try:
            yield
        finally:
            for part in parts:
                part.cancel()


async def beat(agent: ManualAgent) -> None:
    """Be heard of now and then."""
    while True:
        agent.session.heard(asyncio.get_running_loop().time())
        await asyncio.sleep(BEAT_SECONDS)


async def echo(agent: ManualAgent) -> None:
    """Run task after task."""
    while True:
        request = await agent.next_task()
        agent.start(request.ref)
        agent.finish(request.ref, output=request.payload)
