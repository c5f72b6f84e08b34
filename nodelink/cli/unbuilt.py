"""What is published and not available in this version: it is refused by its name, never taken and ignored."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, TypeVar

import click

UNBUILT: Mapping[str, Sequence[str]] = {
    "nodelink": (
        *("pools", "schedules", "workflows", "dead-letters", "tokens", "audit"),
        *("backup", "restore"),
    ),
}
"""Commands by the noun that they belong to."""

_Function = TypeVar("_Function", bound=Callable[..., Any])


class NotAvailable(click.UsageError):
    """This is not available in this version."""

    def __init__(self, what: str, context: click.Context | None = None) -> None:
        super().__init__(f"{what} is not available in this version", context)


class Refused(click.Command):
    """A command that says that it is not there, whatever it is given."""

    def __init__(self, name: str) -> None:
        super().__init__(
            name,
            callback=self._refuse,
            hidden=True,
            params=[click.Argument(["arguments"], nargs=-1, type=click.UNPROCESSED, expose_value=False)],
            context_settings={"ignore_unknown_options": True, "help_option_names": []},
        )

    def refuse(self, group: click.Context) -> NoReturn:
        """Say it, as a command of that group."""
        raise NotAvailable(f"`{group.command_path} {self.name}`", group)

    def _refuse(self) -> None:
        context = click.get_current_context()
        self.refuse(context.parent or context)


def refused_option(name: str, *, metavar: str, variable: str | None = None) -> Callable[[_Function], _Function]:
    """An option, and perhaps its environment variable, that says that it is not there."""

    def refuse(context: click.Context, parameter: click.Parameter, given: object) -> None:
        if given in (None, ()) or context.resilient_parsing:
            return
        source = context.get_parameter_source(parameter.name or "")
        by_variable = source is click.core.ParameterSource.ENVIRONMENT
        raise NotAvailable(f"{variable} (in the environment)" if by_variable else name, context)

    return click.option(
        name,
        metavar=metavar,
        multiple=variable is None,
        envvar=variable,
        hidden=True,
        expose_value=False,
        callback=refuse,
    )
