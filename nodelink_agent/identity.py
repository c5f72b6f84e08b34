"""Who this agent is: an id and a secret made at its first start, and the number of its last session.

They live in `identity.json` in the agent's directory, which one agent at a time holds. A damaged file is refused by
name and never made anew: under a new identity the server would not know the agent's work again.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from uuid import UUID

from nodelink.ids import IdMaker

FILE_NAME = "identity.json"
LOCK_NAME = "lock"
SECRET_BYTES = 32
_MACHINE_ID = Path("/etc/machine-id")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


class IdentityError(Exception):
    """The agent's identity cannot be used. The message names the file and what can be done."""


class DirectoryHeld(IdentityError):
    """Another agent uses the directory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What the identity file holds. `session` is the last number that may have been used.

    Of sessions before `remembers_since` this agent may know nothing, whatever its journal says: its identity was used
    by another, or came from an old copy.
    """

    agent_id: str
    secret: str = field(repr=False)
    session: int = 0
    remembers_since: int = 0

    @property
    def secret_bytes(self) -> bytes:
        """The secret as it is sent."""
        return bytes.fromhex(self.secret)


class IdentityFile:
    """The identity on disk. Session numbers are durable before they are used."""

    def __init__(self, path: Path, identity: Identity) -> None:
        self._path = path
        self._identity = identity

    @property
    def identity(self) -> Identity:
        """The identity as it is on disk."""
        return self._identity

    def next_session(self) -> int:
        """A number that was never used before, durable when this returns. OSError: it could not be written."""
        self._write(replace(self._identity, session=self._identity.session + 1))
        return self._identity.session

    def raise_session(self, last: int) -> None:
        """Go beyond a number that the server knows of. Sessions up to it may have been another's."""
        last = max(last, self._identity.session)
        self._write(replace(self._identity, session=last, remembers_since=last + 1))

    def _write(self, identity: Identity) -> None:
        _write_durably(self._path, json.dumps(asdict(identity)).encode())
        self._identity = identity


@contextmanager
def open_identity(directory: Path) -> Iterator[IdentityFile]:
    """The identity in a directory, which is made if need be and held for as long as this lasts.

    Raises DirectoryHeld if another agent holds it, and IdentityError if it cannot be used or its content is damaged.
    """
    path = directory / FILE_NAME
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.chmod(0o700)
        lock = os.open(directory / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise IdentityError(f"the directory {directory} cannot be used: {error.strerror}") from error
    try:
        _hold(lock, directory)
        yield IdentityFile(path, _read(path) or _make(path))
    finally:
        os.close(lock)


def host_id() -> str:
    """Names this host and its boot, so that copies of an identity on two hosts can be told apart."""
    parts = [path.read_text().strip() for path in (_MACHINE_ID, _BOOT_ID) if path.exists()]
    parts.append(os.uname().nodename)  # containers on one machine share the rest
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:32]


def _hold(lock: int, directory: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise DirectoryHeld(
            f"another agent uses the directory {directory}; stop it, or give this one a --data-dir of its own"
        ) from error


def _read(path: Path) -> Identity | None:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise _damaged(path, str(error)) from error
    try:
        content = json.loads(text)
        identity = Identity(
            agent_id=str(UUID(content["agent_id"])),
            secret=content["secret"],
            session=_number(content["session"]),
            remembers_since=_number(content.get("remembers_since", 0)),
        )
        if len(identity.secret_bytes) != SECRET_BYTES:
            raise ValueError("a value is out of range")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise _damaged(path, f"{type(error).__name__}: {error}") from error
    return identity


def _number(value: object) -> int:
    if type(value) is not int or value < 0:
        raise ValueError("a value is out of range")
    return value


def _damaged(path: Path, problem: str) -> IdentityError:
    remedy = "restore it from a backup, or move it away to begin as a new agent"
    return IdentityError(f"the identity file {path} is damaged ({problem}); {remedy}")


def _make(path: Path) -> Identity:
    new_id = IdMaker(now=lambda: time.time_ns() // 1_000_000, random_bits=secrets.randbits)
    identity = Identity(agent_id=new_id(), secret=secrets.token_hex(SECRET_BYTES))
    try:
        _write_durably(path, json.dumps(asdict(identity)).encode())
    except OSError as error:
        raise IdentityError(f"the identity file {path} cannot be written: {error.strerror}") from error
    return identity


def _write_durably(path: Path, content: bytes) -> None:
    """Replace a file as a whole: after a crash the old or the new content is there, never a part."""
    temporary = path.with_suffix(".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
