"""An agent as it is shown to people: what is taken of it, of how much."""

from __future__ import annotations

from collections.abc import Iterator

import click

from nodelink.cli.output import text_of_one
from nodelink.cli.table import Form
from nodelink.quantities import format_quantity, thousandths_of

TIMES = ("last_heartbeat_at", "drained_at", "drain_deadline")


def show_agent(form: Form, output: str) -> None:
    """Print an agent in the form that was asked for."""
    click.echo(text_of_agent(form, output), nl=False)


def text_of_agent(form: Form, output: str) -> str:
    """An agent in the form that was asked for."""
    return text_of_one(_card(form) if output == "table" else form, output, times=TIMES)


def slots_cell(form: Form, _now: int) -> str:
    """How many of its slots are taken."""
    return f"{form['used_slots']}/{form['slots']}"


def resources_cell(form: Form, _now: int) -> str:
    """How much is taken of its resources."""
    return ", ".join(_resources(form))


def _card(form: Form) -> Form:
    limits = ", ".join(f"{type}={most}" for type, most in form["type_limits"].items())
    return {**form, "resources": tuple(_resources(form)), "type_limits": limits}


def _resources(form: Form) -> Iterator[str]:
    for name, resource in form["resources"].items():
        used, most = (format_quantity(thousandths_of(resource[part])) for part in ("used", "total"))
        yield f"{name} {used}/{most}"
