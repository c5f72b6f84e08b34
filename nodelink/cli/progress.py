"""How far something has come: one line on standard error, rewritten in place; nothing where that is no terminal."""

from __future__ import annotations

import os
import shutil
import sys
from contextlib import aclosing
from typing import TYPE_CHECKING

from nodelink.cli.terminal import one_line

if TYPE_CHECKING:
    from nodelink.client import AsyncClient

BAR = 24
"""Characters of the bar itself."""

LINE_START, REST_OF_LINE = "\r", "\x1b[K"


class ProgressLine:
    """A bar, how much of a hundred, and a few words. Whoever writes to the terminal clears it first."""

    def __init__(self) -> None:
        self.is_seen = sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
        """Whether there is anybody to see it."""
        self._is_shown = False

    def show(self, fraction: float, words: str = "") -> None:
        """Tell how far it is, from 0 to 1."""
        if not self.is_seen:
            return
        fraction = min(1.0, max(0.0, fraction))
        full = round(fraction * BAR)
        line = one_line(f"[{'#' * full}{'.' * (BAR - full)}] {fraction:4.0%}  {words}")
        sys.stderr.write(f"{LINE_START}{line[: shutil.get_terminal_size().columns - 1]}{REST_OF_LINE}")
        sys.stderr.flush()
        self._is_shown = True

    def clear(self) -> None:
        """Take it away."""
        if self._is_shown:
            sys.stderr.write(LINE_START + REST_OF_LINE)
            sys.stderr.flush()
            self._is_shown = False


async def show_progress(client: AsyncClient, task_id: str, line: ProgressLine) -> None:
    """Tell what a task reports of itself, for as long as it does."""
    if not line.is_seen:
        return
    is_first = True
    async with aclosing(client.watch(task_id=task_id)) as events:
        async for event in events:
            if is_first:  # what it said before we listened is not told again
                progress = (await client.get(task_id)).progress
                if progress:
                    line.show(progress.fraction, progress.message)
                is_first = False
            fraction = event.details.get("fraction")
            if event.name == "task.progress" and isinstance(fraction, int | float):
                line.show(fraction, str(event.details.get("message", "")))
