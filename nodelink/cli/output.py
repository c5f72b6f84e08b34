"""What a command says: data on standard output in the form that was asked for, chatter on standard error."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import click

from nodelink.cli.choice import Choice
from nodelink.cli.late import yaml
from nodelink.cli.table import Column, Form, card_text, table_text
from nodelink.cli.terminal import one_line
from nodelink.cli.times import now_ms

FORMATS = ("table", "json", "ndjson", "yaml", "id")

_Function = TypeVar("_Function", bound=Callable[..., Any])


def output_options(
    default: str | None = "table", help: str = "The form of the data."
) -> Callable[[_Function], _Function]:
    """Give a command the parameter `output`, one of the formats, and the option to do without colours."""

    def add(function: _Function) -> _Function:
        return no_color_option(
            click.option(
                "-o", "--output", type=Choice(FORMATS), default=default, show_default=default is not None, help=help
            )(function)
        )

    return add


def no_color_option(function: _Function) -> _Function:
    """Give a command the option to do without colours."""
    return click.option(
        "--no-color", is_flag=True, expose_value=False, callback=_without_colour, help="Say it without colours."
    )(function)


def _without_colour(context: click.Context, _parameter: click.Parameter, given: bool) -> None:
    if given:
        context.color = False


def show_all(forms: Sequence[Form], columns: Sequence[Column], output: str) -> None:
    """Print a list."""
    click.echo(text_of_all(forms, columns, output), nl=False)


def show_one(form: Form, output: str, *, times: Sequence[str] = ()) -> None:
    """Print one thing. In a table it is told of these `times` how long ago they were."""
    click.echo(text_of_one(form, output, times=times), nl=False)


def text_of_all(forms: Sequence[Form], columns: Sequence[Column], output: str) -> str:
    """A list in the form that was asked for."""
    match output:
        case "json":
            return _json(list(forms))
        case "ndjson":
            return "".join(map(json_line, forms))
        case "yaml":
            return str(yaml.safe_dump(list(forms), sort_keys=False))
        case "id":
            return "".join(f"{id_of(form)}\n" for form in forms)
        case _:
            return table_text(forms, columns, now=now_ms(), width=terminal_width())


def text_of_one(form: Form, output: str, *, times: Sequence[str] = ()) -> str:
    """One thing in the form that was asked for."""
    match output:
        case "json":
            return _json(form)
        case "ndjson":
            return json_line(form)
        case "yaml":
            return str(yaml.safe_dump(form, sort_keys=False))
        case "id":
            return f"{id_of(form)}\n"
        case _:
            return card_text(form, now=now_ms(), width=terminal_width(), times=times)


def show_streamed(form: Form, line: Iterable[str], output: str) -> None:
    """Print one event of many: as a line, or as a document of its own. `id`: the revision to go on after."""
    match output:
        case "table":
            click.echo("  ".join(line).rstrip())
        case "id":
            click.echo(form["revision"])
        case "yaml":
            click.echo(f"---\n{text_of_one(form, output)}", nl=False)
        case _:
            show_one(form, output)


def json_line(form: Form) -> str:
    """One thing as a line of JSON."""
    return json.dumps(form, separators=(",", ":")) + "\n"


def terminal_width() -> int | None:
    """How much fits on a line of the terminal. None: there is none, so everything does."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def id_of(form: Form) -> str:
    """By what a thing is named: the first that it has of these."""
    for name in ("etag", "id", "sha256", "task_id", "number", "key", "removed", "state", "name", "agent_id"):
        if name in form:
            return str(form[name])
    return ""


def say(text: str) -> None:
    """Tell the user something that is not data."""
    click.echo(one_line(text), err=True)


def say_error(text: str, hint: str = "") -> None:
    """Tell the user in one line what went wrong, and what may help."""
    say(f"error: {text} ({hint})" if hint else f"error: {text}")


def _json(value: object) -> str:
    return json.dumps(value, indent=2) + "\n"
