"""Changes whose bytes are large, from end to end: a caller who insists, a tool that leaves a trace, and what must hold.

Each change uploads a source in pieces, is planned, approved and applied in the one workspace, and is noted in its state
by the caller. All of it can be cut off anywhere, and goes on.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import os
import sys
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx

from tests.faults.load import AGAIN_SECONDS, CALL_SECONDS
from tests.support.processes import Server

CHUNK_BYTES = 1 << 20
PAD_BYTES = 600_000
"""Random bytes, twice as many as hexadecimal digits: more than one piece."""
SOURCE_BYTES = 2_500_000
STATES_SHOWN = 10
WORKSPACE = "site"

TOOL = """#!{python}
import json, os, pathlib, sys

state = pathlib.Path("terraform.tfstate")
words = dict(word[1:].split("=", 1) for word in sys.argv if "=" in word)
pad = os.urandom({pad}).hex()
match sys.argv[1]:
    case "plan":
        mark = json.loads(pathlib.Path(words["var-file"]).read_text())["mark"]
        pathlib.Path(words["out"]).write_text(json.dumps({{"mark": mark, "pad": pad}}))
        sys.exit(2)
    case "show":
        print("Plan: 1 to add.")
    case "apply":
        mark = json.loads(pathlib.Path(sys.argv[-1]).read_text())["mark"]
        with open({effects!r}, "a") as effects:
            print(mark, file=effects)
        known = json.loads(state.read_text()) if state.exists() else {{"applied": []}}
        state.write_text(json.dumps({{**known, "applied": [*known["applied"], mark], "pad": pad}}))
"""


class Changes:
    """The changes of one run, one after the other. `directory`: of the tool, and of what it leaves."""

    def __init__(self, directory: Path) -> None:
        self._effects = directory / "effects"
        tool = directory / "bin" / "terraform"
        tool.parent.mkdir(parents=True)
        tool.write_text(TOOL.format(python=sys.executable, pad=PAD_BYTES, effects=str(self._effects)))
        tool.chmod(0o700)
        self.environment: Mapping[str, str] = {"PATH": f"{tool.parent}:{os.environ['PATH']}"}
        """Of an agent that has the tool."""
        self._marks: list[str] = []

    async def make(self, server: Server) -> None:
        """One change, to its end."""
        mark = f"m{len(self._marks)}"
        self._marks.append(mark)
        async with Caller(server) as caller:
            await caller.ask("POST", "/workspaces", 201, 409, json={"name": WORKSPACE})
            source = await caller.upload(await asyncio.to_thread(_source))
            payload = {"tool": "terraform", "source": {"sha256": source}, "variables": {"mark": mark}}
            body = {"type": "plan_and_apply", "payload": payload, "workspace": WORKSPACE}
            answer = await caller.ask("POST", "/tasks", 201, json=body, headers={"Idempotency-Key": mark})
            task_id = str(answer.json()["id"])
            await caller.ask("PUT", f"/tasks/{task_id}/artifacts/in.tar", 200, json={"sha256": source})
            await caller.having(task_id, "plan_completed")
            plan = (await caller.ask("GET", f"/tasks/{task_id}/plan", 200)).json()["sha256"]
            assert await caller.digest(f"/tasks/{task_id}/artifacts/plan") == plan
            assert await caller.digest(f"/tasks/{task_id}/artifacts/in.tar") == source
            await caller.ask("POST", f"/tasks/{task_id}/approve", 200, 409, json={"plan_sha256": plan})
            await caller.having(task_id, "completed")
            await caller.note(mark)

    async def problems(self, server: Server) -> list[str]:
        """What is not as it must be, once every change has come to its end."""
        found = [f"{path} holds other bytes" for path in await asyncio.to_thread(lambda: list(_wrong(server.data_dir)))]
        async with Caller(server) as caller:
            states = (await caller.ask("GET", f"/workspaces/{WORKSPACE}/states", 200)).json()["states"]
            newest = (await caller.ask("GET", f"/workspaces/{WORKSPACE}/state", 200)).json()
            path = f"/workspaces/{WORKSPACE}/state"
            read = [await caller.digest(path, version=state["version"]) for state in states]
        if read != [state["sha256"] for state in states]:
            found.append(f"the states {states} are read as {read}")
        last = 2 * len(self._marks)  # an apply and a note each: none is lost, and none is there twice
        if [state["version"] for state in states] != list(range(last, max(0, last - STATES_SHOWN), -1)):
            found.append(f"after {len(self._marks)} changes the states are {states}")
        if (newest["applied"], newest["noted"]) != (self._marks, self._marks[-1]):
            found.append(f"the newest state says {newest['applied']}, noted {newest['noted']}")
        if self._effects.read_text().split() != self._marks:
            found.append(f"applied was {self._effects.read_text().split()}")
        return found


class Caller:
    """Somebody who asks until there is an answer. Use as a context."""

    def __init__(self, server: Server) -> None:
        self._http = httpx.AsyncClient(base_url=f"{server.http}/api/v1", timeout=CALL_SECONDS)

    async def __aenter__(self) -> Caller:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def ask(self, method: str, path: str, *expected: int, **words: Any) -> httpx.Response:
        """An answer: one of these."""
        while True:
            answer = await self._once(method, path, **words)
            if answer is not None:
                assert answer.status_code in expected, f"{method} {path}: {answer.status_code} {answer.text[:500]}"
                return answer
            await asyncio.sleep(AGAIN_SECONDS)

    async def _once(self, method: str, path: str, **words: Any) -> httpx.Response | None:
        try:
            answer = await self._http.request(method, path, **words)
        except httpx.TransportError:
            return None
        return None if answer.status_code >= 500 or answer.status_code == 429 else answer

    async def upload(self, data: bytes) -> str:
        """Have the server have bytes. What it once said that it has, it has. Returns their SHA-256."""
        sha256, said = hashlib.sha256(data).hexdigest(), 0
        while True:
            answer = await self.ask("POST", "/artifacts", 200, json={"sha256": sha256, "size": len(data)})
            upload = answer.json()
            assert upload["offset"] >= said, f"the upload goes on at {upload['offset']}, after {said} were taken"
            while not upload["complete"]:
                offset = said = upload["offset"]
                place = {"offset": offset, "size": len(data)}
                piece = await self._once(
                    "PUT",
                    f"/artifacts/{sha256}",
                    params=place,
                    content=data[offset : offset + CHUNK_BYTES],
                    headers={"Content-Type": "application/octet-stream"},
                )
                if piece is None or piece.status_code == 409:
                    break
                assert piece.status_code == 200, piece.text
                upload = piece.json()
            if upload["complete"]:
                return sha256
            await asyncio.sleep(AGAIN_SECONDS)

    async def having(self, task_id: str, status: str) -> None:
        """Wait until a task stands so."""
        while (task := (await self.ask("GET", f"/tasks/{task_id}", 200)).json())["status"] != status:
            assert task["status"] not in {"failed", "completed", "cancelled", "timeout", "unknown"}, task
            await asyncio.sleep(AGAIN_SECONDS)

    async def digest(self, path: str, **words: Any) -> str:
        """The SHA-256 of the bytes that are read there."""
        return hashlib.sha256((await self.ask("GET", path, 200, params=words)).content).hexdigest()

    async def note(self, mark: str) -> None:
        """Write into the state what a person knows."""
        path = f"/workspaces/{WORKSPACE}/state"
        answer = await self.ask("GET", path, 200)
        noted = await self.upload(json.dumps({**answer.json(), "noted": mark}).encode())
        await self.ask("PUT", path, 200, params={"sha256": noted}, headers={"If-Match": answer.headers["etag"]})


def _source() -> bytes:
    """A configuration with something large, another one each time."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, data in (("main.tf", b"# nothing\n"), ("large", os.urandom(SOURCE_BYTES))):
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return packed.getvalue()


def _wrong(data_dir: Path) -> Iterator[Path]:
    """Blobs that are not what their name says."""
    for path in (data_dir / "blobs").glob("??/*"):
        if hashlib.sha256(path.read_bytes()).hexdigest() != path.name:
            yield path
