"""A process is killed at every named place, one after the other, under a small load; and every promise is kept.

The places of a group share a stage, so that each costs one start: a process that has died at one is started again with
the next one armed, and takes up what the one before has left.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from nodelink import failpoints
from nodelink.failpoints import FAILPOINTS, VARIABLE, UnknownFailpoint
from tests.faults.load import Load, Plan
from tests.faults.notes import Notes
from tests.faults.rules import judge
from tests.faults.runs import load_on, until_quiet
from tests.faults.stage import Stage, died, stage_in
from tests.faults.test_blob_failpoints import PLACES
from tests.support.processes import POLL_SECONDS, ROOT, is_alive, refusal, until

HIT_SECONDS = 120.0
CLEANED_SECONDS = 5.0
LASTING = 40
BULKY, LABELS = 20, 60

GROUPS: Mapping[str, Sequence[str]] = {
    "server accepts": (
        "server.submit.before_commit",
        "server.submit.after_commit",
        "server.submit.before_answer",
        "server.batch.before_answer",
        "server.grant.before_commit",
        "server.grant.after_commit",
        "server.writer.before_commit",
        "server.writer.after_commit",
    ),
    "server settles": (
        "server.started.before_commit",
        "server.started.after_commit",
        "server.result.before_commit",
        "server.result.after_commit",
        "server.cancel.before_commit",
        "server.cancel.after_commit",
        "server.cancel.before_answer",
        "server.tick.before_commit",
        "server.tick.after_commit",
    ),
    "server hears": (
        "server.hello.received",
        "server.hello.before_commit",
        "server.hello.after_commit",
        "server.accepted.received",
        "server.finished.received",
    ),
    "server listens": (
        "server.heartbeat.received",
        "server.logs.received",
        "server.logs.before_append",
        "server.logs.after_append",
    ),
    "server tells": (
        "server.welcome.before_write",
        "server.welcome.after_write",
        "server.tasks.before_write",
        "server.tasks.after_write",
        "server.starts.before_write",
        "server.starts.after_write",
    ),
    "server answers": (
        "server.cancels.before_write",
        "server.cancels.after_write",
        "server.acks.before_write",
        "server.acks.after_write",
    ),
    "server begins and ends": (
        "server.boot.opened",
        "server.boot.counted",
        "server.boot.restored",
        "server.sweep.begun",
        "server.sweep.between",
        "server.drain.begun",
    ),
    "agent writes down": (
        "agent.journal.before_write",
        "agent.journal.written",
        "agent.journal.synced",
        "agent.order.before",
        "agent.order.after",
        "agent.end.known",
        "agent.restore.before",
        "agent.restore.after",
        "agent.compaction.written",
        "agent.compaction.renamed",
    ),
    "agent hears": (
        "agent.welcome.received",
        "agent.tasks.received",
        "agent.starts.received",
        "agent.cancels.received",
        "agent.acks.received",
    ),
    "agent tells": (
        "agent.hello.before_write",
        "agent.hello.after_write",
        "agent.accepted.before_write",
        "agent.accepted.after_write",
        "agent.results.before_write",
        "agent.results.after_write",
        "agent.logs.after_write",
        "agent.heartbeat.after_write",
    ),
    "spawner": (
        "spawner.order.read",
        "spawner.launch.before",
        "spawner.launch.after",
        "spawner.launch.written",
        "spawner.exit.seen",
        "spawner.end.written",
        "spawner.end.synced",
        "spawner.adopted",
    ),
}

slow = pytest.mark.slow


def test_every_place_is_in_a_group_and_in_the_code() -> None:
    grouped = [name for names in GROUPS.values() for name in names]
    grouped += {name.partition(":")[0] for names in PLACES.values() for name in names}
    assert sorted(grouped) == sorted(FAILPOINTS)
    assert len(FAILPOINTS) >= 60
    patterns = list(_passed(["nodelink_server", "nodelink_agent"]))
    assert not [pattern for pattern in patterns if not any(re.fullmatch(pattern, name) for name in FAILPOINTS)]
    assert not [name for name in FAILPOINTS if not any(re.fullmatch(pattern, name) for pattern in patterns)]


def test_without_the_variable_no_place_is_the_end() -> None:
    failpoints.arm({})

    assert not failpoints.is_armed()
    for name in FAILPOINTS:
        failpoints.hit(name)


@pytest.mark.parametrize("text", ["server.nowhere", "server.tick.after_commit:0", "server.tick.after_commit:x"])
def test_a_place_that_does_not_exist_is_refused_with_those_that_do(text: str) -> None:
    with pytest.raises(UnknownFailpoint, match=re.escape("server.tick.after_commit: ")):
        failpoints.arm({VARIABLE: text})


@pytest.mark.parametrize("module", ["nodelink_server", "nodelink_agent"])
async def test_a_service_does_not_start_with_an_unknown_place(module: str, tmp_path: Path) -> None:
    code, words = await refusal(module, "--data-dir", str(tmp_path), cwd=tmp_path, env={VARIABLE: "nowhere"})

    assert code == 78
    assert all(name in words for name in FAILPOINTS)


async def test_the_place_is_the_end_at_the_pass_that_was_asked_for(tmp_path: Path) -> None:
    script = (
        "import os; from nodelink import failpoints as f; f.arm(os.environ)\n"
        "for n in range(5): print(n, flush=True); f.hit('agent.end.known')"
    )
    process = await asyncio.create_subprocess_exec(
        "python3",
        "-c",
        script,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", VARIABLE: "agent.end.known:3"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    said, complained = await process.communicate()

    assert (process.returncode, said.split(), complained) == (
        -9,
        [b"0", b"1", b"2"],
        b"failpoint agent.end.known reached\n",
    )


@slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("group", GROUPS)
async def test_killed_at_each_place_it_keeps_every_promise(group: str, tmp_path: Path) -> None:
    notes = Notes(tmp_path)
    async with stage_in(tmp_path, notes, agents=1) as stage, load_on(stage, notes, 0, may_be_removed=True) as load:
        async with _calls(stage, notes, load) as ask:
            for name in GROUPS[group]:
                notes.write("failpoint", name=name)
                await _DIE[name.partition(".")[0]](stage, name, ask)
            await _whole(stage)
        await stage.close_down()
    notes.close()
    verdict = await asyncio.to_thread(judge, tmp_path)

    assert not verdict.violations, "\n".join(map(str, verdict.violations))


# --- callers


class Ask:
    """Callers that ask for a few tasks of each kind, and see them to their end while the test goes on."""

    def __init__(self, notes: Notes, load: Load, group: asyncio.TaskGroup) -> None:
        self.notes = notes
        self.load = load
        self._group = group

    def mixture(self) -> None:
        """Something of everything."""
        plan = self.load.plan
        kinds = ("replayable", "once", "exclusive", "echo")
        plans = [_quick(plan(kind)) for kind in kinds]
        self._group.create_task(self.load.some(*plans, _stopped(plan("replayable")), _stopped(plan("once"))))
        self._group.create_task(self.load.batch([_quick(plan("echo")), _quick(plan("once"))]))

    def bulky(self) -> None:
        """So much for the journal that it is worth writing it anew once that is over."""
        plans = [self.load.plan("replayable") for _ in range(BULKY)]
        self._group.create_task(
            self.load.some(*(Plan(token=p.token, type=p.type, execution=p.execution, bulk=LABELS) for p in plans))
        )

    def long(self) -> None:
        """Commands that outlive what happens now."""
        plans = [_lasting(self.load.plan(kind)) for kind in ("replayable", "once", "exclusive")]
        self._group.create_task(self.load.some(*plans))


def _quick(plan: Plan) -> Plan:
    ticks = 2 if plan.type == "shell" else 0
    return Plan(token=plan.token, type=plan.type, execution=plan.execution, lock=plan.lock, ticks=ticks, code=plan.code)


def _lasting(plan: Plan) -> Plan:
    return Plan(token=plan.token, type=plan.type, execution=plan.execution, ticks=LASTING)


def _stopped(plan: Plan) -> Plan:
    return Plan(token=plan.token, type=plan.type, execution=plan.execution, ticks=60, cancel_running=True)


@asynccontextmanager
async def _calls(stage: Stage, notes: Notes, load: Load) -> AsyncIterator[Ask]:
    """Ask while this lasts; at its end all that was asked for must be over soon."""

    async def calling() -> None:
        async with asyncio.TaskGroup() as group:
            ready.set_result(Ask(notes, load, group))
            await over.wait()

    ready: asyncio.Future[Ask] = asyncio.get_running_loop().create_future()
    over = asyncio.Event()
    task = asyncio.create_task(calling())
    try:
        yield await ready
        over.set()
        await until_quiet(stage, notes, task)
    finally:
        task.cancel()
        await asyncio.wait({task})


# --- dying


async def _die_server(stage: Stage, name: str, ask: Ask) -> None:
    if not stage.server.has_ended:
        await stage.kill_server()
    await stage.start_server_to_die(name)
    ask.mixture()
    await _provoke_server(stage, name, ask)
    assert await died(stage.server, HIT_SECONDS), f"the server never came to {name}"
    stage.server_died()


async def _provoke_server(stage: Stage, name: str, ask: Ask) -> None:
    if name == "server.drain.begun":
        stage.server.terminate()
    elif name.startswith("server.sweep"):
        await _sweep(stage, ask)


async def _sweep(stage: Stage, ask: Ask) -> None:
    """Have all finished tasks removed, and write down that they may be."""
    async with httpx.AsyncClient(base_url=stage.server.http, timeout=CLEANED_SECONDS) as http:
        async with asyncio.timeout(HIT_SECONDS):
            while not await _completed(http):  # noqa: ASYNC110 - asked of another process
                await asyncio.sleep(POLL_SECONDS)
        ask.notes.write("swept", tokens=[f"t{number + 1}" for number in range(ask.load.asked)])
        with pytest.raises(httpx.TransportError):
            await http.post("/api/v1/tasks/cleanup", json={"older_than": "0s"})


async def _completed(http: httpx.AsyncClient) -> bool:
    answer = await http.get("/api/v1/tasks", params={"status": "completed"})
    return bool(answer.json()["tasks"])


async def _die_agent(stage: Stage, name: str, ask: Ask) -> None:
    [station] = stage.stations
    await _whole_server(stage)
    if station.agent is not None and not station.agent.has_ended:
        ask.long()
        await asyncio.sleep(0.3)
        await stage.kill_agent(station)
    await stage.start_agent_to_die(station, name)
    ask.mixture()
    if name.startswith("agent.compaction"):
        ask.bulky()
    assert station.agent is not None
    assert await died(station.agent, HIT_SECONDS), f"the agent never came to {name}"
    stage.agent_died(station)


async def _die_spawner(stage: Stage, name: str, ask: Ask) -> None:
    [station] = stage.stations
    await _whole_server(stage)
    if station.agent is not None and not station.agent.has_ended:
        await stage.kill_agent(station)
    await stage.start_agent(station, name)
    assert station.agent is not None
    spawner = station.agent.spawner
    ask.long()
    ask.mixture()
    if name == "spawner.adopted":
        await until(lambda: _began(stage), "a command that lasts", HIT_SECONDS)
        await stage.kill_agent(station)
        await stage.start_agent(station)
    await until(lambda: not is_alive(spawner) or None, f"the spawner at {name}", HIT_SECONDS)
    stage.spawner_died(station, spawner)


def _began(stage: Stage) -> bool | None:
    return any(effect.ticks == LASTING and effect.code is None for effect in stage.effects.read()) or None


async def _whole(stage: Stage) -> None:
    """Everything runs again, and nothing of it is to die."""
    await _whole_server(stage)
    await _fresh_agents(stage)


async def _fresh_agents(stage: Stage) -> None:
    for station in stage.stations:
        if station.agent is not None and not station.agent.has_ended:
            await stage.kill_agent(station)
        await stage.start_agent(station)


async def _whole_server(stage: Stage) -> None:
    if stage.server.has_ended:
        await stage.start_server()


Die = Callable[[Stage, str, Ask], Awaitable[None]]
_DIE: Mapping[str, Die] = {"server": _die_server, "agent": _die_agent, "spawner": _die_spawner}


def _passed(packages: Sequence[str]) -> Iterator[str]:
    """What is passed somewhere in the code, as patterns of names: some are put together of what is looked at."""
    for package in packages:
        for path in (ROOT / package).rglob("*.py"):
            for is_made, name in re.findall(r'hit\((f?)"([a-z_.{}\[\]A-Z]+)"', path.read_text()):
                yield (
                    re.sub(r"\{[^}]*\}", "[a-z_]+", re.sub(r"\.(?![^{]*\})", r"\\.", name))
                    if is_made
                    else re.escape(name)
                )
