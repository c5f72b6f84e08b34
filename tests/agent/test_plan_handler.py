"""Plans and applies as their handler has them, with real steps, a small tool of the test's own, and blobs in memory."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from nodelink.plan import APPLY, PLAN, PLAN_AND_APPLY, Plan
from nodelink.task import Execution, Finished, Outcome, Reason
from nodelink_agent.commands import Commands
from nodelink_agent.handlers.plans import plan_handlers
from nodelink_agent.handlers.registry import HandlerEntry
from tests.support.commands import open_commands
from tests.support.memory_blobs import MemoryBlobs
from tests.support.shell_attempt import Attempt

TOOL = """#!/bin/sh
case " $* " in *" --check "*) cat {0}; echo "web1 : ok=1 changed=1";; *) echo applied >> {0};; esac
"""
ASKED = {"tool": "ansible", "source": "- hosts: all\n"}


class Stage:
    """One target, the tool that changes it, and attempts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.target = folder / "target"
        self.target.write_text("before\n")
        tool = folder / "bin" / "ansible-playbook"
        tool.parent.mkdir()
        tool.write_text(TOOL.format(self.target))
        tool.chmod(0o700)
        self.blobs = MemoryBlobs()

    def attempt(self, commands: Commands, type: str, plan: Plan | None = None, task_id: str = "") -> Attempt:
        path = f"{self.folder / 'bin'}:{os.environ['PATH']}"
        entries = plan_handlers(
            commands, ["ansible"], environment={"PATH": path}, server="127.0.0.1:1", unsaved=self.folder / "unsaved"
        )
        [entry] = [entry for entry in entries if entry.type == type]
        return Attempt(
            *(entry, self.folder / "attempts"),
            execution=entry.execution,
            type=type,
            plan=plan,
            open_blobs=self.blobs.open,
            task_id=task_id,
        )


@pytest.fixture
async def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


async def made(stage: Stage, commands: Commands, type: str = PLAN_AND_APPLY, **asked: Any) -> Plan:
    """A plan."""
    finished = await stage.attempt(commands, type).run(**{**ASKED, **asked})
    assert finished.plan is not None, finished
    assert finished.plan_artifact in stage.blobs.names
    return finished.plan


def told(finished: Finished) -> str:
    assert finished.error is not None, finished
    return finished.error.message


def test_without_a_tool_there_are_no_handlers() -> None:
    handlers: Sequence[HandlerEntry] = plan_handlers(None, [], environment={}, server="", unsaved=Path())  # type: ignore[arg-type]
    assert list(handlers) == []


async def test_each_type_has_its_class(stage: Stage, tmp_path: Path) -> None:
    async with open_commands(tmp_path) as commands:
        handlers = plan_handlers(commands, ["ansible"], environment={}, server="", unsaved=tmp_path)
    assert {entry.type: entry.execution for entry in handlers} == {
        PLAN: Execution.REPLAYABLE,
        APPLY: Execution.EXCLUSIVE,
        PLAN_AND_APPLY: Execution.EXCLUSIVE,
    }


async def test_a_plan_is_stored_told_and_then_applied(stage: Stage, tmp_path: Path) -> None:
    async with open_commands(tmp_path) as commands:
        plan = await made(stage, commands)
        before = stage.target.read_text()
        applied = await stage.attempt(commands, PLAN_AND_APPLY, plan).run(**ASKED)
    stored = stage.blobs.stored[plan.sha256]
    assert (plan.size, plan.target, plan.summary) == (len(stored), "web1", "1 to change, on 1 of 1 hosts")
    assert stage.blobs.names == ["plan"]
    assert (before, stage.target.read_text()) == ("before\n", "before\napplied\n")
    assert (applied.outcome, applied.plan) == (Outcome.COMPLETED, None)


async def test_an_apply_takes_the_plan_that_it_names(stage: Stage, tmp_path: Path) -> None:
    async with open_commands(tmp_path) as commands:
        plan = await made(stage, commands, PLAN)
        applied = await stage.attempt(commands, APPLY).run(**ASKED, plan=plan.sha256)
        unknown = await stage.attempt(commands, APPLY).run(**ASKED, plan="a" * 64)
    assert applied.outcome is Outcome.COMPLETED
    assert unknown.reason is Reason.HANDLER_ERROR
    assert stage.target.read_text() == "before\napplied\n"


async def test_other_inputs_and_a_target_that_has_changed_are_refused(stage: Stage, tmp_path: Path) -> None:
    async with open_commands(tmp_path) as commands:
        plan = await made(stage, commands)
        other = await stage.attempt(commands, PLAN_AND_APPLY, plan).run(**ASKED, limit="web1", variables={"a": 1})
        forged = await stage.attempt(commands, PLAN_AND_APPLY, plan._replace(inputs_sha256="b" * 64)).run(**ASKED)
        stage.target.write_text("drifted\n")
        drifted = await stage.attempt(commands, PLAN_AND_APPLY, plan).run(**ASKED)
    assert "changed since the plan: limit, variables" in told(other)
    assert "made from something else" in told(forged)
    assert "the target has changed since the plan" in told(drifted)
    assert drifted.reason is Reason.HANDLER_ERROR
    assert stage.target.read_text() == "drifted\n"


async def test_bytes_that_are_no_plan_are_not_applied(stage: Stage, tmp_path: Path) -> None:
    stage.blobs.stored["c" * 64] = b"{}"
    async with open_commands(tmp_path) as commands:
        finished = await stage.attempt(commands, APPLY).run(**ASKED, plan="c" * 64)
    assert "these bytes are not a plan" in told(finished)
    assert stage.target.read_text() == "before\n"


async def test_a_plan_whose_agent_dies_as_it_sends_it_is_sent_by_the_next(stage: Stage, tmp_path: Path) -> None:
    stage.blobs.gate.clear()
    async with open_commands(tmp_path) as commands:
        first = stage.attempt(commands, PLAN)
        run = asyncio.create_task(first.run(**ASKED))
        await stage.blobs.sending.wait()
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run
        place = commands.spawner_id
    assert first.context.stays
    stage.blobs.gate.set()
    async with open_commands(tmp_path) as commands:
        finished = await stage.attempt(commands, PLAN, task_id=first.task_id).resume(place)
    assert isinstance(finished, Finished)
    assert finished.plan is not None
    assert stage.blobs.stored[finished.plan.sha256]


async def test_a_stop_amid_the_sending_is_a_stop(stage: Stage, tmp_path: Path) -> None:
    stage.blobs.gate.clear()
    async with open_commands(tmp_path) as commands:
        attempt = stage.attempt(commands, PLAN)
        run = asyncio.create_task(attempt.run(**ASKED))
        await stage.blobs.sending.wait()
        attempt.context.ask_stop(Reason.CANCELLED_BY_CALLER, 1.0)
        finished = await run
    assert (finished.outcome, finished.reason) == (Outcome.CANCELLED, Reason.CANCELLED_BY_CALLER)
