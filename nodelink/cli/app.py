"""All commands together, and what becomes of errors: one line on standard error and a published exit code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module

import click
from click.shell_completion import CompletionItem

from nodelink.cli import colours
from nodelink.cli.completion import PROGRAM
from nodelink.cli.exit_codes import Exit, code_of_error
from nodelink.cli.manual import CommandGroup
from nodelink.cli.output import say_error
from nodelink.errors import LinkLost, NodelinkError

UNREACHABLE_HINT = "start one with `nodelink dev`, or name one with --server; `nodelink doctor` tells more"

COMMANDS: Mapping[str, tuple[str, str]] = {
    "dev": ("nodelink.cli.dev:dev", "Start a server and an agent on this machine."),
    "server": ("nodelink.cli.services:server", "Start a server."),
    "agent": ("nodelink.cli.services:agent", "Start an agent."),
    "run": ("nodelink.cli.run:run", "Run a command on an agent, and follow it."),
    "submit": ("nodelink.cli.submit:submit", "Submit a task of any type."),
    "tasks": ("nodelink.cli.tasks:tasks", "Look at tasks, wait for them, stop them."),
    "agents": ("nodelink.cli.agents:agents", "Look at the agents, and say which of them get work."),
    "scheduler": ("nodelink.cli.scheduler:scheduler", "Look at the queue as a whole, and pause it."),
    "checkpoints": ("nodelink.cli.checkpoints:checkpoints", "Snapshots with which another server can go on."),
    "plans": ("nodelink.cli.plans:plans", "Look at what changes would do before they are made."),
    "workspaces": ("nodelink.cli.workspaces:workspaces", "Say where tasks run that belong together."),
    "artifacts": ("nodelink.cli.artifacts:artifacts", "Keep bytes for tasks to work on, and what they leave."),
    "limits": ("nodelink.cli.limits:limits", "Say how many tasks may run at a time."),
    "stats": ("nodelink.cli.stats:stats", "How much was done, how fast and how well."),
    "doctor": ("nodelink.cli.doctor:doctor", "Find out what is wrong, and what helps."),
    "completion": ("nodelink.cli.completion:completion", "Let a shell complete commands."),
    "help": ("nodelink.cli.help:show_help", "Show the manual of a command."),
}
"""Where each command is, and what it does in a few words: nothing is loaded to list them."""


class LateGroup(CommandGroup):
    """Loads a command when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of all commands, in the order of the help."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, loaded; or one that refuses to be called."""
        if cmd_name not in COMMANDS:
            return super().get_command(ctx, cmd_name)
        module, _, name = COMMANDS[cmd_name][0].partition(":")
        found = getattr(import_module(module), name)
        return found if isinstance(found, click.Command) else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """What the commands do, in a few words each."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, about) for name, (_, about) in COMMANDS.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:
        """Commands, and options behind a dash."""
        fitting = [name for name in COMMANDS if name.startswith(incomplete)]
        named = [CompletionItem(name, help=COMMANDS[name][1]) for name in fitting]
        return named + click.Command.shell_complete(self, ctx, incomplete)


def _show_version(context: click.Context, _parameter: click.Parameter, given: bool) -> None:
    if given and not context.resilient_parsing:
        click.echo(f"{PROGRAM}, version {import_module('nodelink.cli.version').own_version()}")
        context.exit()


def _without_colour(context: click.Context, _parameter: click.Parameter, given: bool) -> None:
    if given:
        context.color = False


@click.group(
    name=PROGRAM,
    cls=LateGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    examples=(
        "nodelink dev                      # a server and an agent on this machine",
        "nodelink run -- uname -a          # in another terminal",
        "nodelink tasks list",
        "nodelink help tasks wait",
    ),
)
@click.option("--no-color", is_flag=True, expose_value=False, callback=_without_colour, help="Say it without colours.")
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_show_version,
    help="Show the version and exit.",
)
def nodelink() -> None:
    """Run tasks on machines you cannot reach.

    Begin with `nodelink dev`, then, in another terminal, `nodelink run -- uname -a`.
    """


def execute(arguments: Sequence[str] | None = None) -> int:
    """Run a command line (None: our own). Returns the exit code. SystemExit: nobody reads our output any more."""
    try:
        outcome = nodelink.main(arguments, prog_name=PROGRAM, standalone_mode=False, color=colours.wanted())
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.ctx.get_help(), err=True)
        return Exit.USAGE
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else PROGRAM
        say_error(error.format_message(), f"`{path} --help` tells more")
        return Exit.USAGE
    except click.ClickException as error:
        say_error(error.format_message())
        return error.exit_code
    except NodelinkError as error:
        say_error(error.message, UNREACHABLE_HINT if isinstance(error, LinkLost) else "")
        return code_of_error(error)
    except OSError as error:
        say_error(f"{error.filename}: {error.strerror}" if error.filename else str(error))
        return Exit.FAILED
    except (click.Abort, KeyboardInterrupt):
        return Exit.INTERRUPTED
    return int(outcome) if isinstance(outcome, int) else Exit.OK
