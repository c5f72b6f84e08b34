"""Unpacks a tar that somebody else has made, so that nothing of it gets out of its directory."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

CAN_CHECK = hasattr(tarfile, "data_filter")
"""Python 3.11 checks archives itself from 3.11.4 on. Debian 12 has 3.11.2."""


def unpack(tar: tarfile.TarFile, into: Path) -> None:
    """Unpack everything into a directory, which is there. Raises `tarfile.TarError` for what would get out of it.

    Where Python cannot check links, an archive that has any is refused.
    """
    if CAN_CHECK:
        tar.extractall(into, filter="data")
        return
    members = tar.getmembers()
    for member in members:
        _make_plain(member, into)
    tar.extractall(into, members)  # noqa: S202 - each was just made plain


def _make_plain(member: tarfile.TarInfo, into: Path) -> None:
    """Let a member be the agent's own, with no more rights than the other way leaves it."""
    if not (member.isfile() or member.isdir()):
        raise tarfile.ExtractError(f"{member.name!r} is no file and no directory; links need Python 3.11.4 or newer")
    if not (into / member.name).resolve().is_relative_to(into.resolve()):
        raise tarfile.ExtractError(f"{member.name!r} is outside of the archive's directory")
    if member.isdir():
        member.mode = 0o755
    else:  # what is private stays so: programs refuse a key that others may read
        member.mode = 0o600 | (member.mode & (0o755 if member.mode & 0o100 else 0o644))
    member.uid, member.gid, member.uname, member.gname = os.geteuid(), os.getegid(), "", ""
