"""Plans for tests: agents that make them, and tasks that want them."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from nodelink.plan import APPLY, PLAN, PLAN_AND_APPLY, Plan
from nodelink.task import AttemptRef, Execution, Finished, Outcome, Submission
from nodelink_server.core.approvals import Named
from nodelink_server.core.assembly import Options
from tests.support.core_parts import Core, Database, make_submission, running_core
from tests.support.fake_agent import FakeAgent

HANDLERS = {
    "echo": Execution.REPLAYABLE,
    "shell": Execution.ONCE,
    PLAN: Execution.REPLAYABLE,
    APPLY: Execution.EXCLUSIVE,
    PLAN_AND_APPLY: Execution.EXCLUSIVE,
}


def sha256(text: str) -> str:
    """The digest of a text."""
    return hashlib.sha256(text.encode()).hexdigest()


def make_plan(name: str = "plan", *, inputs: str = "inputs", target: str = "site") -> Plan:
    """A plan with the digests of these names."""
    return Plan(sha256(name), 100, sha256(inputs), target, "one to add")


PLAN_A = make_plan()
NAMED = Named(PLAN_A.sha256)
PLANNED = Finished(outcome=Outcome.COMPLETED, plan=PLAN_A)


def make_change(**fields: Any) -> Submission:
    """A task that plans, and applies what is approved."""
    return make_submission(PLAN_AND_APPLY, **fields)


@asynccontextmanager
async def planning(
    database: Database | None = None, *, slots: int = 5, options: Options | None = None, **hello: Any
) -> AsyncIterator[tuple[Core, FakeAgent]]:
    """A core with one agent that can do everything."""
    async with running_core(database, options=options) as core:
        agent = FakeAgent(core, slots=slots, handlers=HANDLERS)
        await agent.connect(**hello)
        yield core, agent


async def make_planned(core: Core, agent: FakeAgent, **fields: Any) -> tuple[str, AttemptRef]:
    """A task whose plan is made and waits for an approval, and the attempt that made it."""
    before = len(agent.tasks)
    [task_id] = await core.submit(make_change(**fields))
    request = await agent.task(before)
    agent.say(request.ref, PLANNED)
    await agent.acked(request.ref)
    agent.give_credit(len(agent.acks))
    return task_id, request.ref


async def make_applying(core: Core, agent: FakeAgent, **fields: Any) -> tuple[str, AttemptRef]:
    """A task that applies its plan, and the attempt that does."""
    task_id, _ = await make_planned(core, agent, **fields)
    before = len(agent.tasks)
    await core.manager.approve(task_id, NAMED)
    return task_id, (await agent.task(before)).ref
