"""The state of a workspace around plans and applies, with a small tool of the test's own that has one."""

from __future__ import annotations

import asyncio
import os
import stat
from pathlib import Path

import pytest

from nodelink.errors import QuotaExceeded
from nodelink.plan import APPLY, PLAN
from nodelink.task import ErrorCategory, Finished, Outcome, Reason
from nodelink_agent.commands import Commands
from nodelink_agent.handlers.plans import plan_handlers
from tests.support.commands import open_commands
from tests.support.memory_blobs import MemoryBlobs
from tests.support.shell_attempt import Attempt

TOOL = """#!/bin/sh
case "$1" in
  plan) for word; do case "$word" in -out=*) echo made > "${{word#-out=}}";; esac; done; exit 2;;
  show) echo "Plan: 1 to add.";;
  apply) {0};;
esac
"""
ASKED = {"tool": "terraform", "source": "# nothing\n"}
NEW = """echo '{"serial": 1}' > terraform.tfstate"""


class Stage:
    """One workspace, the tool that works there, and attempts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.blobs = MemoryBlobs()
        self.unsaved = folder / "unsaved"
        self._tool = folder / "bin" / "terraform"
        self._tool.parent.mkdir()
        self.applying(NEW)

    def applying(self, script: str) -> None:
        """Let an apply be this."""
        self._tool.write_text(TOOL.format(script))
        self._tool.chmod(0o700)

    def attempt(self, commands: Commands, type: str, workspace: str = "site", task_id: str = "") -> Attempt:
        path = f"{self.folder / 'bin'}:{os.environ['PATH']}"
        entries = plan_handlers(
            commands, ["terraform"], environment={"PATH": path}, server="127.0.0.1:1", unsaved=self.unsaved
        )
        [entry] = [entry for entry in entries if entry.type == type]
        return Attempt(
            *(entry, self.folder / "attempts"),
            execution=entry.execution,
            type=type,
            workspace=workspace,
            open_blobs=self.blobs.open,
            task_id=task_id,
        )

    async def plan(self, commands: Commands) -> str:
        """The SHA-256 of a plan."""
        finished = await self.attempt(commands, PLAN).run(**ASKED)
        assert finished.plan is not None, finished
        return finished.plan.sha256

    async def applied(self, commands: Commands, plan: str, workspace: str = "site") -> Finished:
        """How an apply has ended."""
        return await self.attempt(commands, APPLY, workspace).run(**ASKED, plan=plan)


@pytest.fixture
async def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def told(finished: Finished) -> str:
    assert finished.error is not None, finished
    return finished.error.message


async def test_an_apply_begins_with_the_state_and_leaves_a_new_one(stage: Stage, tmp_path: Path) -> None:
    stage.blobs.state = b'{"serial": 0}\n'
    stage.applying(f"cp terraform.tfstate {tmp_path}/before; {NEW}")
    async with open_commands(tmp_path) as commands:
        finished = await stage.applied(commands, await stage.plan(commands))
    assert finished.outcome is Outcome.COMPLETED
    assert (tmp_path / "before").read_bytes() == b'{"serial": 0}\n'
    assert stage.blobs.state == b'{"serial": 1}\n'


async def test_a_plan_changes_no_state(stage: Stage, tmp_path: Path) -> None:
    async with open_commands(tmp_path) as commands:
        await stage.plan(commands)
    assert stage.blobs.state is None


async def test_an_apply_that_fails_leaves_its_state_all_the_same(stage: Stage, tmp_path: Path) -> None:
    stage.applying(f"{NEW}; exit 1")
    async with open_commands(tmp_path) as commands:
        finished = await stage.applied(commands, await stage.plan(commands))
    assert (finished.outcome, finished.reason, finished.exit_code) == (Outcome.FAILED, Reason.EXIT_CODE, 1)
    assert stage.blobs.state == b'{"serial": 1}\n'


async def test_an_apply_that_is_stopped_leaves_its_state_all_the_same(stage: Stage, tmp_path: Path) -> None:
    stage.applying(f"trap '' TERM; {NEW}; echo begun; sleep 60")
    async with open_commands(tmp_path) as commands:
        attempt = stage.attempt(commands, APPLY)
        run = asyncio.create_task(attempt.run(**ASKED, plan=await stage.plan(commands)))
        assert await attempt.first_line() == b"begun"
        attempt.context.ask_stop(Reason.CANCELLED_BY_CALLER, 0.2)
        finished = await run
    assert (finished.outcome, finished.reason) == (Outcome.CANCELLED, Reason.CANCELLED_BY_CALLER)
    assert stage.blobs.state == b'{"serial": 1}\n'
    assert not attempt.context.can_be_stopped  # while it was saved


async def test_a_task_without_a_workspace_is_refused(stage: Stage, tmp_path: Path) -> None:
    async with open_commands(tmp_path) as commands:
        finished = await stage.attempt(commands, PLAN, workspace="").run(**ASKED)
    assert told(finished) == "workspace: must be named: terraform has its state there"


async def test_a_plan_is_for_its_own_workspace_and_the_state_that_it_was_made_from(
    stage: Stage, tmp_path: Path
) -> None:
    async with open_commands(tmp_path) as commands:
        plan = await stage.plan(commands)
        elsewhere = await stage.applied(commands, plan, workspace="lab")
        stage.blobs.state = b'{"serial": 7}'
        drifted = await stage.applied(commands, plan)
    assert "nothing was applied: changed since the plan: workspace" in told(elsewhere)
    assert "nothing was applied: the target has changed since the plan" in told(drifted)
    assert drifted.reason is Reason.HANDLER_ERROR
    assert stage.blobs.state == b'{"serial": 7}'


async def test_a_state_that_is_refused_is_kept_for_people_and_nothing_is_tried_again(
    stage: Stage, tmp_path: Path
) -> None:
    async with open_commands(tmp_path) as commands:
        plan = await stage.plan(commands)
        stage.blobs.refusal = QuotaExceeded("there is no room")
        finished = await stage.applied(commands, plan)
    [kept] = stage.unsaved.iterdir()
    assert finished.outcome is Outcome.FAILED
    assert finished.error is not None
    assert finished.error.category is ErrorCategory.INVALID_INPUT
    assert "the state of the workspace was not saved: there is no room" in told(finished)
    assert str(kept) in told(finished)
    assert kept.read_text() == '{"serial": 1}\n'
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600


async def test_a_part_of_a_state_does_not_replace_a_whole_one(stage: Stage, tmp_path: Path) -> None:
    stage.blobs.state = b'{"serial": 0}'
    stage.applying("""printf '{"serial":' > terraform.tfstate; kill -9 $$""")
    async with open_commands(tmp_path) as commands:
        finished = await stage.applied(commands, await stage.plan(commands))
    assert finished.outcome is Outcome.FAILED
    assert "a part of a state" in told(finished)
    assert stage.blobs.state == b'{"serial": 0}'


async def test_a_state_whose_agent_dies_as_it_sends_it_is_saved_by_the_next(stage: Stage, tmp_path: Path) -> None:
    async with open_commands(tmp_path) as commands:
        plan = await stage.plan(commands)
        stage.blobs.gate.clear()
        stage.blobs.sending.clear()
        first = stage.attempt(commands, APPLY)
        run = asyncio.create_task(first.run(**ASKED, plan=plan))
        await stage.blobs.sending.wait()
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        place = commands.spawner_id
    assert first.context.stays
    stage.blobs.gate.set()
    async with open_commands(tmp_path) as commands:
        finished = await stage.attempt(commands, APPLY, task_id=first.task_id).resume(place)
    assert isinstance(finished, Finished)
    assert finished.outcome is Outcome.COMPLETED
    assert stage.blobs.state == b'{"serial": 1}\n'
