"""`nodelink submit`: a task of any type."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import click

from nodelink.cli.background import background
from nodelink.cli.candidates import types
from nodelink.cli.connect import server_option, talk
from nodelink.cli.exit_codes import Exit, code_of_result
from nodelink.cli.forms import result_form, task_form
from nodelink.cli.manual import command
from nodelink.cli.output import output_options, show_one
from nodelink.cli.progress import ProgressLine, show_progress
from nodelink.cli.run import read_text_input
from nodelink.cli.task_options import TaskOptions, process_options, submission_of, task_options

if TYPE_CHECKING:
    from nodelink.client import AsyncClient


@command(
    name="submit",
    examples=(
        """nodelink submit echo --payload '{"any": "json"}' --wait""",
        "nodelink submit echo --payload @input.json --idempotency-key import-2030-01-31",
        """nodelink submit shell --payload '{"command": "date; uptime"}' --at 2030-01-31T09:30:00Z""",
    ),
    exits=(
        Exit.OK,
        Exit.FAILED,
        Exit.USAGE,
        Exit.CONFLICT,
        Exit.UNREACHABLE,
        Exit.TIMED_OUT,
        Exit.LOST,
        Exit.INTERRUPTED,
    ),
)
@click.argument("type", shell_complete=types)
@click.option(
    "--payload", metavar="JSON|@FILE|-", default="null", help="Its input: JSON, a file with it, or - for stdin."
)
@task_options
@process_options
@click.option("--wait", is_flag=True, help="Wait for its end, print its result, and exit with its code.")
@output_options(None, help="The form of the data.  [default: id; with --wait: table]")
@server_option
def submit(
    server: str,
    type: str,
    payload: str,
    env: Mapping[str, str],
    cwd: str | None,
    wait: bool,
    output: str | None,
    **options: Unpack[TaskOptions],
) -> int:
    """Submit a task of TYPE. It is durable when its id is printed.

    With --wait the result is printed, and the exit code is the task's own. Ctrl-C ends the waiting; the task goes on.
    """
    submission = submission_of(type, with_process(read_payload(payload), env=env, cwd=cwd), options)

    async def hand_in(client: AsyncClient) -> int:
        handle = await client.submit(submission)
        if not wait:
            show_one(task_form(await handle.get()), output or "id")
            return Exit.OK
        line = ProgressLine()
        async with background(show_progress(client, handle.id, line)):
            result = await handle.result()
        line.clear()
        show_one(result_form(result), output or "table")
        return code_of_result(result)

    return talk(server, hand_in)


def read_payload(given: str) -> Any:
    """The payload from the command line, from a file (`@name`) or from standard input (`-`)."""
    text, source = given, "--payload"
    if given == "-":
        text, source = read_text_input(), "standard input"
    elif given.startswith("@"):
        text, source = _read_file(Path(given[1:])), given[1:]
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise click.UsageError(f"{source} is not JSON: {error}") from error


def _read_file(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise click.UsageError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise click.UsageError(f"{path} is not text in UTF-8") from error


def with_process(payload: Any, *, env: Mapping[str, str], cwd: str | None) -> Any:
    """The payload with the members `env` and `cwd`, where they are given."""
    if not env and cwd is None:
        return payload
    if not isinstance(payload, dict):
        raise click.UsageError("--env and --cwd need a payload that is an object")
    given = {"env": {**payload.get("env", {}), **env} if env else None, "cwd": cwd}
    return {**payload, **{name: value for name, value in given.items() if value is not None}}
