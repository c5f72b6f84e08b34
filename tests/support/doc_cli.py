"""The reference of the command line in docs/cli-reference.md, made from the commands themselves."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence

import click

from nodelink.cli.app import COMMANDS, nodelink
from nodelink.cli.exit_codes import MEANINGS
from nodelink.cli.manual import CommandGroup, ManualCommand
from nodelink.cli.unbuilt import UNBUILT
from tests.support.doc_parts import table

Path = tuple[str, ...]
PASS_ON = {"server": "nodelink-server", "agent": "nodelink-agent"}
"""Commands that explain themselves elsewhere."""


def all_commands() -> Iterator[tuple[Path, click.Command]]:
    """Every command that explains itself, groups before their commands. The first is the program."""
    yield (), nodelink
    for name in COMMANDS:
        found = nodelink.get_command(click.Context(nodelink), name)
        assert found is not None
        if name not in PASS_ON:
            yield from _below((name,), found)


def _below(path: Path, command: click.Command) -> Iterator[tuple[Path, click.Command]]:
    yield path, command
    if isinstance(command, click.Group):
        for name, below in command.commands.items():
            yield from _below((*path, name), below)


def cli_reference_page() -> str:
    """Every command and option."""
    lines = [
        "# Commands",
        "",
        "Every command with its options, as `nodelink help COMMAND` tells them. How they are used, and what holds for",
        "all of them, is told in [the command line](cli.md).",
        "",
        "*This page is made from the code by `scripts/generate`.*",
        "",
        "`nodelink server` and `nodelink agent` are `nodelink-server` and `nodelink-agent`; their options are the",
        "settings in [configuration](configuration.md).",
    ]
    for path, command in all_commands():
        lines += ["", *_section(path, command)]
    return "\n".join([*lines, "", *_exit_codes(), "", *_unbuilt(), ""])


def _section(path: Path, command: click.Command) -> Iterator[str]:
    context = _context_of(path)
    yield f"## {' '.join(('nodelink', *path))}"
    yield ""
    yield f"`{' '.join(('nodelink', *path, *command.collect_usage_pieces(context)))}`"
    yield ""
    yield from inspect.cleandoc(command.help or "").splitlines()
    options = [one for one in command.params if isinstance(one, click.Option) and not one.hidden]
    if options:
        yield ""
        yield from table(("option", "does"), [_option_row(one, context) for one in options])
    if isinstance(command, ManualCommand | CommandGroup) and command.examples:
        yield ""
        yield from ("```text", *command.examples, "```")
    if isinstance(command, ManualCommand) and command.exits:
        yield ""
        yield f"Exit codes: {', '.join(f'{code.value}' for code in command.exits)}."


def _context_of(path: Path) -> click.Context:
    context = click.Context(nodelink, info_name="nodelink")
    return click.Context(click.Command(path[-1]), context, info_name=path[-1]) if path else context


def _option_row(option: click.Option, context: click.Context) -> Sequence[str]:
    record = option.get_help_record(context)
    assert record is not None
    names, about = (text.replace("|", "\\|").replace("  [", " [") for text in record)
    return f"`{names}`", about


def _exit_codes() -> Iterator[str]:
    yield "## Exit codes"
    yield ""
    rows = [(str(code.value), meaning) for code, meaning in MEANINGS.items()]
    rows.append(
        ("any other", "under `run`, `tasks wait` and `submit --wait`: the command's own (128 + n after signal n)")
    )
    yield from table(("exit code", "means"), rows)


def _unbuilt() -> Iterator[str]:
    yield "## Not available in this version"
    yield ""
    yield "These are published, and refused by name with exit code 2:"
    yield ""
    for group, names in UNBUILT.items():
        prefix = "" if group == "nodelink" else f"{group} "
        yield f"- {', '.join(f'`{prefix}{name}`' for name in names)}"
    yield "- `--token` and `NODELINK_TOKEN`"
