"""The options that `run` and `submit` share: where, when and how a task is to run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypedDict, TypeVar

import click

from nodelink.cli.candidates import pools, priorities
from nodelink.cli.choice import Choice
from nodelink.cli.late import sdk
from nodelink.cli.times import read_moment
from nodelink.cli.unbuilt import unbuilt_options
from nodelink.task import DEFAULT_POOL, Execution, Submission

_Function = TypeVar("_Function", bound=Callable[..., Any])


class TaskOptions(TypedDict):
    """The options as click hands them over."""

    pool: str
    priority: str
    timeout: str | None
    queue_timeout: str | None
    at: datetime | None
    delay: str | None
    execution: str | None
    metadata: Mapping[str, str]
    idempotency_key: str | None


def task_options(function: _Function) -> _Function:
    """Give a command the parameters of `TaskOptions`."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return unbuilt_options(function)


def process_options(function: _Function) -> _Function:
    """Give a command the parameters `env` and `cwd`."""
    function = click.option("--cwd", metavar="PATH", help="The working directory, on the agent.")(function)
    return click.option(
        "--env",
        multiple=True,
        metavar="KEY=VALUE",
        callback=read_pairs,
        help="A variable of the command's environment. May be repeated.",
    )(function)


def submission_of(type: str, payload: object, options: TaskOptions) -> Submission:
    """The task that was described on the command line. Raises `InvalidTask`."""
    return sdk.new_task(type, payload, **options)


def read_pairs(_context: click.Context, _parameter: click.Parameter, given: Sequence[str]) -> Mapping[str, str]:
    """Options of the form KEY=VALUE as what they say together."""
    pairs = [text.partition("=") for text in given]
    for text, (key, separator, _) in zip(given, pairs, strict=True):
        if not key or not separator:
            raise click.BadParameter(f"{text!r} is not of the form KEY=VALUE")
    return {key: value for key, _, value in pairs}


def _read_moment(_context: click.Context, _parameter: click.Parameter, given: str | None) -> datetime | None:
    try:
        return None if given is None else read_moment(given)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


_OPTIONS: tuple[Callable[[Any], Any], ...] = (
    click.option(
        "--pool",
        default=DEFAULT_POOL,
        show_default=True,
        shell_complete=pools,
        help="The pool whose agents may run it.",
    ),
    click.option(
        "--priority",
        default="NORMAL",
        show_default=True,
        shell_complete=priorities,
        help="1 to 100, or LOW, NORMAL, HIGH, CRITICAL; larger first.",
    ),
    click.option("--timeout", metavar="DURATION", help="The longest run, like 1h30m."),
    click.option("--queue-timeout", metavar="DURATION", help="The longest wait for an agent."),
    click.option("--at", metavar="TIME", callback=_read_moment, help="Not before this moment (RFC 3339)."),
    click.option("--delay", metavar="DURATION", help="Not before so long from now."),
    click.option(
        "--execution",
        type=Choice(list(Execution)),
        help="What may happen when contact with the agent is lost; else the type's default.",
    ),
    click.option(
        "--metadata",
        multiple=True,
        metavar="KEY=VALUE",
        callback=read_pairs,
        help="A note of your own that stays with the task. May be repeated.",
    ),
    click.option("--idempotency-key", metavar="KEY", help="Submitting again with the same key gives the same task."),
)
