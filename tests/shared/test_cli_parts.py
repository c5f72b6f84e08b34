"""The parts of the command line that need no server: bad input, terminals, exit codes, where the server is."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import click
import pytest

from nodelink.cli.app import execute
from nodelink.cli.exit_codes import OF_ERRORS, code_of_error, code_of_result
from nodelink.cli.forms import task_form
from nodelink.cli.submit import read_payload, with_process
from nodelink.cli.terminal import TerminalFilter, one_line
from nodelink.cli.times import moment
from nodelink.cli.unbuilt import UNBUILT
from nodelink.client import Task, TaskResult
from nodelink.errors import (
    ErrorCode,
    LinkLost,
    NoAgent,
    NotAllowed,
    NotAuthenticated,
    NotBuilt,
    TaskNotFinished,
    TaskNotFound,
)
from nodelink.server_address import local_server
from nodelink.task import TaskSpec, TaskStatus
from tests.support.command_line import ROOT
from tests.support.doc_cli import all_commands


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["nonsense"], "No such command 'nonsense'"),
        (["run"], "Missing argument"),
        (["run", "--nonsense", "true"], "No such option"),
        (["run", "-o", "json", "true"], "-o needs --detach"),
        (["run", "--env", "no-value", "true"], "'no-value' is not of the form KEY=VALUE"),
        (["run", "--at", "tomorrow", "true"], "'tomorrow' is not a moment"),
        (["run", "--at", "2030-01-31T09:30:00", "true"], "is not a moment with a time zone"),
        (["run", "--priority", "urgent", "true"], "priority: must be"),
        (["submit", "echo", "--payload", "{"], "--payload is not JSON"),
        (["submit", "echo", "--payload", "@/nowhere/at/all"], "cannot be read"),
        (["submit", "echo", "--payload", "[]", "--cwd", "/"], "need a payload that is an object"),
        (["tasks", "list", "--server", "host"], "write host:port"),
        (["tasks", "list", "--limit", "0"], "0 is not in the range"),
        (["tasks", "list", "--status", "lively"], "'lively' is not one of"),
        (["tasks", "list", "--status", "complete"], "Did you mean 'completed'?"),
        (["tasks", "list", "--created-after", "soon"], "neither how long ago, like 1h30m, nor a moment"),
        (["tasks", "list", "--label", "green"], "'green' is not of the form KEY=VALUE"),
        (["tasks", "lst"], "No such command 'lst'. Did you mean 'list'?"),
        (["tsks"], "No such command 'tsks'. Did you mean 'tasks'?"),
        (["help", "tasks", "lst"], "No such command 'lst'. Did you mean 'list'?"),
        (["help", "run", "fast"], "`nodelink run` has no commands"),
        (["tasks", "list", "--stats", "x"], "Did you mean"),
        (["tasks", "logs", "t", "--tail", "1", "--offset", "1"], "--tail cannot be given together with --offset"),
        (["tasks", "cleanup"], "Missing option '--older-than'"),
        (["run", "--lock", "", "true"], "'--lock': must not be empty"),
        (["run", "--retries", "-1", "true"], "-1 is not in the range x>=0"),
        (["run", "--retries", "often", "true"], "'often' is not a valid integer"),
        (["run", "--retries", "4294967295", "true"], "retry.max_attempts: must be a whole number from 1 on"),
        (["run", "--retry-initial", "1s", "true"], "--retry-initial needs --retries"),
        (["run", "--retry-max", "1s", "true"], "--retry-max needs --retries"),
        (["submit", "echo", "--retry-on", "timeout"], "--retry-on needs --retries"),
        (["run", "--retries", "1", "--retry-max", "soon", "true"], "'soon' is not a duration"),
        (["submit", "echo", "--execution", "twice"], "'twice' is not one of 'replayable', 'once', 'exclusive'"),
        (["tasks", "abandon", "t"], "Missing option '--reason'"),
        (["tasks", "resolve", "t", "--as", "failed"], "Missing option '--reason'"),
        (["tasks", "resolve", "t", "--reason", "x"], "Missing option '--as'"),
        (["tasks", "resolve", "t", "--as", "lost", "--reason", "x"], "is not one of 'completed', 'failed', 'rerun'"),
        (["tasks", "resolve", "t", "--as", "rerun", "--reason", "x"], "where nobody can be asked, say --yes"),
        (["scheduler", "pause", "--pool", ""], "'--pool': must not be empty"),
        (["scheduler", "resume", "--type", ""], "'--type': must not be empty"),
        (["scheduler", "resume", "--checkpoint", ""], "'--checkpoint': must not be empty"),
        (["agents", "undrain"], "Missing argument 'AGENT'"),
        (["doctor", "--idle", "soon"], "'soon' is not a duration"),
        (["tasks", "logs", "t", "-f", "--limit", "1"], "--limit cannot be given together with --follow"),
        (["tasks", "wait", "t", "--timeout", "soon"], "'soon' is not a duration"),
        (["dev", "--grpc-address", "0.0.0.0:1"], "loopback only"),
        (["dev", "--ephemeral", "--data-dir", "x"], "cannot be given together"),
        (["completion", "dos"], "'dos' is not one of"),
    ],
)
def test_wrong_usage_is_one_line_and_exits_with_2(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code = execute(arguments)
    said = capsys.readouterr()

    assert (code, said.out) == (2, "")
    assert said.err.startswith("error: ")
    assert words in said.err
    assert said.err.count("\n") == 1


@pytest.mark.parametrize(
    "arguments",
    [
        *([group, name] if group != "nodelink" else [name] for group, names in UNBUILT.items() for name in names),
        ["tasks", "list", "--token", "x"],
        ["help", "pools"],
        ["workflows", "cancel", "w", "--anything", "--help"],
    ],
    ids=" ".join,
)
def test_what_is_published_and_not_there_is_refused_by_its_name(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    code = execute(arguments)

    assert code == 2
    assert "is not available in this version" in capsys.readouterr().err


def test_a_token_in_the_environment_is_not_taken_and_ignored(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NODELINK_TOKEN", "secret")
    code = execute(["tasks", "list"])
    said = capsys.readouterr().err

    assert code == 2
    assert "NODELINK_TOKEN (in the environment) is not available" in said
    assert "secret" not in said


# --- help -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [path for path, _ in all_commands()], ids=" ".join)
def test_every_command_has_a_manual(path: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["help", *path]) == 0
    shown = capsys.readouterr().out

    assert shown.startswith("Usage: ")
    assert "Examples:" in shown
    assert execute([*path, "--help"]) == 0
    assert capsys.readouterr().out == shown


@pytest.mark.parametrize("path, command", list(all_commands()), ids=str)
def test_every_option_is_described_and_every_example_can_be_read(path: tuple[str, ...], command: click.Command) -> None:
    for parameter in command.params:
        if isinstance(parameter, click.Option) and not parameter.hidden:
            assert parameter.help, f"{path}: {parameter.opts}"
    for example in getattr(command, "examples", ()):
        line = example.partition("  #")[0]
        assert " ".join(("nodelink", *path)) in line or path == (), f"{path}: {example}"


@pytest.mark.parametrize("group", [[], ["tasks"]])
def test_a_group_alone_is_wrong_usage_and_shows_its_manual(
    group: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert execute(group) == 2
    said = capsys.readouterr()

    assert not said.out
    assert "\n\nCommands:\n  " in said.err


def test_the_list_of_commands_is_told_without_loading_them() -> None:
    loaded = "import sys; from nodelink.cli.app import execute; execute(sys.argv[1:]); print(*sys.modules)"
    said = subprocess.run(
        [sys.executable, "-c", loaded, "--help"], cwd=ROOT, capture_output=True, text=True, check=True, timeout=40
    )

    assert re.search(r"^  completion +Let a shell", said.stdout, re.MULTILINE)
    assert not {"grpc", "asyncio", "yaml", "nodelink.client", "nodelink.cli.tasks"} & set(said.stdout.split())


@pytest.mark.parametrize("arguments", [["tasks", "list", "--help"], ["run", "--nonsense"], ["help", "tasks", "wait"]])
def test_what_needs_no_server_loads_no_grpc(arguments: list[str]) -> None:
    loaded = "import sys; from nodelink.cli.app import execute; execute(sys.argv[1:]); print(*sys.modules)"
    said = subprocess.run(
        [sys.executable, "-c", loaded, *arguments], cwd=ROOT, capture_output=True, text=True, check=True, timeout=40
    )

    assert not {"grpc", "yaml", "nodelink.client"} & set(said.stdout.split())


# --- exit codes -------------------------------------------------------------------------------------------------------


def test_every_error_code_has_an_exit_code() -> None:
    assert set(OF_ERRORS) == set(ErrorCode)


@pytest.mark.parametrize(
    "error, code",
    [
        (NotBuilt(), 2),
        (NotAllowed(), 3),
        (TaskNotFound(), 4),
        (TaskNotFinished(), 5),
        (NotAuthenticated(), 6),
        (LinkLost(), 7),
        (NoAgent(), 125),
    ],
)
def test_errors_have_their_published_codes(error: Any, code: int) -> None:
    assert code_of_error(error) == code


@pytest.mark.parametrize(
    "end, code",
    [
        ({"status": TaskStatus.COMPLETED, "exit_code": 0}, 0),
        ({"status": TaskStatus.FAILED, "exit_code": 42, "error_category": "exit_code"}, 42),
        ({"status": TaskStatus.FAILED, "exit_code": 127, "error_category": "invalid_input"}, 127),
        ({"status": TaskStatus.FAILED, "exit_code": 0, "error_category": "handler"}, 1),
        ({"status": TaskStatus.FAILED, "error_category": "handler"}, 1),
        ({"status": TaskStatus.FAILED, "error_category": "infrastructure"}, 125),
        ({"status": TaskStatus.TIMEOUT, "exit_code": 143}, 124),
        ({"status": TaskStatus.LOST}, 125),
        ({"status": TaskStatus.CANCELLED, "exit_code": 143}, 130),
    ],
)
def test_the_end_of_a_task_has_its_published_code(end: dict[str, Any], code: int) -> None:
    assert code_of_result(TaskResult(task_id="t", attempt=1, **end)) == code


# --- terminals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data, shown",
    [
        (b"plain\ttext\r\n", b"plain\ttext\r\n"),
        (b"\x1b[1;31mred\x1b[0m", b"\x1b[1;31mred\x1b[0m"),
        (b"\x1b[2Jgone?", b"[2Jgone?"),
        (b"\x1b]0;title\x07", b"]0;title"),
        (b"back\x08\x08space\x00\x7f", b"backspace"),
        ("\x9b2J zażółć".encode(), "2J zażółć".encode()),
        (b"\xff\xfe", "\ufffd\ufffd".encode()),
    ],
)
def test_only_harmless_output_reaches_a_terminal(data: bytes, shown: bytes) -> None:
    assert TerminalFilter()(data) == shown


def test_a_sequence_or_a_letter_that_is_cut_is_still_seen_whole() -> None:
    show = TerminalFilter()
    text = "\x1b[31mż\x1b[0m".encode()

    assert b"".join(show(text[i : i + 1]) for i in range(len(text))) == text
    assert show(b"\x1b") + show(b"[2") + show(b"J") == b"[2J"


def test_a_strangers_name_stays_on_its_line() -> None:
    assert one_line("a\r\nb\x1b[2Jc\udcffd") == "a b [2Jc?d"


# --- values -----------------------------------------------------------------------------------------------------------


def test_moments_are_written_in_utc_with_milliseconds() -> None:
    assert (moment(4_105_071_000_250), moment(None)) == ("2100-01-31T09:30:00.250Z", None)


def test_a_payload_that_is_no_json_is_shown_as_text() -> None:
    task = Task(
        id="t",
        status=TaskStatus.PENDING,
        spec=TaskSpec(type="echo", timeout_ms=90_000),
        payload=b"{",
        created_at=0,
        updated_at=0,
    )
    form = task_form(task)

    assert (form["payload"], form["timeout"]) == ("{", "1m30s")
    json.dumps(form)


def test_a_payload_can_come_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text('{"command": "true", "env": {"A": "1", "B": "1"}}')
    payload = with_process(read_payload(f"@{tmp_path}/p.json"), env={"B": "2"}, cwd="/")

    assert payload == {"command": "true", "env": {"A": "1", "B": "2"}, "cwd": "/"}


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"grpc": 5}', "\0"])
def test_addresses_that_cannot_be_read_are_passed_over(tmp_path: Path, content: str) -> None:
    path = tmp_path / "addresses.json"
    path.write_text(content)

    assert local_server(path) is None
    assert local_server(tmp_path / "none") is None
