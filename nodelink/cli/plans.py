"""`nodelink plans …`: the plans of tasks, and which of them wait for somebody."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from nodelink.cli.candidates import task_ids, workspaces_by_name
from nodelink.cli.choice import Choice
from nodelink.cli.connect import server_option, talk
from nodelink.cli.exit_codes import Exit
from nodelink.cli.manual import CommandGroup
from nodelink.cli.naming import task_id_of
from nodelink.cli.output import output_options, show_all, show_one
from nodelink.cli.table import field, key, time_field
from nodelink.cli.times import moment
from nodelink.task import TaskStatus

if TYPE_CHECKING:
    from nodelink.client import AsyncClient
    from nodelink.client.plans import TaskPlan

COLUMNS = (
    key("task_id"),
    field("status", weight=90),
    field("target", weight=60),
    field("sha256", weight=70),
    field("summary", weight=40),
    time_field("planned_at", "PLANNED", weight=50),
)


@click.group(cls=CommandGroup, examples=("nodelink plans list --waiting",))
def plans() -> None:
    """Look at what changes would do before they are made.

    A plan waits with its task for an approval: `nodelink tasks approve`, `nodelink tasks reject`.
    """


@plans.command("list", examples=("nodelink plans list --waiting",), exits=(Exit.OK, Exit.USAGE, Exit.UNREACHABLE))
@click.option("--waiting", is_flag=True, help="Only those that wait for an approval.")
@click.option("--status", "statuses", type=Choice(list(TaskStatus)), multiple=True, help="Only of tasks that stand so.")
@click.option("--workspace", metavar="NAME", default="", shell_complete=workspaces_by_name, help="Only of this one.")
@click.option(
    "--limit", metavar="N", type=click.IntRange(1, 1_000), default=50, show_default=True, help="At most so many."
)
@output_options()
@server_option
def list_plans(server: str, output: str, waiting: bool, statuses: tuple[str, ...], workspace: str, limit: int) -> None:
    """List the latest plans of tasks, the newest task first."""
    wanted = [*statuses, *([TaskStatus.PLAN_COMPLETED.value] if waiting else [])]

    async def look(client: AsyncClient) -> None:
        found = await client.plans(statuses=wanted, workspace=workspace, limit=limit)
        show_all([plan_form(one) for one in found], COLUMNS, output)

    talk(server, look)


@plans.command(
    "get", examples=("nodelink plans get 0190a1b2",), exits=(Exit.OK, Exit.USAGE, Exit.NOT_FOUND, Exit.UNREACHABLE)
)
@click.argument("task_id", shell_complete=task_ids)
@output_options()
@server_option
def get_plan(server: str, output: str, task_id: str) -> None:
    """Show the latest plan of a task, with the digest by which it is approved."""

    async def look(client: AsyncClient) -> None:
        show_one(plan_form(await client.plan(await task_id_of(client, task_id))), output)

    talk(server, look)


def plan_form(plan: TaskPlan) -> dict[str, object]:
    """A plan as it is shown."""
    return {
        "task_id": plan.task_id,
        "status": plan.status,
        "attempt": plan.attempt,
        "sha256": plan.sha256,
        "size": plan.size,
        "inputs_sha256": plan.inputs_sha256 or None,
        "target": plan.target or None,
        "summary": plan.summary,
        "planned_at": moment(plan.planned_at),
        "expires_at": moment(plan.expires_at),
        "approved_by": plan.approved_by or None,
        "approved_at": moment(plan.approved_at),
    }
