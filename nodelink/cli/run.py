"""`nodelink run`: a command on some agent, as if it ran here."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping, Sequence
from typing import Unpack

import click

from nodelink.cli.connect import server_option
from nodelink.cli.exit_codes import Exit
from nodelink.cli.follow import Follower, interrupts
from nodelink.cli.forms import task_form
from nodelink.cli.late import sdk
from nodelink.cli.manual import command as manual_command
from nodelink.cli.output import output_options, show_one
from nodelink.cli.progress import ProgressLine
from nodelink.cli.screen import Screen
from nodelink.cli.task_options import TaskOptions, process_options, submission_of, task_options
from nodelink.task import Submission


@manual_command(
    name="run",
    context_settings={"allow_interspersed_args": False},
    examples=(
        "nodelink run -- uname -a",
        "nodelink run --pool gpu --timeout 1h -- python train.py",
        "nodelink run --env STAGE=test -- sh -c 'make check 2>&1 | tail'",
        "nodelink run --stdin -- wc -l < words.txt",
        "task=$(nodelink run --detach -- sleep 60)",
    ),
    exits=(Exit.OK, Exit.USAGE, Exit.CONFLICT, Exit.UNREACHABLE, Exit.TIMED_OUT, Exit.LOST, Exit.INTERRUPTED),
)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="[--] COMMAND...")
@task_options
@process_options
@click.option("--stdin", is_flag=True, help="Give the command our standard input (text, read to its end first).")
@click.option("--detach", is_flag=True, help="Do not follow it: print its id and return.")
@click.option("--raw", is_flag=True, help="Let its output steer the terminal.")
@output_options(None, help="The form of what --detach prints.  [default: id]")
@server_option
def run(
    server: str,
    command: Sequence[str],
    env: Mapping[str, str],
    cwd: str | None,
    stdin: bool,
    detach: bool,
    raw: bool,
    output: str | None,
    **options: Unpack[TaskOptions],
) -> int | None:
    """Run COMMAND on an agent, follow its output, and exit with its code.

    COMMAND is a program and its arguments; no shell reads them. Both of its streams come to ours, byte for byte. The
    first Ctrl-C (or SIGTERM) cancels it and waits for its end, the second one leaves it alone; the exit code is 130.
    A command that was ended by signal N has the exit code 128 + N.
    """
    if output and not detach:
        raise click.UsageError("-o needs --detach: otherwise the output is the command's own")
    submission = submission_of("shell", shell_payload(command, env=env, cwd=cwd, stdin=stdin), options)
    if not detach:
        return asyncio.run(run_and_follow(server, submission, raw=raw))
    with sdk.Client(server) as client:
        show_one(task_form(client.submit(submission).get()), output or "id")
    return None


def shell_payload(command: Sequence[str], *, env: Mapping[str, str], cwd: str | None, stdin: bool) -> dict[str, object]:
    """The payload of a shell task. With `stdin`, our standard input is read to its end."""
    payload: dict[str, object] = {"command": list(command)}
    if env:
        payload["env"] = dict(env)
    if cwd is not None:
        payload["cwd"] = cwd
    if stdin:
        payload["stdin"] = read_text_input()
    return payload


def read_text_input() -> str:
    """Our standard input to its end, as text."""
    try:
        return sys.stdin.buffer.read().decode()
    except UnicodeDecodeError as error:
        raise click.UsageError("standard input is not text in UTF-8") from error


async def run_and_follow(server: str, submission: Submission, *, raw: bool) -> int:
    """Submit a task and follow it to its end. Returns the exit code."""
    async with sdk.AsyncClient(server) as client, interrupts() as came:
        task = await client.submit(submission)
        return await Follower(client, Screen(raw=raw), came, ProgressLine()).run(task.id)
