"""What a command says: data on standard output in the form that was asked for, chatter on standard error."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import click
import yaml
from rich.console import Console
from rich.table import Table
from rich.text import Text

from nodelink.cli.forms import Form
from nodelink.cli.terminal import one_line

FORMATS = ("table", "json", "ndjson", "yaml", "id")
WIDTH_OF_A_PIPE = 10_000
"""Characters: nothing is cut or wrapped where no terminal is."""

_Function = TypeVar("_Function", bound=Callable[..., Any])


def output_option(default: str = "table") -> Callable[[_Function], _Function]:
    """Give a command the parameter `output`, one of the formats."""
    choice = click.Choice(FORMATS)
    return click.option("-o", "--output", type=choice, default=default, show_default=True, help="The form of the data.")


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table, and how its cell is read from a form."""

    title: str
    cell: Callable[[Form], object]


def field(name: str, title: str | None = None) -> Column:
    """A column that shows one field as it is."""
    return Column(title or name.upper().replace("_", " "), lambda form: form.get(name))


def show_all(forms: Sequence[Form], columns: Sequence[Column], output: str) -> None:
    """Print a list."""
    match output:
        case "json":
            _print_json(list(forms))
        case "ndjson":
            for form in forms:
                show_line(form)
        case "yaml":
            _print_yaml(list(forms))
        case "id":
            for form in forms:
                click.echo(_id_of(form))
        case _:
            _print_table(forms, columns)


def show_one(form: Form, output: str) -> None:
    """Print one thing."""
    match output:
        case "json":
            _print_json(form)
        case "ndjson":
            show_line(form)
        case "yaml":
            _print_yaml(form)
        case "id":
            click.echo(_id_of(form))
        case _:
            _print_card(form)


def show_line(form: Form) -> None:
    """Print one thing as a line of JSON, at once."""
    click.echo(json.dumps(form, separators=(",", ":")))


def say(text: str) -> None:
    """Tell the user something that is not data."""
    click.echo(one_line(text), err=True)


def say_error(text: str, hint: str = "") -> None:
    """Tell the user in one line what went wrong, and what may help."""
    say(f"error: {text} ({hint})" if hint else f"error: {text}")


def _id_of(form: Form) -> str:
    return str(form.get("id") or form.get("task_id") or form.get("revision") or "")


def _print_json(value: object) -> None:
    click.echo(json.dumps(value, indent=2))


def _print_yaml(value: object) -> None:
    click.echo(yaml.safe_dump(value, sort_keys=False), nl=False)


def _print_table(forms: Sequence[Form], columns: Sequence[Column]) -> None:
    table = Table(box=None, pad_edge=False, show_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for column in columns:
        table.add_column(column.title, overflow="fold")
    for form in forms:
        table.add_row(*(Text(_cell(column.cell(form))) for column in columns))
    _print_rich(table)


def _print_card(form: Form) -> None:
    table = Table(box=None, pad_edge=False, show_edge=False, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in form.items():
        if value not in (None, "", [], {}):
            table.add_row(name, Text(_cell(value)))
    _print_rich(table)


def _cell(value: object) -> str:
    if value is None:
        return ""
    return one_line(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _print_rich(table: Table) -> None:
    """To a terminal in its width and colours; elsewhere nothing is cut, and no line ends in spaces."""
    if sys.stdout.isatty():
        Console(file=sys.stdout, highlight=False).print(table)
        return
    wide = Console(file=io.StringIO(), width=WIDTH_OF_A_PIPE, highlight=False, color_system=None)
    with wide.capture() as captured:
        wide.print(table)
    for line in captured.get().splitlines():
        click.echo(line.rstrip())
