"""`nodelink doctor`: what is wrong between here and a running task, and what helps."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import click

from nodelink.cli.checks import Asked, Finding, examined
from nodelink.cli.connect import server_option
from nodelink.cli.exit_codes import Exit
from nodelink.cli.manual import command
from nodelink.cli.output import output_options, show_all
from nodelink.cli.table import Column, Form, field, key
from nodelink.durations import parse_duration

COLUMNS = (
    Column(title="CHECK", cell=lambda form, _now: form["verdict"], weight=100, may_shorten=False, is_status=True),
    key("name", "OF"),
    field("found", weight=90),
)


@command(
    name="doctor",
    examples=(
        "nodelink doctor",
        "nodelink doctor --task                    # and run a task from end to end",
        "nodelink doctor --server 10.0.0.7:50051 --http http://10.0.0.7:8080",
        "nodelink doctor --idle 5m                 # does anything on the way cut what is idle?",
    ),
    exits=(Exit.OK, Exit.FAILED, Exit.USAGE),
)
@click.option("--task", is_flag=True, help="Also run an echo task from end to end (pool default).")
@click.option("--idle", metavar="DURATION", help="Also leave a stream idle for so long, and see whether it stays open.")
@click.option("--http", metavar="URL", help="The server's HTTP address. Else what ./.nodelink/addresses.json says.")
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(".nodelink"),
    show_default=True,
    help="The data directory of a server or an agent that is to run here.",
)
@output_options()
@server_option
def doctor(server: str, output: str, task: bool, idle: str | None, http: str | None, data_dir: Path) -> int:
    """Look for what is wrong between here and a running task. Each line says ok, warn or fail, and what to do.

    The exit code is 1 if anything fails; what is only warned of does not count.
    """
    asked = Asked(server=server, http=http, data_dir=data_dir, with_task=task, idle_seconds=_seconds(idle))
    findings = asyncio.run(examined(asked))
    show_all([_form(finding) for finding in findings], COLUMNS, output)
    if output == "table":
        _advise(findings)
    return Exit.FAILED if any(finding.verdict == "fail" for finding in findings) else Exit.OK


def _form(finding: Finding) -> Form:
    return {"name": finding.name, "verdict": finding.verdict, "found": finding.found, "advice": finding.advice}


def _advise(findings: Sequence[Finding]) -> None:
    advice = [finding for finding in findings if finding.advice]
    if advice:
        click.echo()
    for finding in advice:
        click.echo(f"{finding.name}: {finding.advice}")


def _seconds(text: str | None) -> float | None:
    try:
        return None if text is None else parse_duration(text)
    except ValueError as error:
        raise click.UsageError(f"--idle: {error}") from error
