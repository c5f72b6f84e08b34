"""One of a few words; whoever writes another is told which one is near."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

import click


class Choice(click.Choice[str]):
    """As click's own, and it says what may have been meant."""

    def __init__(self, choices: Sequence[str]) -> None:
        super().__init__([str(choice) for choice in choices])

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The word that was chosen."""
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter as error:
            near = closest(str(value), self.choices)
            hint = f" Did you mean {near!r}?" if near else ""
            raise click.BadParameter(error.message + hint, ctx, param) from error


def closest(word: str, known: Sequence[str]) -> str:
    """The known word that is most like this one; empty if none is like it."""
    return next(iter(difflib.get_close_matches(word.lower(), known, n=1)), "")
