"""Plans, approvals and changes with a real tool: Ansible changes a real file, as was approved and not otherwise."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.approvals import PATIENCE, approve, having, planned
from tests.support.command_line import nodelink
from tests.support.latch import Latch
from tests.support.processes import Services, until
from tests.support.rest import Json, Rest

pytestmark = [pytest.mark.slow, pytest.mark.ansible, pytest.mark.timeout(300)]

PLAYBOOK = """
- hosts: all
  gather_facts: false
  tasks:
    - name: write the greeting
      copy:
        dest: "{{ place }}"
        content: "hello {{ who }}\\n"
    - name: wait to be let go
      shell: "echo begun > {{ place }}.begun; read go < {{ latch }}"
      when: latch is defined
"""


class Site:
    """What the tasks of one test change: one file."""

    def __init__(self, directory: Path) -> None:
        self.file = directory / "greeting"
        self.file.write_text("hello nobody\n")

    def payload(self, who: str = "world", **variables: str) -> Json:
        """What to plan or apply."""
        return {
            "tool": "ansible",
            "source": PLAYBOOK,
            "variables": {"place": str(self.file), "who": who, **variables},
        }


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """What is changed by the tasks of this test."""
    return Site(tmp_path)


async def test_what_was_approved_is_applied_and_nothing_else(services: Services, site: Site) -> None:
    server = await services.server()
    await services.agent(server, "--tools", "ansible")
    async with Rest(server) as rest:
        await rest.online()
        task_id, plan = await planned(rest, site.payload())
        still = site.file.read_text()
        stored = (await rest.http.get(f"/api/v1/artifacts/{plan['sha256']}")).json()
        await approve(rest, task_id, plan["sha256"])
        applied = await having(rest, task_id, "completed")
        again = await approve(rest, task_id, plan["sha256"], 409)
        changed = site.file.read_text()
        # The plan of today is not for other inputs, nor for a target that has changed since.
        other = await rest.submit("apply", {**site.payload("me"), "plan": plan["sha256"]})
        stale = await rest.submit("apply", {**site.payload(), "plan": plan["sha256"]})
        other_end, stale_end = [await having(rest, one, "failed") for one in (other, stale)]

    assert still == "hello nobody\n"
    assert "+hello world" in stored["output"]
    assert (plan["target"], plan["summary"]) == ("localhost", "1 to change, on 1 of 1 hosts")
    assert applied["status"] == "completed"
    assert again["code"] in {"PLAN_NOT_WAITING", "ALREADY_FINISHED"}
    assert changed == site.file.read_text() == "hello world\n"
    assert "changed since the plan: variables" in json.dumps(other_end)
    assert "the target has changed since the plan" in json.dumps(stale_end)


async def test_an_agent_that_dies_amid_an_apply_leaves_it_unknown_and_a_person_resolves_it(
    services: Services, site: Site, latch: Latch, tmp_path: Path
) -> None:
    quick = ("--heartbeat", "500ms", "--start-lease", "2s", "--unknown-after", "3s")
    server = await services.server(*quick, "--outage-grace", "0s", "--silence-brake", "0s")
    agent = await services.agent(server, "--tools", "ansible")
    async with Rest(server) as rest:
        await rest.online()
        await rest.post("/workspaces", {"name": "site"})
        first, plan = await planned(rest, site.payload(latch=str(latch.path)), workspace="site")
        await approve(rest, first, plan["sha256"])
        await until(lambda: Path(f"{site.file}.begun").exists() or None, "the play began", PATIENCE)
        await agent.kill()
        await having(rest, first, "unknown")
        second = await rest.submit("plan", site.payload(), workspace="site")
        kept_out = await rest.get(f"/tasks/{second}")
        words = ("--as", "completed", "--reason", "I have looked", "--yes", "--server", server.grpc)
        resolved = await nodelink("tasks", "resolve", first, *words, cwd=tmp_path)
        told = await rest.get(f"/tasks/{first}")

    assert (kept_out["status"], kept_out["reason"]) == ("pending", "lock")
    assert resolved.code == 0, resolved.err
    assert told["status"] == "completed"
    assert [remark["kind"] for remark in told["remarks"]] == ["approved", "unknown", "resolved"]
    assert site.file.read_text() == "hello world\n"
