"""Where the server is: `--server`, NODELINK_SERVER, what a local server has written, or a default."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from nodelink.address import parse_address
from nodelink.client.channel import DEFAULT_SERVER

LOCAL_ADDRESSES = Path(".nodelink") / "addresses.json"

_Function = TypeVar("_Function", bound=Callable[..., Any])


def server_option(function: _Function) -> _Function:
    """Give a command the parameter `server`, an address `host:port`."""
    return click.option(
        "--server",
        envvar="NODELINK_SERVER",
        metavar="HOST:PORT",
        callback=_resolved,
        help="The server's gRPC address. Else NODELINK_SERVER, then ./.nodelink/addresses.json, then 127.0.0.1:50051.",
    )(function)


def _resolved(_context: click.Context, _parameter: click.Parameter, given: str | None) -> str:
    if given is None:
        return local_server(LOCAL_ADDRESSES) or DEFAULT_SERVER
    try:
        return str(parse_address(given))
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def local_server(path: Path) -> str | None:
    """The gRPC address that a server has written, or None if there is none."""
    addresses = read_addresses(path)
    return str(addresses["grpc"]) if addresses else None


def read_addresses(path: Path) -> dict[str, Any] | None:
    """What a server has written about itself: `grpc`, `http`, `pid`. None: nothing that can be used."""
    try:
        addresses = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return addresses if isinstance(addresses, dict) and isinstance(addresses.get("grpc"), str) else None
