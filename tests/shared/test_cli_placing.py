"""Where a task runs, beside whom and in whose turn: how it is asked for on the command line, and how it is shown."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import click
import pytest

from nodelink.cli.app import execute
from nodelink.cli.forms import task_form
from nodelink.cli.table import card_text
from nodelink.cli.task_card import card_of
from nodelink.cli.times import moment
from nodelink.client import Assignment, Task
from nodelink.task import OnConflict, Rate, TaskSpec, TaskStatus, WhenTaken
from tests.support.cli_shell import Shell
from tests.support.grpc_door import GrpcDoor, grpc_door

AGENT = "0190f3a2-7c1e-7abc-8def-0123456789ab"
NOW = 4_102_444_800_000
ASKED = (
    *("--agent", AGENT, "--label", "gpu", "--label", "env=prod,!spot", "--slots", "2"),
    *("--resource", "cpu=0.5", "--resource", "memory=8GiB", "--limit", "database=4", "--limit", "a=b=1"),
    *("--rate", "mail=10/60s", "--when-taken", "skip", "--workspace", "site", "--unique-key", "nightly"),
    *("--on-conflict", "use-existing", "--fairness-key", "blue", "--fairness-weight", "3"),
    *("--heartbeat-timeout", "90s"),
)
SHOWN = {
    "only_agent_id": AGENT,
    "labels": "env=prod,gpu,!spot",
    "slots": 2,
    "resources": {"cpu": 0.5, "memory": 8_589_934_592},
    "limits": {"a=b": 1, "database": 4},
    "rate": {"mail": "10/1m"},
    "when_taken": "skip",
    "workspace": "site",
    "unique_key": "nightly",
    "on_conflict": "use_existing",
    "fairness_key": "blue",
    "fairness_weight": 3,
    "heartbeat_timeout": "1m30s",
}
UNASKED: dict[str, object] = {
    **dict.fromkeys(("only_agent_id", "labels", "workspace", "unique_key", "fairness_key", "heartbeat_timeout")),
    "slots": 1,
    "resources": {},
    "limits": {},
    "rate": {},
    "when_taken": "wait",
    "on_conflict": "fail",
    "fairness_weight": 1,
}


@pytest.fixture
async def door() -> AsyncIterator[GrpcDoor]:
    async with grpc_door() as door:
        yield door


@pytest.fixture
def shell(door: GrpcDoor, tmp_path: Path) -> Shell:
    return Shell(tmp_path, str(door.address))


@pytest.mark.parametrize("begin", [("submit", "echo"), ("run", "--detach")], ids=" ".join)
@pytest.mark.parametrize("asked, shown", [(ASKED, SHOWN), ((), UNASKED)], ids=["much", "nothing"])
async def test_what_is_asked_is_shown(
    door: GrpcDoor, shell: Shell, begin: tuple[str, ...], asked: tuple[str, ...], shown: dict[str, object]
) -> None:
    await door.manager.workspaces.create("site", pool="default", mode="agent")
    command = ("true",) if begin[0] == "run" else ()
    said = await shell(*begin, *asked, "-o", "json", *command)
    task = json.loads(said.out)
    read = json.loads((await shell("tasks", "get", task["id"], "-o", "json")).out)

    assert {name: task[name] for name in shown} == {name: read[name] for name in shown} == shown
    assert task["priority"] == 50


def card(**fields: object) -> str:
    """A task with these fields as people read it."""
    spec = TaskSpec(type="echo", priority=50, **fields)  # type: ignore[arg-type]  # names of fields
    task = Task(id="t1", status=TaskStatus.PENDING, spec=spec, payload=b"", created_at=NOW, updated_at=NOW)
    return click.unstyle(card_text(card_of(task_form(task), NOW), now=NOW, width=None))


def test_the_card_tells_it_shortly() -> None:
    told = card(
        agent_id=AGENT,
        selector="!spot,gpu",
        slots=2,
        resources={"cpu": 500, "memory": 8_589_934_592_000},
        limits={"database": 4, "mail": 2},
        rates={"mail": Rate(10, 60_000)},
        when_taken=WhenTaken.REPLACE,
        on_conflict=OnConflict.USE_EXISTING,
        unique_key="nightly",
        fairness_key="blue",
        fairness_weight=3,
    ).splitlines()
    lines = {name: value for name, _, value in (line.partition(" ") for line in told)}

    assert {name: value.strip() for name, value in lines.items() if name in SHOWN} == {
        "only_agent_id": AGENT,
        "labels": "!spot,gpu",
        "slots": "2",
        "resources": "cpu=0.5, memory=8Gi",
        "limits": "database=4, mail=2",
        "rate": "mail=10/1m",
        "when_taken": "replace",
        "unique_key": "nightly",
        "on_conflict": "use_existing",
        "fairness_key": "blue",
        "fairness_weight": "3",
    }


def test_the_card_leaves_out_what_goes_without_saying() -> None:
    assert not {line.split()[0] for line in card().splitlines()} & set(SHOWN)


@pytest.mark.parametrize(
    "reason, words",
    [
        ("no_pool", "no agent of its pool is known"),
        ("no_agent_online", "no agent that fits is online"),
        ("none_free", "no agent that fits is free"),
        ("of_the_future", "of_the_future"),
    ],
)
def test_the_card_tells_how_the_tries_to_give_it_to_an_agent_stand(reason: str, words: str) -> None:
    task = Task(
        id="t1",
        status=TaskStatus.PENDING,
        spec=TaskSpec(type="echo", priority=50),
        payload=b"",
        created_at=NOW,
        updated_at=NOW,
        assignment=Assignment(3, NOW + 5_000, reason),
    )
    form = task_form(task)
    next_at = moment(NOW + 5_000)

    assert form["assignment"] == {"tries": 3, "next_at": next_at, "reason": reason}
    assert card_of(form, NOW)["assignment"] == f"try 3, {words}, next look at {next_at} (in 5s)"


def test_the_card_of_what_waits_for_no_agent_tells_of_no_tries() -> None:
    assert "assignment" not in card()


@pytest.mark.parametrize(
    "option, words",
    [
        (("--agent", ""), "agent_id: must not be empty"),
        (("--label", "a in (b)"), "labels: 'a in (b)' is not name=value"),
        (("--label", ""), "labels: must not be empty"),
        (("--slots", "0"), "0 is not in the range"),
        (("--resource", "cpu"), "'cpu' is not of the form NAME=AMOUNT"),
        (("--resource", "cpu=much"), "resources.cpu: 'much' is not a quantity"),
        (("--limit", "database"), "'database' is not of the form KEY=N"),
        (("--limit", "database=many"), "'database=many' is not of the form KEY=N"),
        (("--limit", "database=0"), "limits.database: must be a whole number from 1 on"),
        (("--rate", "mail=10"), "rate.mail: '10' is not a rate"),
        (("--rate", "=10/1m"), "'=10/1m' is not of the form KEY=N/DURATION"),
        (("--when-taken", "skp"), "Did you mean 'skip'?"),
        (("--on-conflict", "use_existing"), "'use_existing' is not one of"),
        (("--workspace", ""), "workspace: must not be empty"),
        (("--heartbeat-timeout", "soon"), "heartbeat_timeout: 'soon' is not a duration"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_is_wrong_is_told_in_a_line(
    option: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code = execute(["submit", "echo", *option])
    said = capsys.readouterr()

    assert (code, said.out, said.err.count("\n")) == (2, "", 1)
    assert words in said.err


async def test_what_the_server_refuses_is_told_by_its_field(shell: Shell) -> None:
    said = await shell("submit", "echo", "--agent", "build-1", "--when-taken", "skip", "--fairness-weight", "2")

    assert (said.code, said.out) == (2, b"")
    assert "agent_id: 'build-1' is not the id of an agent" in said.err
    assert "when_taken: needs a lock" in said.err
    assert "fairness_weight: needs a fairness_key" in said.err


async def test_a_unique_key_that_is_taken_is_a_conflict(shell: Shell) -> None:
    first = (await shell("submit", "echo", "--unique-key", "nightly")).out.decode().strip()
    said = await shell("submit", "echo", "--unique-key", "nightly")

    assert (said.code, said.out) == (5, b"")
    assert first in said.err


def test_every_option_is_told_by_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["submit", "--help"]) == 0
    said = capsys.readouterr().out
    assert not [option for option in ASKED if option.startswith("--") and f"\n  {option} " not in said]
