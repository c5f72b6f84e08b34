"""Plans that a tool keeps in a file of its own: made, and applied from it, with a small tool of the test's own."""

from __future__ import annotations

import json
import stat
import subprocess
import tarfile
from io import BytesIO
from pathlib import Path

import pytest

from nodelink.errors import InvalidTask
from nodelink.plan_payload import Archive, PlanPayload
from nodelink_agent.handlers.plans import step_command
from nodelink_agent.tools.base_state import BaseState, new_state
from nodelink_agent.tools.order import APPROVED, PLAN, REFUSED
from nodelink_agent.tools.plan_file import PlanFile, PlanUnreadable, packed, read_plan_file
from nodelink_agent.tools.preparing import ARCHIVE, prepare
from nodelink_agent.tools.runner import ToolFiles
from nodelink_agent.tools.step import EX_REFUSED
from nodelink_agent.tools.table import RUNNERS

TOOL = """#!/bin/sh
echo "$@" >> {0}/calls
case "$1" in
  init) exit $(cat {0}/init 2>/dev/null || echo 0);;
  plan) for word; do case "$word" in -out=*) echo made > "${{word#-out=}}";; esac; done
        cat {0}/errors >&2 2>/dev/null; exit $(cat {0}/plan 2>/dev/null || echo 2);;
  show) echo "Plan: 1 to add, 0 to change, 0 to destroy.";;
  apply) for word; do file=$word; done; cat "$file" >> {0}/target;;
esac
"""
CONFIGURATION = PlanPayload(tool="terraform", source="# nothing\n", variables={"key": "s3cret"})


@pytest.fixture
def tool(tmp_path: Path) -> Path:
    """The tool. What it is called with is in `calls` beside it, and files there say how it ends."""
    tool = tmp_path / "tool"
    tool.write_text(TOOL.format(tmp_path))
    tool.chmod(0o700)
    return tool


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A step's directory."""
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


def base(work: Path, state: str = "") -> BaseState:
    """The state of a workspace."""
    (work / "state").write_text(state)
    return BaseState(workspace="site", fetched=work / "state", sha256="5" * 64 if state else "", etag="e")


def step(work: Path, tool: Path, *, applies: bool = False) -> int:
    """The exit code of one that is laid out anew."""
    lay_out(work, tool, applies=applies)
    return subprocess.run(step_command(work), check=False, capture_output=True, timeout=30).returncode


def lay_out(work: Path, tool: Path, *, applies: bool = False, payload: PlanPayload = CONFIGURATION) -> ToolFiles:
    runner = RUNNERS["terraform"]
    return prepare(work, runner, payload, program=str(tool), applies=applies, base=base(work, "{}"))


def calls(tool: Path) -> list[str]:
    return [line.split()[0] for line in (tool.parent / "calls").read_text().splitlines()]


def test_a_plan_holds_the_file_of_the_tool_and_what_it_shows(work: Path, tool: Path) -> None:
    assert step(work, tool) == 0
    plan = read_plan_file((work / PLAN).read_bytes())
    assert plan.unpacked() == b"made\n"
    assert plan.output == "Plan: 1 to add, 0 to change, 0 to destroy.\n"
    assert (plan.target, plan.summary) == ("site", "1 to add, 0 to change, 0 to destroy")
    assert (plan.tool, plan.state) == ("terraform", "5" * 64)
    assert calls(tool) == ["init", "plan", "show"]
    assert not (work / "variables.json").exists()
    assert not (work / "plan.out").exists()


def test_what_is_applied_is_the_file_of_the_plan(work: Path, tool: Path) -> None:
    step(work, tool)
    (work / PLAN).rename(work / APPROVED)
    assert step(work, tool, applies=True) == 0
    assert (tool.parent / "target").read_text() == "made\n"
    assert calls(tool)[3:] == ["init", "apply"]


@pytest.mark.parametrize("file", ["", "%%%", 7])
def test_a_plan_without_a_whole_file_is_not_applied(work: Path, tool: Path, file: object) -> None:
    step(work, tool)
    words = json.loads((work / PLAN).read_bytes())
    (work / APPROVED).write_text(json.dumps({**words, "file": file}))
    assert step(work, tool, applies=True) == EX_REFUSED
    assert "nothing was applied: the tool's own plan" in (work / REFUSED).read_text()
    assert not (tool.parent / "target").exists()


def test_a_tool_that_cannot_be_made_ready_applies_nothing(work: Path, tool: Path) -> None:
    step(work, tool)
    (work / PLAN).rename(work / APPROVED)
    (tool.parent / "init").write_text("3")
    assert step(work, tool, applies=True) == EX_REFUSED
    assert "could not be made ready: it ended with exit code 3" in (work / REFUSED).read_text()
    assert not (tool.parent / "target").exists()


def test_a_check_that_fails_makes_no_plan(work: Path, tool: Path) -> None:
    (tool.parent / "plan").write_text("1")
    assert step(work, tool) == 1
    assert not (work / PLAN).exists()


def test_a_source_with_a_backend_of_its_own_is_refused(work: Path, tool: Path) -> None:
    (tool.parent / "plan").write_text("1")
    (tool.parent / "errors").write_text("Error: Backend initialization required\n")
    assert step(work, tool) == EX_REFUSED
    assert "names a backend of its own" in (work / REFUSED).read_text()


def test_a_plan_says_so_when_there_is_nothing_to_do(work: Path, tool: Path) -> None:
    tool.write_text(tool.read_text().replace("Plan: 1", "Nothing: 1"))
    (tool.parent / "plan").write_text("0")
    assert step(work, tool) == 0
    assert read_plan_file((work / PLAN).read_bytes()).summary == "no changes"


def test_nothing_secret_is_among_the_words_and_nobody_else_may_read_it(work: Path, tool: Path) -> None:
    files = lay_out(work, tool, applies=True)
    order = (work / "order.json").read_text()
    assert "s3cret" not in order + (work / "state.json").read_text()
    assert json.loads(order)["secrets"] == [str(files.variables), str(files.plan)]
    for path in (files.variables, files.state):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_nothing_of_the_machine_decides_what_a_plan_says(work: Path, tool: Path) -> None:
    files = lay_out(work, tool)
    environment = RUNNERS["terraform"].environment(files)
    assert environment["TF_CLI_CONFIG_FILE"] == str(files.settings)
    assert files.settings.read_text() == ""
    assert (environment["CHECKPOINT_DISABLE"], environment["TF_IN_AUTOMATION"]) == ("1", "1")
    assert environment["TF_DATA_DIR"].startswith(str(work))


def archive(work: Path, *names: str) -> None:
    with tarfile.open(work / ARCHIVE, "w:gz") as tar:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = 3
            tar.addfile(member, BytesIO(b"{ }"))


def test_a_state_within_an_archive_is_not_used(work: Path, tool: Path) -> None:
    archive(work, "envs/main.tf", "envs/terraform.tfstate")
    payload = PlanPayload(tool="terraform", source=Archive(sha256="", directory="envs"))
    files = lay_out(work, tool, payload=payload)
    assert files.place == work / "source" / "envs"
    assert files.state.read_text() == "{}"


def test_a_directory_that_is_not_in_the_archive_is_refused(work: Path, tool: Path) -> None:
    archive(work, "main.tf")
    payload = PlanPayload(tool="terraform", source=Archive(sha256="", directory="main.tf"))
    with pytest.raises(InvalidTask) as refusal:
        lay_out(work, tool, payload=payload)
    assert [error.field for error in refusal.value.errors] == ["source.directory"]


def test_a_plan_with_a_file_comes_back_from_its_bytes() -> None:
    plan = PlanFile(tool="tofu", inputs={}, output="", target="", summary="", file=packed(b"\0PK"), state="5" * 64)
    assert read_plan_file(plan.to_bytes()) == plan
    assert plan.unpacked() == b"\0PK"


def test_a_plan_without_a_file_is_as_agents_have_it_that_know_of_none() -> None:
    plan = PlanFile(tool="ansible", inputs={}, output="", target="", summary="")
    assert json.loads(plan.to_bytes()).keys() == {"format", "tool", "inputs", "output", "target", "summary"}
    with pytest.raises(PlanUnreadable):
        plan.unpacked()


def test_only_a_state_that_is_another_one_is_new(work: Path, tmp_path: Path) -> None:
    path = tmp_path / "terraform.tfstate"
    none = BaseState(workspace="site", fetched=work / "state")
    assert new_state(work) is None
    none.note(work, path)
    assert new_state(work) is None
    path.write_text('{"serial": 1}')
    found = new_state(work)
    assert found is not None
    assert (found.path, found.etag, found.is_whole) == (path, "", True)
    path.write_text('{"serial":')
    broken = new_state(work)
    assert broken is not None
    assert not broken.is_whole
