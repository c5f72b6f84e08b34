"""All commands together, and what becomes of errors: one line on standard error and a published exit code."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

import click

from nodelink.cli.agents import agents
from nodelink.cli.completion import PROGRAM, completion
from nodelink.cli.dev import dev
from nodelink.cli.exit_codes import Exit, code_of_error
from nodelink.cli.output import say_error
from nodelink.cli.run import run
from nodelink.cli.services import agent, server
from nodelink.cli.submit import submit
from nodelink.cli.tasks import tasks
from nodelink.errors import LinkLost, NodelinkError

UNREACHABLE_HINT = "start one with `nodelink dev`, or name one with --server"


def _version() -> str:
    try:
        return version(PROGRAM)
    except PackageNotFoundError:
        return "unknown"


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(_version(), prog_name=PROGRAM)
def nodelink() -> None:
    """Run tasks on machines you cannot reach.

    Begin with `nodelink dev`, then, in another terminal, `nodelink run -- uname -a`.
    """


for _command in (dev, server, agent, run, submit, tasks, agents, completion):
    nodelink.add_command(_command)


def execute(arguments: Sequence[str] | None = None) -> int:
    """Run a command line (None: our own). Returns the exit code."""
    try:
        outcome = nodelink.main(arguments, prog_name=PROGRAM, standalone_mode=False)
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
