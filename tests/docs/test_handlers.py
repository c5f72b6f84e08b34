"""docs/handlers.md tells how to write a handler: whoever does what it says has an agent that runs it."""

from __future__ import annotations

import asyncio
import re
import shutil
from pathlib import Path

import pytest

from tests.support.pages import Block, blocks_of
from tests.support.processes import ROOT, environment, services_in
from tests.support.rest import Rest

PAGE = ROOT / "docs" / "handlers.md"
FILE = "nodelink_agent/handlers/count_words.py"
PACKAGES = ("nodelink", "nodelink_server", "nodelink_agent")

pytestmark = pytest.mark.slow


def block(language: str) -> Block:
    """The page's one block in this language."""
    (found,) = [block for block in blocks_of(PAGE) if block.language == language]
    return found


def apply(diff: str, tree: Path) -> None:
    """Change the one file that a diff names, as a reader would."""
    path = tree / re.findall(r"^\+\+\+ b/(\S+)$", diff, re.MULTILINE)[0]
    text = path.read_text()
    for hunk in re.split(r"^@@.*@@\n", diff, flags=re.MULTILINE)[1:]:
        lines = hunk.splitlines(keepends=True)
        old, new = ("".join(line[1:] for line in lines if line[0] in kept) for kept in (" -", " +"))
        assert text.count(old) == 1, f"this is not in {path.name} any more:\n{old}"
        text = text.replace(old, new)
    path.write_text(text)


async def typed(text: str, server: str) -> str:
    """What a command prints."""
    env = environment() | {"PATH": f"{ROOT / '.venv/bin'}:/usr/bin:/bin", "NODELINK_SERVER": server}
    process = await asyncio.create_subprocess_exec(
        *("bash", "--norc", "-c", text), env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    async with asyncio.timeout(60):
        said, _ = await process.communicate()
    return said.decode()


@pytest.mark.timeout(400)
async def test_a_handler_written_as_the_page_says_runs_on_an_agent(tmp_path: Path) -> None:
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    assert f"`{FILE}`" in PAGE.read_text()
    (tmp_path / FILE).write_text(block("python").text)
    apply(block("diff").text, tmp_path)
    console = block("console").text
    command, shown = console.partition("\n")[0].removeprefix("$ "), console.partition("\n")[2]

    async with services_in(tmp_path) as services:  # they run what is in their own directory
        server = await services.server()
        await services.agent(server)
        async with Rest(server) as rest:
            await rest.online()
            printed = await typed(command, server.grpc)
            agents = (await rest.get("/agents"))["agents"]
            wrong = await rest.http.post("/api/v1/tasks", json={"type": "count_words", "payload": {}})
            result = await rest.get(f"/tasks/{wrong.json()['id']}/result", wait="20s")

    pattern = ".*".join(re.escape(part) for part in shown.strip().split("…"))
    assert re.fullmatch(pattern, printed.strip(), re.DOTALL), printed
    assert agents[0]["types"] == ["count_words", "echo", "shell"]
    assert (result["status"], result["error"]["category"]) == ("failed", "invalid_input")
