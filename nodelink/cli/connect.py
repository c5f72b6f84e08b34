"""Where the server is: the option `--server` of every command that talks to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from nodelink.address import parse_address
from nodelink.server_address import VARIABLE, find_server

_Function = TypeVar("_Function", bound=Callable[..., Any])


def server_option(function: _Function) -> _Function:
    """Give a command the parameter `server`, an address `host:port`."""
    return click.option(
        "--server",
        envvar=VARIABLE,
        metavar="HOST:PORT",
        callback=_resolved,
        help="The server's gRPC address. Else NODELINK_SERVER, then ./.nodelink/addresses.json, then 127.0.0.1:50051.",
    )(function)


def _resolved(_context: click.Context, _parameter: click.Parameter, given: str | None) -> str:
    if given is None:
        return find_server({})
    try:
        return str(parse_address(given))
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
