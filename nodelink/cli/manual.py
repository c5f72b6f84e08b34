"""Commands that explain themselves as a manual page does: examples, the exit codes that matter, the environment."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import click

from nodelink.cli.choice import closest
from nodelink.cli.exit_codes import MEANINGS, Exit
from nodelink.cli.unbuilt import UNBUILT, Refused

VARIABLES: Mapping[str, tuple[str, str]] = {
    "server": ("NODELINK_SERVER", "the server, like --server"),
    "no_color": ("NO_COLOR", "anything: no colours, like --no-color (so does TERM=dumb)"),
}
"""The environment variable behind an option, and what it does."""


class ManualCommand(click.Command):
    """A command with examples, each a line to type, and the exit codes that a caller may want to tell apart."""

    def __init__(self, *arguments: Any, examples: Sequence[str] = (), exits: Iterable[Exit] = (), **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.examples = tuple(examples)
        self.exits = {code: MEANINGS[code] for code in exits}

    @property
    def variables(self) -> Sequence[tuple[str, str]]:
        """The environment variables that it obeys, and what each does."""
        return [VARIABLES[parameter.name] for parameter in self.params if parameter.name in VARIABLES]

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """What stands below the options."""
        _write_manual(self, formatter)


class CommandGroup(click.Group):
    """Commands of one noun. What is published but not available in this version is refused by its name."""

    command_class = ManualCommand

    def __init__(self, *arguments: Any, examples: Sequence[str] = (), **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.examples = tuple(examples)
        self.exits: Mapping[Exit, str] = {}
        self.variables: Sequence[tuple[str, str]] = ()

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, or one that refuses to be called."""
        found = super().get_command(ctx, cmd_name)
        if found is None and cmd_name in UNBUILT.get(self.name or "", ()):
            return Refused(cmd_name)
        return found

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the first argument names. UsageError: there is none, and which one may have been meant."""
        name = args[0]
        found = self.get_command(ctx, name)
        if found is None and not ctx.resilient_parsing and not name.startswith("-"):
            near = closest(name, self.list_commands(ctx))
            raise click.UsageError(f"No such command {name!r}." + (f" Did you mean {near!r}?" if near else ""), ctx)
        return super().resolve_command(ctx, args)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """What stands below the commands."""
        _write_manual(self, formatter)


def command(**named: Any) -> Callable[[Callable[..., Any]], ManualCommand]:
    """Make a function a command with a manual."""
    return click.command(cls=ManualCommand, **named)


def _write_manual(of: ManualCommand | CommandGroup, formatter: click.HelpFormatter) -> None:
    if of.examples:
        with formatter.section("Examples"):
            for line in of.examples:
                formatter.write(f"{' ' * formatter.current_indent}{line}\n")
    if of.exits:
        with formatter.section("Exit codes"):
            formatter.write_dl([(str(code.value), meaning) for code, meaning in of.exits.items()])
    if of.variables:
        with formatter.section("Environment"):
            formatter.write_dl(of.variables)
