"""Why a task waits: in each situation the answer names the true cause, and what would help."""

from __future__ import annotations

import asyncio

import pytest

from nodelink.errors import AgentNotFound, TaskNotFound
from nodelink.task import Declined, Execution, Finished, Outcome, Reason, RetryPolicy, Started, TaskStatus
from nodelink_server.core.assembly import Options
from nodelink_server.core.clock import moment_text
from nodelink_server.core.leases import Patience
from nodelink_server.core.why import MOST_AGENTS, TaskWhy
from tests.support.core_parts import COMPLETED, Core, eventually, make_submission, running_core
from tests.support.fake_agent import FakeAgent


async def _agent(core: Core, agent_id: str = "a1", *, slots: int = 1, **hello: object) -> FakeAgent:
    agent = FakeAgent(core, agent_id=agent_id, slots=slots)
    await agent.connect(**hello)  # type: ignore[arg-type]  # names of fields
    return agent


async def _why(core: Core, **spec: object) -> TaskWhy:
    """Why a new task stands as it does."""
    [task_id] = await core.submit(make_submission(**spec))  # type: ignore[arg-type]  # names of fields
    await asyncio.sleep(0.1)
    return await core.manager.why(task_id)


async def test_nobody_was_ever_there() -> None:
    async with running_core() as core:
        why = await _why(core)
        assert why.summary == "no agent of pool 'default' was ever connected"
        assert (why.agents_total, why.ahead) == (0, 0)
        assert why.remedies == ("an agent of pool 'default' that handles 'echo'",)


async def test_agents_are_of_another_pool() -> None:
    async with running_core() as core:
        await _agent(core)
        why = await _why(core, pool="gpu")
        assert "no agent of pool 'gpu'" in why.summary
        assert why.ruled_out == {"pool": 1}
        assert why.agents[0].verdicts[-1].message == "is of pool 'default'"


async def test_no_agent_handles_the_type() -> None:
    async with running_core() as core:
        agent = FakeAgent(core, handlers={"echo": Execution.REPLAYABLE})
        await agent.connect()
        why = await _why(core, type="shell", payload=b'{"command": "true"}')
        assert why.summary == "no agent of pool 'default' handles 'shell'"
        assert why.ruled_out == {"type": 1}


async def test_the_agent_is_away() -> None:
    async with running_core() as core:
        agent = await _agent(core)
        await agent.hang_up(left=True)
        why = await _why(core)
        assert why.summary == "no agent that could run it is connected"
        assert why.ruled_out == {"connected": 1}
        assert why.remedies == ("the return of an agent that could run it",)


async def test_every_slot_is_taken() -> None:
    async with running_core() as core:
        agent = await _agent(core)
        await core.submit()
        running = (await agent.task()).ref
        await core.submit()
        why = await _why(core)
        assert why.summary == "waits for a free slot, behind 1 other(s)"
        assert (why.ahead, why.ruled_out, why.starts_in) == (1, {"slots": 1}, None)

        agent.say(running, Finished(outcome=Outcome.COMPLETED, run_seconds=3.0))
        await agent.acked(running)
        assert (await core.manager.why(why.task.id)).starts_in == pytest.approx(6.0)


@pytest.mark.parametrize("execution", list(Execution))
async def test_its_lock_is_held(execution: Execution) -> None:
    async with running_core() as core:
        agent = await _agent(core, slots=5)
        [holder] = await core.submit(make_submission(lock="db"))
        await agent.task()
        why = await _why(core, lock="db", execution=execution)
        assert why.summary == f"waits: lock 'db' is held by task {holder}"
        assert why.task.reason is Reason.LOCK
        assert [verdict.holds for verdict in why.verdicts] == [True, False]
        assert why.agents[0].fits


async def test_the_scheduler_is_paused() -> None:
    async with running_core() as core:
        await _agent(core)
        await core.manager.pause("scheduler", reason="an upgrade")
        why = await _why(core)
        assert why.summary == "waits: the scheduler is paused (an upgrade)"
        assert why.remedies == ("nodelink scheduler resume",)
        assert why.task.reason is Reason.PAUSED


async def test_its_time_has_not_come() -> None:
    async with running_core() as core:
        why = await _why(core, delay_ms=60_000)
        assert why.summary == "is due in 60 seconds"
        assert why.ahead is None


async def test_it_waits_for_its_next_try() -> None:
    async with running_core() as core:
        agent = await _agent(core)
        [task_id] = await core.submit(make_submission(retry=RetryPolicy(initial_ms=100_000)))
        ref = (await agent.task()).ref
        agent.say(ref, Finished(outcome=Outcome.FAILED, exit_code=3))
        await agent.acked(ref)
        why = await core.manager.why(task_id)
        assert why.summary == "waits for its next try: try 1 of 3 failed: exit code 3"


async def test_the_agent_is_cordoned() -> None:
    async with running_core() as core:
        agent = await _agent(core)
        core.manager.agents.cordon(agent.agent_id, "it fails to start anything")
        why = await _why(core)
        assert why.summary == "every agent that could run it is cordoned"
        assert why.agents[0].verdicts[-1].message == "is cordoned: it fails to start anything"
        assert "undrain" in why.remedies[0]
        assert core.manager.agent_why("a1").summary == "is given nothing: is cordoned: it fails to start anything"


async def test_the_agent_is_draining() -> None:
    async with running_core() as core:
        agent = await _agent(core)
        agent.beat(draining=True)
        why = await _why(core)
        assert why.summary == "every agent that could run it is draining"


async def test_a_person_wants_the_agent_to_be_empty() -> None:
    async with running_core() as core:
        agent = await _agent(core)
        await core.manager.drain_agent("a1", note="a new disk", deadline_ms=90_000)
        since = f"is drained since {moment_text(core.clock.now())} (a new disk)"
        why = await _why(core)
        assert why.summary == "every agent that could run it is drained"
        assert why.remedies == ("nodelink agents undrain a1",)
        message = f"{since}; what still runs there is stopped in 1m30s"
        assert (why.agents[0].verdicts[-1].condition, why.agents[0].verdicts[-1].message) == ("drain", message)
        assert core.manager.agent_why("a1").summary == f"is given nothing: {message}"

        await core.manager.drain_agent("a1")
        assert core.manager.agent_why("a1").summary == f"is given nothing: {since.removesuffix(' (a new disk)')}"
        await agent.hang_up(left=True)
        await eventually(lambda: _is_away(core))
        verdicts = {one.condition: one.holds for one in core.manager.agent_why("a1").verdicts}
        assert (verdicts["connected"], verdicts["drain"]) == (False, False)


async def _is_away(core: Core) -> bool:
    return core.manager.agents.session("a1") is None


async def test_the_agent_that_runs_it_is_to_be_empty() -> None:
    async with running_core() as core:
        agent = await _agent(core)
        [task_id] = await core.submit(make_submission())
        agent.say((await agent.task()).ref, Started())
        await asyncio.sleep(0.1)
        await core.manager.drain_agent("a1", deadline_ms=1_000)
        since = moment_text(core.clock.now())
        before = await core.manager.why(task_id)
        await asyncio.sleep(2)
        behind = await core.manager.why(task_id)
        for why, words in ((before, "stopped in 1s"), (behind, "being stopped")):
            drained = f"is drained since {since}; what still runs there is {words}"
            assert why.summary == f"runs on agent a1, attempt 1, which is connected and {drained}"


async def test_the_agent_is_too_old_for_an_exclusive_task() -> None:
    async with running_core() as core:
        await _agent(core, protocol=1)
        why = await _why(core, execution=Execution.EXCLUSIVE)
        assert why.summary == "every agent that could run it is too old for exclusive tasks"
        assert not why.agents[0].fits


async def test_the_agent_has_declined_the_type_and_another_one_is_away() -> None:
    async with running_core() as core:
        away = await _agent(core, "away")
        await away.hang_up(left=True)
        agent = await _agent(core, slots=2)
        [task_id] = await core.submit()
        agent.say((await agent.task()).ref, Declined(message="not here"))
        await eventually(lambda: _is(core, task_id, TaskStatus.PENDING))
        why = await core.manager.why(task_id)
        assert why.summary == "every agent that could run it has declined its type"
        assert why.ruled_out == {"connected": 1, "declined": 1}
        assert core.manager.agent_why("a1").summary == "nothing waits that it could run (pool 'default', types shell)"


async def test_what_runs_and_what_has_ended_says_so() -> None:
    async with running_core() as core:
        agent = await _agent(core)
        [task_id] = await core.submit()
        ref = (await agent.task()).ref
        assert (await core.manager.why(task_id)).summary.startswith("was sent to be run on agent a1, attempt 1")
        agent.say(ref, COMPLETED)
        await agent.acked(ref)
        assert (await core.manager.why(task_id)).summary == "has ended: completed"


async def test_what_is_in_doubt_says_how_to_end_that() -> None:
    options = Options(patience=Patience(unknown_after=5_000, grace=1_000))
    async with running_core(options=options) as core:
        agent = await _agent(core)
        [task_id] = await core.submit(make_submission(execution=Execution.EXCLUSIVE))
        await agent.task()
        await agent.hang_up()
        await eventually(lambda: _is(core, task_id, TaskStatus.UNKNOWN))
        why = await core.manager.why(task_id)
        assert why.summary.startswith("is in doubt on agent a1")
        assert f"nodelink tasks resolve {task_id} --as" in why.remedies[0]


async def test_an_agent_says_why_it_has_nothing_to_do() -> None:
    async with running_core() as core:
        agent = await _agent(core)
        assert core.manager.agent_why("a1").summary.startswith("nothing waits that it could run (pool 'default'")
        await core.submit()
        await agent.task()
        await core.submit()
        why = core.manager.agent_why("a1")
        assert (why.summary, why.waiting) == ("is given nothing: its 1 slot(s) are taken", 1)
        await agent.hang_up()
        assert core.manager.agent_why("a1").summary == "is given nothing: is not connected"
        with pytest.raises(AgentNotFound):
            core.manager.agent_why("nobody")


async def test_of_many_agents_those_are_shown_that_come_closest() -> None:
    async with running_core() as core:
        await asyncio.gather(*[_agent(core, f"b{number}", pool="other") for number in range(MOST_AGENTS)])
        busy = await _agent(core, "z")
        await core.submit()
        await busy.task()
        why = await _why(core)
        assert (why.agents_total, len(why.agents)) == (MOST_AGENTS + 1, MOST_AGENTS)
        assert why.agents[0].agent_id == "z"
        assert why.ruled_out == {"pool": MOST_AGENTS, "slots": 1}


async def test_an_unknown_task_has_no_why() -> None:
    async with running_core() as core:
        with pytest.raises(TaskNotFound):
            await core.manager.why("nothing")


async def _is(core: Core, task_id: str, status: TaskStatus) -> bool:
    return await core.status(task_id) is status
