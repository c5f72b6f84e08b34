"""Blobs, and the state of one workspace, in memory: for attempts without a server."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from pathlib import Path

from nodelink.blob_files import Given
from nodelink.errors import BlobNotFound, NodelinkError, StateChanged
from nodelink.task import AttemptRef
from nodelink_agent.blobs import Blobs, StateRef, TaskInputs


class MemoryBlobs:
    """Blobs of all attempts of a test. `names`: the artifacts. `gate`: sending waits for it. `refusal`: of states."""

    def __init__(self) -> None:
        self.stored: dict[str, bytes] = {}
        self.names: list[str] = []
        self.sending = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()
        self.refusal: NodelinkError | None = None
        self._state: StateRef | None = None

    @property
    def state(self) -> bytes | None:
        """The state of the workspace; None: it has none."""
        return None if self._state is None else self.stored[self._state.sha256]

    @state.setter
    def state(self, stored: bytes) -> None:
        """As somebody else may replace it."""
        self._replace(self._keep(stored))

    def open(self, _ref: AttemptRef, _sign: Callable[[], None]) -> Blobs:
        """The same for every attempt."""
        return self

    async def load(self) -> TaskInputs:
        """The state."""
        return TaskInputs(artifacts=[], workspace="", state=self._state)

    async def get(self, sha256: str, path: Path | str) -> Path:
        """Have bytes in a file."""
        if sha256 not in self.stored:
            raise BlobNotFound
        path = Path(path)
        await asyncio.to_thread(path.write_bytes, self.stored[sha256])
        return path

    async def put(self, given: Given, *, name: str = "") -> str:
        """Keep the bytes of a file."""
        self.sending.set()
        await self.gate.wait()
        assert isinstance(given, Path)
        sha256 = self._keep(await asyncio.to_thread(given.read_bytes))
        self.names.append(name)
        return sha256

    async def save_state(self, sha256: str, *, if_match: str) -> StateRef:
        """Replace the state that is named."""
        if self.refusal is not None:
            raise self.refusal
        if if_match != ("" if self._state is None else self._state.etag):
            raise StateChanged
        return self._replace(sha256)

    def _keep(self, stored: bytes) -> str:
        sha256 = hashlib.sha256(stored).hexdigest()
        self.stored[sha256] = stored
        return sha256

    def _replace(self, sha256: str) -> StateRef:
        version = 1 if self._state is None else self._state.version + 1
        self._state = StateRef(version=version, etag=f"e{version}", sha256=sha256, size=len(self.stored[sha256]))
        return self._state
