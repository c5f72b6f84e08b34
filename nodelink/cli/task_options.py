"""The options that `run` and `submit` share: where, when and how a task is to run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, TypeVar

import click

from nodelink.cli.candidates import failures, pools, priorities
from nodelink.cli.choice import Choice
from nodelink.cli.late import sdk
from nodelink.cli.placing_options import PLACING_OPTIONS, PlacingOptions
from nodelink.cli.times import read_moment
from nodelink.durations import parse_duration_ms
from nodelink.task import DEFAULT_POOL, Execution, RetryPolicy, Submission

_Function = TypeVar("_Function", bound=Callable[..., Any])


class TaskOptions(PlacingOptions):
    """The options as click hands them over."""

    pool: str
    priority: str | None
    timeout: str | None
    queue_timeout: str | None
    start_timeout: str | None
    total_timeout: str | None
    heartbeat_timeout: str | None
    at: datetime | None
    delay: str | None
    execution: str | None
    lock: str | None
    retries: int | None
    retry_initial: int | None
    retry_max: int | None
    retry_on: Sequence[str]
    metadata: Mapping[str, str]
    idempotency_key: str | None


def task_options(function: _Function) -> _Function:
    """Give a command the parameters of `TaskOptions`."""
    for option in reversed((*_OPTIONS, *PLACING_OPTIONS)):
        function = option(function)
    return function


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
    """The task that was described on the command line. Raises `InvalidTask`, and `UsageError` for half a policy."""
    given: dict[str, Any] = {**options}
    retries, initial, most, on = (given.pop(name) for name in ("retries", "retry_initial", "retry_max", "retry_on"))
    return sdk.new_task(type, payload, **given, retry=_policy_of(retries, initial, most, on))


def _policy_of(retries: int | None, initial: int | None, most: int | None, on: Sequence[str]) -> RetryPolicy | None:
    """When it is tried again. `retries`: how often, after the first try."""
    told = {"--retry-initial": initial, "--retry-max": most, "--retry-on": on or None}
    if retries is None:
        for name, value in told.items():
            if value is not None:
                raise click.UsageError(f"{name} needs --retries: without it, there is one try")
        return None
    usual = RetryPolicy()
    return RetryPolicy(
        max_attempts=retries + 1,
        initial_ms=usual.initial_ms if initial is None else initial,
        max_ms=usual.max_ms if most is None else most,
        on=tuple(on),
    )


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


def _read_duration(_context: click.Context, _parameter: click.Parameter, given: str | None) -> int | None:
    """Milliseconds."""
    try:
        return None if given is None else parse_duration_ms(given)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def not_empty(_context: click.Context, _parameter: click.Parameter, given: str | None) -> str | None:
    """What is given. An empty text is a variable of the shell that is not set, more likely than not."""
    if given == "":
        raise click.BadParameter("must not be empty; leave it out for none")
    return given


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
        shell_complete=priorities,
        help="1 to 100, or LOW, NORMAL, HIGH, CRITICAL; larger first.  [default: the server's rules, else NORMAL]",
    ),
    click.option("--timeout", metavar="DURATION", help="The longest run, like 1h30m."),
    click.option("--queue-timeout", metavar="DURATION", help="The longest wait for an agent."),
    click.option("--start-timeout", metavar="DURATION", help="How long an agent may take to begin it."),
    click.option("--total-timeout", metavar="DURATION", help="The longest time in all, waits and tries included."),
    click.option(
        "--heartbeat-timeout",
        metavar="DURATION",
        help="How long it may run without a sign of life of its own.",
    ),
    click.option("--at", metavar="TIME", callback=_read_moment, help="Not before this moment (RFC 3339)."),
    click.option("--delay", metavar="DURATION", help="Not before so long from now."),
    click.option(
        "--execution",
        type=Choice(list(Execution)),
        help="What may happen when contact with the agent is lost; else the type's default.",
    ),
    click.option(
        "--lock",
        metavar="NAME",
        callback=not_empty,
        help="Of the tasks with the same lock, one at a time is with an agent.",
    ),
    click.option(
        "--retries",
        metavar="N",
        type=click.IntRange(min=0),
        help="When it fails or runs out of time, try it so often again.  [default: 0]",
    ),
    click.option(
        "--retry-initial",
        metavar="DURATION",
        callback=_read_duration,
        help="The longest wait before the first retry; it doubles with each.  [default: 1s]",
    ),
    click.option(
        "--retry-max", metavar="DURATION", callback=_read_duration, help="The longest wait of all.  [default: 5m]"
    ),
    click.option(
        "--retry-on",
        metavar="FAILURE",
        multiple=True,
        shell_complete=failures,
        help="Try again only after such a failure: an error category, exit_code:N or signal:N. May be repeated.",
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
