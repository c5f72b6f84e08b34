"""Where a person sits who types commands: a directory of their own, and a server that the environment names."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from tests.support.command_line import Running, Said, nodelink, running


class Shell:
    """Runs commands there."""

    def __init__(self, directory: Path, server: str) -> None:
        self.directory = directory
        self.env: Mapping[str, str] = {"NODELINK_SERVER": server, "XDG_CACHE_HOME": str(directory / "cache")}

    async def __call__(self, *arguments: str, stdin: bytes | None = None) -> Said:
        """Run a command to its end."""
        return await nodelink(*arguments, cwd=self.directory, env=self.env, stdin=stdin)

    def start(self, *arguments: str) -> AbstractAsyncContextManager[Running]:
        """Run a command beside the test."""
        return running(*arguments, cwd=self.directory, env=self.env)
