"""`nodelink tasks bulk` and `set-priority`: one thing done to many tasks."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, Unpack

import click

from nodelink.cli.candidates import priorities, task_ids
from nodelink.cli.connect import server_option, talk
from nodelink.cli.exit_codes import Exit
from nodelink.cli.manual import CommandGroup, command
from nodelink.cli.naming import task_ids_of
from nodelink.cli.output import output_options, say, show_one
from nodelink.cli.task_filter import FilterOptions, filter_of, filter_options

if TYPE_CHECKING:
    from nodelink.client import AsyncClient, BulkResult
    from nodelink.client.bulk import BulkOptions

EXITS = (Exit.OK, Exit.USAGE, Exit.NOT_FOUND, Exit.CONFLICT, Exit.UNREACHABLE, Exit.INTERRUPTED)
SAME = "already of this priority"
"""Why a task was left alone that is as somebody wants it to be."""

_Function = TypeVar("_Function", bound=Callable[..., Any])


@click.group(
    cls=CommandGroup,
    examples=(
        "nodelink tasks bulk cancel --label release=7 --dry-run",
        "nodelink tasks bulk retry --status lost --created-after 2h",
        "nodelink tasks bulk set-priority high --type deploy",
    ),
)
def bulk() -> None:
    """Do one thing to every task that the options select; at least one is needed.

    On a terminal you are told how many they are, and asked; elsewhere it needs --yes.
    """


def _care(function: _Function) -> _Function:
    """Give a command which tasks it is done to, and whether it is done at all."""
    asked = click.option("-y", "--yes", is_flag=True, help="Do not ask.")
    tried = click.option("--dry-run", is_flag=True, help="Only tell what would be done.")
    named = click.option(
        "--idempotency-key", metavar="KEY", help="Asking again with the same key within a day tells what was done then."
    )
    return filter_options(named(tried(asked(output_options()(server_option(function))))))


@bulk.command(
    "cancel",
    examples=("nodelink tasks bulk cancel --pool build --reason 'the wrong branch' --yes",),
    exits=EXITS,
)
@click.option("--reason", default="", metavar="TEXT", help="Why, in words.")
@click.option("--grace", metavar="DURATION", help="From the signal to the kill.  [default: 10s]")
@_care
def cancel_tasks(
    server: str,
    output: str,
    dry_run: bool,
    yes: bool,
    idempotency_key: str | None,
    reason: str,
    grace: str | None,
    **options: Unpack[FilterOptions],
) -> None:
    """Stop tasks. What has begun is cancelled when its agent confirms it."""
    how: BulkOptions = {"reason": reason, "grace": grace, "dry_run": dry_run, "idempotency_key": idempotency_key}
    _do(server, "cancel", options, output, yes=yes, how=how)


@bulk.command(
    "retry",
    examples=("nodelink tasks wait $(nodelink tasks bulk retry --label release=7 --yes -o id)",),
    exits=EXITS,
)
@_care
def retry_tasks(
    server: str,
    output: str,
    dry_run: bool,
    yes: bool,
    idempotency_key: str | None,
    **options: Unpack[FilterOptions],
) -> None:
    """Run tasks that have ended once more, as new tasks. Without --status: the failed, timeout and lost ones."""
    how: BulkOptions = {"dry_run": dry_run, "idempotency_key": idempotency_key}
    _do(server, "retry", options, output, yes=yes, how=how)


@bulk.command(
    "set-priority",
    examples=("nodelink tasks bulk set-priority 90 --label customer=acme",),
    exits=EXITS,
)
@click.argument("priority", shell_complete=priorities)
@click.option("--reason", default="", metavar="TEXT", help="Why, in words. It stays with the tasks.")
@_care
def prioritize_tasks(
    server: str,
    output: str,
    dry_run: bool,
    yes: bool,
    idempotency_key: str | None,
    priority: str,
    reason: str,
    **options: Unpack[FilterOptions],
) -> None:
    """Give waiting tasks another priority: a number from 1 to 100, or a name."""
    how: BulkOptions = {
        "priority": priority,
        "reason": reason,
        "dry_run": dry_run,
        "idempotency_key": idempotency_key,
    }
    _do(server, "set_priority", options, output, yes=yes, how=how)


@command(
    name="set-priority",
    examples=("nodelink tasks set-priority 0190a1b2 critical", "nodelink tasks set-priority 0190a1b2 0190a1c3 90"),
    exits=(Exit.OK, Exit.USAGE, Exit.NOT_FOUND, Exit.CONFLICT, Exit.UNREACHABLE),
)
@click.argument("ids", nargs=-1, required=True, metavar="TASK_ID...", shell_complete=task_ids)
@click.argument("priority", shell_complete=priorities)
@click.option("--reason", default="", metavar="TEXT", help="Why, in words. It stays with the tasks.")
@output_options()
@server_option
def set_priority(server: str, output: str, ids: Sequence[str], priority: str, reason: str) -> int:
    """Give waiting tasks another priority: a number from 1 to 100, or a name.

    What is with an agent already, or has ended, keeps its own: exit code 5.
    """

    async def change(client: AsyncClient) -> int:
        found = await task_ids_of(client, ids)
        result = await client.bulk("set_priority", ids=found, priority=priority, reason=reason)
        _show(result, output, dry_run=False)
        if result.matched < len(found):
            say(f"{len(found) - result.matched} of {len(found)} are not there")
            return Exit.NOT_FOUND
        return Exit.CONFLICT if result.skipped.keys() - {SAME} else Exit.OK

    return talk(server, change)


def _do(server: str, action: str, options: FilterOptions, output: str, *, yes: bool, how: BulkOptions) -> None:
    """Do it, or tell what would be done; ask before, unless `yes`. UsageError: nothing is selected, or nobody there."""
    is_asked = not yes and not how["dry_run"]
    _check(options, is_asked=is_asked)

    async def carry_out(client: AsyncClient, how: BulkOptions) -> BulkResult:
        return await client.bulk(action, await filter_of(client, options), **how)

    if is_asked:
        tried = talk(server, lambda client: carry_out(client, {**how, "dry_run": True, "idempotency_key": None}))
        if tried.done:
            click.echo(_told(tried), err=True)
            click.confirm(f"{action.replace('_', '-')} {tried.done:,} task(s)?", abort=True, err=True)
    result = talk(server, lambda client: carry_out(client, how))
    _show(result, output, dry_run=how["dry_run"])


def _check(options: FilterOptions, *, is_asked: bool) -> None:
    """Refuse to do it to all tasks, as when a variable of a script is empty, and where nobody can be asked."""
    context = click.get_current_context()
    given = {name: value for name, value in options.items() if _is_given(context, name)}
    if not given:
        raise click.UsageError(f"say which tasks: at least one of {', '.join(map(_option, options))}")
    for name, value in given.items():
        if not value:
            raise click.UsageError(f"{_option(name)} must not be empty: it would select every task")
    if is_asked and not sys.stdin.isatty():
        raise click.UsageError("where nobody can be asked, say --yes; --dry-run tells what would be done")


def _is_given(context: click.Context, name: str) -> bool:
    return context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _told(result: BulkResult) -> str:
    left = "; ".join(f"{count:,} {why}" for why, count in result.skipped.items())
    return f"{result.matched:,} task(s) match" + (f", of which are left alone: {left}" if left else "")


def _show(result: BulkResult, output: str, *, dry_run: bool) -> None:
    """Print what was done. `id`: only the ids, one a line; in a table there are none."""
    if output == "id":
        for task_id in result.ids:
            click.echo(task_id)
        return
    if output == "table":
        left = tuple(f"{count:,} {why}" for why, count in result.skipped.items())
        done = "would_do" if dry_run else "done"
        show_one({"matched": result.matched, done: result.done, "skipped": left}, output)
        return
    counts = {"matched": result.matched, "done": result.done, "skipped": dict(result.skipped)}
    show_one({**counts, "ids": list(result.ids)}, output)
