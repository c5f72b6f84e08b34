"""The process that plans and applies, with a small tool of the test's own, and what is laid out for it."""

from __future__ import annotations

import json
import signal
import stat
import subprocess
import tarfile
from io import BytesIO
from pathlib import Path

import pytest

from nodelink.errors import InvalidTask
from nodelink.plan_payload import Archive, PlanPayload
from nodelink_agent.handlers.plans import step_command
from nodelink_agent.tools.order import APPROVED, PLAN, REFUSED, Order
from nodelink_agent.tools.plan_file import PlanUnreadable, lasting, plan_of, read_plan_file
from nodelink_agent.tools.preparing import ARCHIVE, MAX_UNPACKED_BYTES, prepare
from nodelink_agent.tools.step import EX_REFUSED
from nodelink_agent.tools.table import RUNNERS

INPUTS = {"source": "s", "tool": "t"}
CHECK = 'cat {0}/target; echo "web1 : ok=2 changed=1 failed=0"'
APPLY = "echo applied >> {0}/target"


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A step's directory, with a target in it and a secret."""
    (tmp_path / "target").write_text("before\n")
    (tmp_path / "secret").write_text("secret")
    return tmp_path


def step(work: Path, *, apply: str = "", check: str = CHECK) -> subprocess.CompletedProcess[str]:
    order(work, apply=apply, check=check)
    return subprocess.run(step_command(work), check=False, capture_output=True, text=True, timeout=30)


def order(work: Path, *, apply: str, check: str) -> None:
    def words(script: str) -> list[str]:
        return ["/bin/sh", "-c", script.format(work)] if script else []

    Order(tool="small", inputs=INPUTS, check=words(check), apply=words(apply), secrets=[str(work / "secret")]).write(
        work
    )


def approve(work: Path) -> None:
    (work / PLAN).rename(work / APPROVED)


def test_a_plan_is_what_the_check_said_and_changes_nothing(work: Path) -> None:
    ended = step(work)
    plan = read_plan_file((work / PLAN).read_bytes())
    assert (ended.returncode, ended.stdout) == (0, plan.output)
    assert plan.inputs == INPUTS
    assert (plan.target, plan.summary) == ("web1", "1 to change, on 1 of 1 hosts")
    assert (work / "target").read_text() == "before\n"
    assert not (work / "secret").exists()


def test_the_plan_that_was_approved_is_applied(work: Path) -> None:
    step(work)
    approve(work)
    assert step(work, apply=APPLY).returncode == 0
    assert (work / "target").read_text() == "before\napplied\n"


def test_nothing_is_applied_when_the_target_has_changed_since(work: Path) -> None:
    step(work)
    approve(work)
    (work / "target").write_text("drifted\n")
    ended = step(work, apply=APPLY)
    why = (work / REFUSED).read_text()
    assert ended.returncode == EX_REFUSED
    assert "the target has changed since the plan" in why
    assert "-before" in why
    assert "+drifted" in why
    assert (work / "target").read_text() == "drifted\n"


def test_nothing_is_applied_when_the_check_fails(work: Path) -> None:
    step(work)
    approve(work)
    assert step(work, apply=APPLY, check=CHECK + "; exit 4").returncode == EX_REFUSED
    assert "failed with exit code 4" in (work / REFUSED).read_text()
    assert (work / "target").read_text() == "before\n"


def test_a_check_that_fails_makes_no_plan(work: Path) -> None:
    assert step(work, check="exit 4").returncode == 4
    assert not (work / PLAN).exists()


def test_an_apply_ends_as_its_tool_does(work: Path) -> None:
    step(work)
    approve(work)
    assert step(work, apply="exit 7").returncode == 7
    assert step(work, apply="kill -9 $$").returncode == 128 + 9


def test_a_check_that_says_too_much_makes_no_plan(work: Path) -> None:
    assert step(work, check="yes").returncode == EX_REFUSED
    assert "says more than" in (work / REFUSED).read_text()


def test_a_stop_amid_the_check_keeps_the_apply_from_beginning(work: Path) -> None:
    step(work)
    approve(work)
    order(work, apply=APPLY, check="echo started >&2; read go; " + CHECK)
    with subprocess.Popen(step_command(work), stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "started\n"
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate("go\n", timeout=30)
    assert process.returncode == EX_REFUSED
    assert "a stop was asked for" in said
    assert (work / "target").read_text() == "before\n"


def test_a_plan_comes_back_from_its_bytes() -> None:
    plan = plan_of("ansible", INPUTS, "grün\nweb1 : ok=1 changed=0\nweb2 : ok=3 changed=2\n")
    assert read_plan_file(plan.to_bytes()) == plan
    assert (plan.target, plan.summary) == ("web1, web2", "2 to change, on 1 of 2 hosts")


@pytest.mark.parametrize("stored", [b"", b"[]", b"{}", b'{"format": 2}', b'{"format": 1, "tool": "ansible"}', b"\xff"])
def test_what_is_no_plan_is_refused(stored: bytes) -> None:
    with pytest.raises(PlanUnreadable):
        read_plan_file(stored)


def test_what_differs_between_equal_checks_is_left_out() -> None:
    first = lasting("+++ after: /x/1/scratch/local/ansible-local-77ab_1/tmpx7/site.j2", "/x/1")
    assert first == lasting("+++ after: /x/2/scratch/local/ansible-local-99/tmp_a/site.j2", "/x/2")


def test_variables_are_in_a_file_for_the_agent_alone_and_never_among_the_words(tmp_path: Path) -> None:
    payload = PlanPayload(tool="ansible", source="- hosts: all\n", variables={"key": "s3cret"}, limit="-x")
    files = prepare(tmp_path, RUNNERS["ansible"], payload, program="bin/tool", applies=True)
    told = json.loads((tmp_path / "order.json").read_text())
    assert told["check"][0] == str(Path("bin/tool").absolute())
    assert "s3cret" not in json.dumps(told)
    assert stat.S_IMODE(files.variables.stat().st_mode) == 0o600
    assert json.loads(files.variables.read_text()) == {"key": "s3cret"}
    assert told["secrets"] == [str(files.variables)]
    assert "--limit=-x" in told["check"]
    assert "--check" in told["check"]
    assert "--check" not in told["apply"]


def archive(directory: Path, *names: str) -> None:
    with tarfile.open(directory / ARCHIVE, "w:gz") as tar:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = 3
            tar.addfile(member, BytesIO(b"[]\n"))


def test_an_archive_is_unpacked_into_the_attempts_own_directory(tmp_path: Path) -> None:
    archive(tmp_path, "a/site.yml", "hosts")
    payload = PlanPayload(tool="ansible", source=Archive(sha256="", playbook="a/site.yml", inventory="hosts"))
    files = prepare(tmp_path, RUNNERS["ansible"], payload, program="/bin/tool", applies=False)
    assert files.main.read_text() == "[]\n"
    assert files.inventory == files.source / "hosts"


@pytest.mark.parametrize(
    "names, field",
    [(["../site.yml"], "source.sha256"), (["other.yml"], "source.playbook"), (["site.yml"], "source.inventory")],
)
def test_an_archive_that_is_not_right_is_refused(tmp_path: Path, names: list[str], field: str) -> None:
    work = tmp_path / "work"
    work.mkdir()
    archive(work, *names)
    payload = PlanPayload(tool="ansible", source=Archive(sha256="", playbook="site.yml", inventory="hosts"))
    with pytest.raises(InvalidTask) as refusal:
        prepare(work, RUNNERS["ansible"], payload, program="/bin/tool", applies=False)
    assert [error.field for error in refusal.value.errors] == [field]
    assert not (tmp_path / "site.yml").exists()


def test_an_archive_that_is_too_large_inside_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    member = tarfile.TarInfo("site.yml")
    member.size = MAX_UNPACKED_BYTES + 1
    with (tmp_path / ARCHIVE).open("wb") as file:  # a hole, which takes no place on the disk
        file.write(member.tobuf())
        file.truncate(MAX_UNPACKED_BYTES + 10 * tarfile.BLOCKSIZE)
    payload = PlanPayload(tool="ansible", source=Archive(sha256="", playbook="site.yml"))
    with pytest.raises(InvalidTask, match="must hold at most"):
        prepare(tmp_path, RUNNERS["ansible"], payload, program="/bin/tool", applies=False)
    assert not (tmp_path / "source" / "site.yml").exists()
