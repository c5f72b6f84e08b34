"""`nodelink help`: the manual of a command."""

from __future__ import annotations

from collections.abc import Sequence

import click
from click.shell_completion import CompletionItem

from nodelink.cli.manual import command
from nodelink.cli.unbuilt import Refused


def _commands(context: click.Context, _parameter: click.Parameter, begun: str) -> list[CompletionItem[str]]:
    found = context.find_root().command
    for name in context.params.get("names") or ():
        further = found.get_command(context, name) if isinstance(found, click.Group) else None
        if further is None:
            return []
        found = further
    return found.shell_complete(click.Context(found), begun) if isinstance(found, click.Group) else []


@command(name="help", examples=("nodelink help", "nodelink help run", "nodelink help tasks list"))
@click.argument("names", nargs=-1, metavar="[COMMAND]...", shell_complete=_commands)
@click.pass_context
def show_help(context: click.Context, names: Sequence[str]) -> None:
    """Show the manual of a command, the same as `COMMAND --help`."""
    root = context.find_root()
    found, place = root.command, root
    for name in names:
        if not isinstance(found, click.Group):
            raise click.UsageError(f"`{place.command_path}` has no commands", place)
        _, further, _ = found.resolve_command(place, [name])
        if further is None:
            raise click.UsageError(f"No such command {name!r}.", place)
        if isinstance(further, Refused):
            further.refuse(place)
        found, place = further, click.Context(further, place, info_name=name, **further.context_settings)
    if place.help_option_names:
        click.echo(found.get_help(place))
    else:
        found.main(["--help"], standalone_mode=False)  # a service that explains itself
