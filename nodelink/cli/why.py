"""`nodelink tasks why` and `nodelink agents why`: why nothing happens, and what would help."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from nodelink.cli.candidates import agent_names, task_ids
from nodelink.cli.connect import server_option, talk
from nodelink.cli.exit_codes import Exit
from nodelink.cli.manual import command
from nodelink.cli.naming import agent_id_of, task_id_of
from nodelink.cli.output import output_options, text_of_all, text_of_one
from nodelink.cli.table import Column, Form, field, key
from nodelink.cli.times import rough
from nodelink.cli.why_forms import agent_why_form, task_why_form
from nodelink.durations import parse_duration

if TYPE_CHECKING:
    from nodelink.client import AsyncClient

EXITS = (Exit.OK, Exit.USAGE, Exit.NOT_FOUND, Exit.CONFLICT, Exit.UNREACHABLE)


def _obstacle(form: Form) -> Form:
    """The condition that rules an agent out; empty: it fits."""
    return next((one for one in form["conditions"] if not one["holds"]), {"condition": "", "message": ""})


COLUMNS = (
    key("name", "AGENT"),
    field("agent_id", "ID", weight=10),
    Column(title="FITS", cell=lambda form, _now: "yes" if form["fits"] else "no", weight=90, may_shorten=False),
    Column(title="FAILS", cell=lambda form, _now: _obstacle(form)["condition"], weight=80, may_shorten=False),
    Column(title="BECAUSE", cell=lambda form, _now: _obstacle(form)["message"], weight=70),
)


@command(name="why", examples=("nodelink tasks why 0190a1b2", "nodelink tasks why 0190a1b2 -o json"), exits=EXITS)
@click.argument("task_id", shell_complete=task_ids)
@output_options()
@server_option
def explain_task(server: str, output: str, task_id: str) -> None:
    """Show why a task stands where it stands: what it waits for, which agents could run it, and what would help."""

    async def ask(client: AsyncClient) -> None:
        why = await client.why(await task_id_of(client, task_id))
        click.echo(text_of_task_why(task_why_form(why), output), nl=False)

    talk(server, ask)


@command(name="why", examples=("nodelink agents why build-7", "nodelink agents why build-7 -o json"), exits=EXITS)
@click.argument("agent", shell_complete=agent_names)
@output_options()
@server_option
def explain_agent(server: str, output: str, agent: str) -> None:
    """Show why an agent has the work that it has, or none, and how many tasks wait that it could run."""

    async def ask(client: AsyncClient) -> None:
        why = await client.agent_why(await agent_id_of(client, agent))
        click.echo(text_of_agent_why(agent_why_form(why), output), nl=False)

    talk(server, ask)


def text_of_task_why(form: Form, output: str) -> str:
    """The answer in the form that was asked for. For people: summary, conditions, agents, remedies."""
    if output != "table":
        return text_of_one(form, output)
    parts = [text_of_one(_head(form), output)]
    if form["agents"]:
        parts.append(text_of_all(form["agents"], COLUMNS, output))
    if form["agents_total"] > len(form["agents"]):
        parts.append(text_of_one({"agents_total": form["agents_total"], "ruled_out": form["ruled_out"]}, output))
    if form["remedies"]:
        parts.append(text_of_one({"remedies": tuple(form["remedies"])}, output))
    return "\n".join(parts)


def text_of_agent_why(form: Form, output: str) -> str:
    """The answer in the form that was asked for."""
    if output != "table":
        return text_of_one(form, output)
    card = {"summary": form["summary"], "agent_id": form["agent_id"], "conditions": tuple(_conditions(form))}
    return text_of_one({**card, "waiting": form["waiting"]}, output)


def _head(form: Form) -> Form:
    """What is told of the task itself, the summary first."""
    reason = f" ({form['reason']})" if form["reason"] else ""
    return {
        "summary": form["summary"],
        "task_id": form["task_id"],
        "status": f"{form['status']}{reason}",
        "conditions": tuple(_conditions(form)),
        "ahead": form["ahead"],
        "starts_in": form["starts_in"] and f"about {rough(parse_duration(form['starts_in']))}",
    }


def _conditions(form: Form) -> Iterator[str]:
    """A line for each condition."""
    for one in form["conditions"]:
        words = f": {one['message']}" if one["message"] else ""
        yield f"{one['condition']} {'holds' if one['holds'] else 'does not hold'}{words}"
