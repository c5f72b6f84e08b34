"""`nodelink server` and `nodelink agent`: the services, by another name. They take the place of this process."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Sequence

import click

PASS_ON = {"ignore_unknown_options": True, "allow_interspersed_args": False, "help_option_names": []}


@click.command(context_settings=PASS_ON)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def server(arguments: Sequence[str]) -> None:
    """Start a server (as nodelink-server, with its options)."""
    become("nodelink_server", arguments)


@click.command(context_settings=PASS_ON)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def agent(arguments: Sequence[str]) -> None:
    """Start an agent (as nodelink-agent, with its options)."""
    become("nodelink_agent", arguments)


def become(package: str, arguments: Sequence[str]) -> None:
    """Go on as a service."""
    command = service_command(package, arguments)
    os.execv(command[0], command)  # noqa: S606 - no shell, and the program is our own


def service_command(package: str, arguments: Sequence[str]) -> list[str]:
    """The command that starts a service. UsageError: it is not installed here."""
    if importlib.util.find_spec(package) is None:
        raise click.UsageError(f"{package} is not installed here; pip install 'nodelink[server]' brings everything")
    return [sys.executable, "-m", package, *arguments]
