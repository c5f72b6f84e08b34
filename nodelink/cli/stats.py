"""`nodelink stats`: how much was done, how fast and how well."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import click

from nodelink.cli.choice import Choice
from nodelink.cli.connect import server_option, talk
from nodelink.cli.exit_codes import Exit
from nodelink.cli.figures_forms import stats_form
from nodelink.cli.manual import command
from nodelink.cli.output import output_options, text_of_all, text_of_one
from nodelink.cli.table import Column, Form, field, key
from nodelink.cli.times import read_past, rough
from nodelink.cli.watch import Watch, watch_option
from nodelink.task import TaskStatus

if TYPE_CHECKING:
    from nodelink.client import AsyncClient

GROUPINGS = ("agent", "pool", "type")


def _ended(status: TaskStatus) -> Callable[[Form, int], int]:
    return lambda form, _now: form["finished"].get(status, 0)


def _other_ends(form: Form, _now: int) -> int:
    known = {TaskStatus.COMPLETED, TaskStatus.FAILED}
    return sum(count for status, count in form["finished"].items() if status not in known)


def _seconds(name: str) -> Callable[[Form, int], str]:
    """Half of them within this, and 99 of 100 within that."""
    return lambda form, _now: f"{rough(form[name]['p50'])} / {rough(form[name]['p99'])}" if form[name]["count"] else ""


def _assigned(form: Form, _now: int) -> str:
    success = form["assignment_success"]
    return "" if success is None else f"{success:.0%}"


COLUMNS = (
    key("start"),
    key("key"),
    field("created", weight=70),
    Column(title="COMPLETED", cell=_ended(TaskStatus.COMPLETED), weight=90, may_shorten=False),
    Column(title="FAILED", cell=_ended(TaskStatus.FAILED), weight=80, may_shorten=False),
    Column(title="OTHER", cell=_other_ends, weight=40, may_shorten=False),
    Column(title="WAITED (p50 / p99)", cell=_seconds("queue_seconds"), weight=50, may_shorten=False),
    Column(title="RAN (p50 / p99)", cell=_seconds("run_seconds"), weight=60, may_shorten=False),
    Column(title="ASSIGNED", cell=_assigned, weight=30, may_shorten=False),
)


def _past(_context: click.Context, _parameter: click.Parameter, given: str | None) -> datetime | None:
    try:
        return None if given is None else read_past(given)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@command(
    name="stats",
    examples=(
        "nodelink stats",
        "nodelink stats --by type --from 24h",
        "nodelink stats --by pool --from 1h --step 10m -o json",
        "nodelink stats --watch",
    ),
    exits=(Exit.OK, Exit.USAGE, Exit.UNREACHABLE),
)
@click.option("--by", type=Choice(GROUPINGS), default=None, help="A line for each of these; else everything together.")
@click.option("--from", "since", metavar="AGO|TIME", callback=_past, help="From then on.  [default: 1h before --to]")
@click.option("--to", "until", metavar="AGO|TIME", callback=_past, help="Until then.  [default: now]")
@click.option("--step", metavar="DURATION", help="A line for each such stretch, in whole minutes; else one for all.")
@watch_option
@output_options(help="The form of the data; json and yaml: the whole answer; ndjson: a line for each group.")
@server_option
def stats(
    server: str,
    output: str,
    by: str | None,
    since: datetime | None,
    until: datetime | None,
    step: str | None,
    watch: bool,
) -> None:
    """Show how many tasks were created and ended, how long they waited and ran, and how many were assigned well.

    Durations are estimates: half of the tasks within the first, 99 of 100 within the second. With --watch and --from
    AGO the beginning stays where it was.
    """

    async def look(client: AsyncClient) -> None:
        async def seen() -> Sequence[Form]:
            return [stats_form(await client.stats(by=by or "", since=since, until=until, step=step))]

        def text(forms: Sequence[Form]) -> str:
            return _text(forms[0], output)

        if watch:
            await Watch(seen, text, output=output).run(client)
        else:
            click.echo(text(await seen()), nl=False)

    talk(server, look)


def _text(form: Form, output: str) -> str:
    """The whole answer, or its groups one by one."""
    if output in {"json", "yaml"}:
        return text_of_one(form, output)
    rows = [{"start": bucket["start"], **group} for bucket in form["buckets"] for group in bucket["groups"]]
    columns = [one for one in COLUMNS if one.title != "START" or len(form["buckets"]) > 1]
    columns = [one for one in columns if one.title != "KEY" or any(row["key"] for row in rows)]
    return text_of_all(rows, columns, output)
