"""`nodelink submit`: a task of any type."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Unpack

import click

from nodelink.cli.connect import server_option
from nodelink.cli.exit_codes import code_of_result
from nodelink.cli.forms import result_form, task_form
from nodelink.cli.output import FORMATS, show_one
from nodelink.cli.run import read_text_input
from nodelink.cli.task_options import TaskOptions, process_options, submission_of, task_options
from nodelink.client import Client


@click.command()
@click.argument("type")
@click.option(
    "--payload", metavar="JSON|@FILE|-", default="null", help="Its input: JSON, a file with it, or - for stdin."
)
@task_options
@process_options
@click.option("--wait", is_flag=True, help="Wait for its end, print its result, and exit with its code.")
@click.option(
    "-o", "--output", type=click.Choice(FORMATS), help="The form of the data.  [default: id; with --wait: table]"
)
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
) -> int | None:
    """Submit a task of TYPE. It is durable when its id is printed."""
    content = with_process(read_payload(payload), env=env, cwd=cwd)
    submission = submission_of(type, content, options)
    with Client(server) as client:
        handle = client.submit(submission)
        if not wait:
            show_one(task_form(handle.get()), output or "id")
            return None
        result = handle.result()
    show_one(result_form(result), output or "table")
    return code_of_result(result)


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
