"""Where the server is: the option `--server` of every command that talks to it, and the talk itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from nodelink.address import parse_address
from nodelink.cli.late import sdk
from nodelink.cli.unbuilt import refused_option
from nodelink.server_address import VARIABLE, find_server

if TYPE_CHECKING:
    from nodelink.client import AsyncClient

TOKEN_VARIABLE = "NODELINK_TOKEN"  # noqa: S105 - the name of one

_Function = TypeVar("_Function", bound=Callable[..., Any])
_Result = TypeVar("_Result")


def server_option(function: _Function) -> _Function:
    """Give a command the parameter `server`, an address `host:port`. A token is refused: nobody would look at it."""
    function = click.option(
        "--server",
        envvar=VARIABLE,
        metavar="HOST:PORT",
        callback=_resolved,
        help="The server's gRPC address. Else NODELINK_SERVER, then ./.nodelink/addresses.json, then 127.0.0.1:50051.",
    )(function)
    return refused_option("--token", metavar="TOKEN", variable=TOKEN_VARIABLE)(function)


def talk(server: str, work: Callable[[AsyncClient], Awaitable[_Result]]) -> _Result:
    """The result of something that is done with a connection to the server. Ctrl-C breaks it off."""

    async def connected() -> _Result:
        async with sdk.AsyncClient(server) as client:
            return await work(client)

    return asyncio.run(connected())


def _resolved(_context: click.Context, _parameter: click.Parameter, given: str | None) -> str:
    if given is None:
        return find_server({})
    try:
        return str(parse_address(given))
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
