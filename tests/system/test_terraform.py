"""Plans, approvals and changes with the real Terraform: what it has made is in the state of the workspace, always.

The configurations need no provider but the one that is built in, so nothing is fetched from anywhere.
"""

from __future__ import annotations

import asyncio
import base64
import json
import shutil
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from tests.support.approvals import PATIENCE, approve, having, planned
from tests.support.command_line import nodelink
from tests.support.latch import Latch
from tests.support.pages import blocks_of
from tests.support.processes import ROOT, Server, Services, environment, until
from tests.support.rest import Json, Rest

pytestmark = [
    *(pytest.mark.slow, pytest.mark.terraform, pytest.mark.timeout(300)),
    pytest.mark.skipif(shutil.which("terraform") is None, reason="terraform is not here, and no registry has it"),
]

CONFIGURATION = """
variable "place" { type = string }
variable "who" { type = string }
variable "last" {
  type    = string
  default = "true"
}

resource "terraform_data" "greeting" {
  input = var.who
  provisioner "local-exec" {
    command = "echo hello ${self.input} >> ${var.place}"
  }
}

resource "terraform_data" "last" {
  input = terraform_data.greeting.output
  provisioner "local-exec" {
    command = var.last
  }
}
"""


class Site:
    """What the tasks of one test change: one file."""

    def __init__(self, directory: Path) -> None:
        self.file = directory / "greeting"

    def payload(self, who: str = "world", **variables: str) -> Json:
        """What to plan or apply."""
        return {
            "tool": "terraform",
            "source": CONFIGURATION,
            "variables": {"place": str(self.file), "who": who, **variables},
        }

    def holding(self, latch: Latch) -> Json:
        """What to plan or apply that waits amid the apply."""
        return self.payload(last=f"echo begun > {self.file}.begun; read go < {latch.path}")

    async def begun(self) -> None:
        """Return when such an apply waits."""
        await until(lambda: Path(f"{self.file}.begun").exists() or None, "the apply began", PATIENCE)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """What is changed by the tasks of this test."""
    return Site(tmp_path)


async def workspace(rest: Rest, services: Services, server: Server) -> None:
    """A workspace without a state, and an agent that has the tool."""
    await services.agent(server, "--tools", "terraform")
    await rest.online()
    await rest.post("/workspaces", {"name": "site"})


async def made(rest: Rest) -> dict[str, str]:
    """The resources in the state of the workspace, each with its condition; none if there is no state."""
    answer = await rest.http.get("/api/v1/workspaces/site/state")
    if answer.status_code == 404:
        return {}
    return {one["name"]: one["instances"][0].get("status", "right") for one in answer.json()["resources"]}


async def test_what_was_approved_is_applied_and_nothing_else(services: Services, site: Site) -> None:
    server = await services.server()
    async with Rest(server) as rest:
        await workspace(rest, services, server)
        task_id, plan = await planned(rest, site.payload(), workspace="site")
        still, before = site.file.exists(), await made(rest)
        stored = (await rest.http.get(f"/api/v1/artifacts/{plan['sha256']}")).json()
        await approve(rest, task_id, plan["sha256"])
        await having(rest, task_id, "completed")
        after, changed = await made(rest), site.file.read_text()
        # The plan of today is not for other inputs, nor for a state that is not the one that it was made from.
        other = await rest.submit("apply", {**site.payload("me"), "plan": plan["sha256"]}, workspace="site")
        stale = await rest.submit("apply", {**site.payload(), "plan": plan["sha256"]}, workspace="site")
        other_end, stale_end = [await having(rest, one, "failed") for one in (other, stale)]
        again = await rest.submit("plan", site.payload(), workspace="site")
        await having(rest, again, "completed")
        nothing = await rest.get(f"/tasks/{again}/plan")

    assert (still, before) == (False, {})
    assert (plan["target"], plan["summary"]) == ("site", "2 to add, 0 to change, 0 to destroy")
    assert "terraform_data.greeting will be created" in stored["output"]
    assert base64.b64decode(stored["file"])[:2] == b"PK"
    assert after == {"greeting": "right", "last": "right"}
    assert changed == site.file.read_text() == "hello world\n"
    assert "changed since the plan: variables" in json.dumps(other_end)
    assert "the target has changed since the plan" in json.dumps(stale_end)
    assert nothing["summary"] == "no changes"


async def test_what_an_apply_has_made_before_it_failed_is_in_the_state(services: Services, site: Site) -> None:
    server = await services.server()
    async with Rest(server) as rest:
        await workspace(rest, services, server)
        task_id, plan = await planned(rest, site.payload(last="exit 3"), workspace="site")
        await approve(rest, task_id, plan["sha256"])
        failed = await rest.result(task_id)
        half = await made(rest)
        mended, plan = await planned(rest, site.payload(), workspace="site")
        await approve(rest, mended, plan["sha256"])
        await having(rest, mended, "completed")
        whole = await made(rest)

    assert (failed["status"], failed["error"]["category"]) == ("failed", "exit_code")
    assert half == {"greeting": "right", "last": "tainted"}
    assert plan["summary"] == "1 to add, 0 to change, 1 to destroy"
    assert whole == {"greeting": "right", "last": "right"}
    assert site.file.read_text() == "hello world\n"  # it was not done twice


async def cancelled(rest: Rest, task_id: str) -> None:
    """Stop it as a caller does."""
    await rest.cancel(task_id)


async def nothing_said(_rest: Rest, _task_id: str) -> None:
    """Its time is up by itself."""


@pytest.mark.parametrize(
    "fields, stop, status", [({}, cancelled, "cancelled"), ({"timeout": "25s"}, nothing_said, "timeout")]
)
async def test_what_an_apply_has_made_before_it_was_stopped_is_in_the_state(
    *,
    services: Services,
    site: Site,
    latch: Latch,
    fields: dict[str, str],
    stop: Callable[[Rest, str], Awaitable[None]],
    status: str,
) -> None:
    server = await services.server()
    async with Rest(server) as rest:
        await workspace(rest, services, server)
        task_id, plan = await planned(rest, site.holding(latch), workspace="site", **fields)
        await approve(rest, task_id, plan["sha256"])
        await site.begun()
        await stop(rest, task_id)
        await having(rest, task_id, status)
        half = await made(rest)

    assert half == {"greeting": "right", "last": "tainted"}


async def test_an_agent_that_dies_amid_an_apply_leaves_it_unknown_and_the_next_saves_the_state(
    services: Services, site: Site, latch: Latch
) -> None:
    quick = ("--heartbeat", "500ms", "--start-lease", "2s", "--unknown-after", "3s")
    server = await services.server(*quick, "--outage-grace", "0s", "--silence-brake", "0s")
    agent = await services.agent(server, "--tools", "terraform")
    async with Rest(server) as rest:
        await rest.online()
        await rest.post("/workspaces", {"name": "site"})
        first, plan = await planned(rest, site.holding(latch), workspace="site")
        await approve(rest, first, plan["sha256"])
        await site.begun()
        await agent.kill()
        await having(rest, first, "unknown")
        second = await rest.submit("plan", site.payload(), workspace="site")
        kept_out = await rest.get(f"/tasks/{second}")
        meanwhile = await made(rest)
        latch.release(1)
        await services.agent(server, "--tools", "terraform")
        told = await having(rest, first, "completed")
        after = await made(rest)

    assert (kept_out["status"], kept_out["reason"]) == ("pending", "lock")
    assert [remark["kind"] for remark in told["remarks"]][:2] == ["approved", "unknown"]
    assert (meanwhile, after) == ({}, {"greeting": "right", "last": "right"})
    assert site.file.read_text() == "hello world\n"


async def test_a_state_that_comes_too_late_is_kept_on_the_machine_of_its_agent(
    services: Services, site: Site, latch: Latch, tmp_path: Path
) -> None:
    quick = ("--heartbeat", "500ms", "--start-lease", "2s", "--unknown-after", "3s")
    server = await services.server(*quick, "--outage-grace", "0s", "--silence-brake", "0s")
    agent = await services.agent(server, "--tools", "terraform")
    unsaved = agent.data_dir / "agent" / "unsaved-states"
    async with Rest(server) as rest:
        await rest.online()
        await rest.post("/workspaces", {"name": "site"})
        task_id, plan = await planned(rest, site.holding(latch), workspace="site")
        await approve(rest, task_id, plan["sha256"])
        await site.begun()
        await agent.kill()
        await having(rest, task_id, "unknown")
        words = ("--as", "failed", "--reason", "I cannot wait", "--yes", "--server", server.grpc)
        resolved = await nodelink("tasks", "resolve", task_id, *words, cwd=tmp_path)
        await services.agent(server, "--tools", "terraform")
        latch.release(1)
        await until(lambda: (unsaved.exists() and list(unsaved.iterdir())) or None, "the state is kept", PATIENCE)
        after = await made(rest)

    [kept] = unsaved.iterdir()
    assert resolved.code == 0, resolved.err
    assert after == {}
    assert json.loads(kept.read_text())["resources"]


async def test_what_an_apply_has_made_before_its_spawner_died_is_in_the_state(
    services: Services, site: Site, latch: Latch
) -> None:
    server = await services.server()
    agent = await services.agent(server, "--tools", "terraform")
    async with Rest(server) as rest:
        await rest.online()
        await rest.post("/workspaces", {"name": "site"})
        task_id, plan = await planned(rest, site.holding(latch), workspace="site")
        await approve(rest, task_id, plan["sha256"])
        await site.begun()
        agent.kill_spawner()
        await agent.ended()
        await services.agent(server, "--tools", "terraform")
        latch.release(1)  # what is left of an apply is waited for, not killed
        await having(rest, task_id, "unknown")
        half = await made(rest)

    assert half["greeting"] == "right"
    assert site.file.read_text() == "hello world\n"


async def test_a_task_without_a_workspace_and_a_source_with_a_backend_are_refused(
    services: Services, site: Site
) -> None:
    server = await services.server()
    backend = 'terraform {\n  backend "local" { path = "/tmp/elsewhere" }\n}\n'
    async with Rest(server) as rest:
        await workspace(rest, services, server)
        homeless = await rest.submit("plan", site.payload())
        foreign = await rest.submit("plan", {"tool": "terraform", "source": backend}, workspace="site")
        homeless_end, foreign_end = await rest.results([homeless, foreign])

    assert homeless_end["error"]["message"] == "workspace: must be named: terraform has its state there"
    assert "names a backend of its own" in foreign_end["error"]["message"]


async def test_what_the_page_says_to_type_works(services: Services, tmp_path: Path) -> None:
    server = await services.server()
    await services.agent(server, "--tools", "terraform")
    here = f"elsewhere={Path(__file__).relative_to(ROOT)}"
    words = [block.text for block in blocks_of(ROOT / "docs/plans.md") if here in block.words]
    programs = Path(sys.executable).parent
    process = await asyncio.create_subprocess_exec(
        *("bash", "-e", "-c", "".join(words)),
        cwd=tmp_path,
        env=environment() | {"NODELINK_SERVER": server.grpc, "PATH": f"{programs}:{environment()['PATH']}"},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(PATIENCE):
        said, _ = await process.communicate()

    assert words
    assert process.returncode == 0, said.decode()
    assert "terraform_data.net will be created" in said.decode()
    assert json.loads((tmp_path / "state.json").read_text())["resources"][0]["name"] == "net"
