"""`--watch`: something shown again whenever an event says that it may have changed."""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, TypeVar

import click

from nodelink.cli.background import background
from nodelink.cli.output import id_of, json_line
from nodelink.cli.table import Form

if TYPE_CHECKING:
    from nodelink.client import AsyncClient, Event

REDRAW_SECONDS = 0.25
"""At most so often it is looked again, however many events come."""

SETTLE_SECONDS = 0.5
"""After so long it is looked once more: for what happened while the listening began."""

UNTOLD_SECONDS = 10.0
"""And then so often, for what no event tells: that an agent is silent, and how long ago things were."""

VOLATILE = frozenset({"last_heartbeat_at", "last_contact", "from", "to"})
"""What changes all the time and is no news by itself."""

HOME, REST_OF_LINE, REST_OF_SCREEN, ALL = "\x1b[H", "\x1b[K", "\x1b[J", "\x1b[2J"

_Function = TypeVar("_Function", bound=Callable[..., Any])


def watch_option(function: _Function) -> _Function:
    """Give a command the parameter `watch`."""
    return click.option(
        "-w", "--watch", is_flag=True, help="Show it again whenever it changes. Ctrl-C ends it, with exit code 130."
    )(function)


class Watch:
    """Looks, shows, and waits for an event, until there is nothing more to come."""

    def __init__(
        self,
        look: Callable[[], Awaitable[Sequence[Form]]],
        text: Callable[[Sequence[Form]], str],
        *,
        output: str,
        is_over: Callable[[Sequence[Form]], bool] = lambda _forms: False,
    ) -> None:
        self._look = look
        self._text = text
        self._is_over = is_over
        self._stirred = asyncio.Event()
        self._shown = _redrawn() if sys.stdout.isatty() and output == "table" else _appended(output)

    async def run(self, client: AsyncClient, *, task_id: str = "", pool: str = "", type: str = "") -> None:
        """Show it until it is over. It may have changed when there is an event of this task, pool or type."""
        events = client.watch(task_id=task_id, pool=pool, type=type)
        async with background(self._listen(events)) as listening:
            patience = SETTLE_SECONDS
            while True:
                forms = await self._look()
                self._shown(forms, self._text(forms))
                if self._is_over(forms):
                    return
                await self._something_happens(listening, patience)
                patience = UNTOLD_SECONDS

    async def _listen(self, events: AsyncGenerator[Event, None]) -> None:
        async with aclosing(events):
            async for event in events:
                if event.name != "task.output":
                    self._stirred.set()

    async def _something_happens(self, listening: asyncio.Task[None], seconds: float) -> None:
        async with background(self._stirred.wait()) as stirred:
            await asyncio.wait({listening, stirred}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if listening.done():
            await listening  # raises why
        await asyncio.sleep(REDRAW_SECONDS)
        self._stirred.clear()


def _redrawn() -> Callable[[Sequence[Form], str], None]:
    """On a terminal: over what was shown before, as much as it has lines."""
    sys.stdout.write(ALL)

    def show(_forms: Sequence[Form], text: str) -> None:
        lines = text.splitlines()[: shutil.get_terminal_size().lines - 1]
        sys.stdout.write(HOME)
        for line in lines:
            click.echo(line, nl=False)
            sys.stdout.write(f"{REST_OF_LINE}\n")
        sys.stdout.write(REST_OF_SCREEN)
        sys.stdout.flush()

    return show


def _appended(output: str) -> Callable[[Sequence[Form], str], None]:
    """Elsewhere: below what was shown before, and only what is new. `ndjson`: a line for each thing that changed."""
    before: dict[str, Form] = {}
    begun = False

    def show(forms: Sequence[Form], text: str) -> None:
        nonlocal before, begun
        now = {f"{number} {id_of(form)}": form for number, form in enumerate(forms)}
        if output == "ndjson":
            now = {id_of(form): form for form in forms}
            fresh = [form for name, form in now.items() if name not in before or _news(form) != _news(before[name])]
            click.echo("".join(map(json_line, fresh)), nl=False)
        elif not begun or {name: _news(form) for name, form in now.items()} != {
            name: _news(form) for name, form in before.items()
        }:
            click.echo(f"\n{text}" if begun and output == "table" else text, nl=False)
        before, begun = now, True

    return show


def _news(form: Form) -> Form:
    return {name: value for name, value in form.items() if name not in VOLATILE}
