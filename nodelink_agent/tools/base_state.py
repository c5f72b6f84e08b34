"""The state of a workspace as a step begins with it, and what an attempt keeps of it until the step has ended.

A tool that has a state changes its file while it applies. What is in the file then has to come to the server, whatever
became of the apply and of this process: so where the file is, and what it replaces, is written down before. Blocks.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

FETCHED, NOTE = "state", "state.json"
"""Files of a step's directory: the state as it came from the server, and what is known of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseState:
    """The state of a workspace. `sha256`, `etag` empty: it has none yet. `fetched`: where its bytes are, if any."""

    workspace: str
    fetched: Path
    sha256: str = ""
    etag: str = ""

    def lay_out(self, path: Path) -> None:
        """Have it where the tool looks for it, and nothing else there. Nobody else may read it."""
        path.unlink(missing_ok=True)  # an archive may hold one, which is nobody's
        if self.sha256:
            path.touch(mode=0o600)
            shutil.copyfile(self.fetched, path)

    def note(self, directory: Path, path: Path) -> None:
        """Write down what is to be replaced by what will be in a file, before anything can be in it."""
        known = {"path": str(path), "sha256": self.sha256, "etag": self.etag}
        (directory / NOTE).with_suffix(".new").write_text(json.dumps(known), encoding="utf-8")
        (directory / NOTE).with_suffix(".new").rename(directory / NOTE)


@dataclass(frozen=True, slots=True)
class NewState:
    """The file that is to replace the state with this ETag; `etag` empty: there was none."""

    path: Path
    etag: str

    @property
    def is_whole(self) -> bool:
        """Whether it is a state, and not a part of one: a tool that is killed may leave that."""
        try:
            return isinstance(json.loads(self.path.read_bytes()), dict)
        except ValueError:
            return False


def new_state(directory: Path) -> NewState | None:
    """What has to be saved, by the note that was left; None: nothing, for nothing is different."""
    try:
        known = json.loads((directory / NOTE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    path = Path(known["path"])
    try:
        sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        return None
    return None if sha256 == known["sha256"] else NewState(path, known["etag"])
