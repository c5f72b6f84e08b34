"""A small disk is full when it was filled, has room again when it was freed, and leaves behind what it held."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from tests.faults.disks import BALLAST, small_disks

pytestmark = pytest.mark.tmpfs


async def test_a_filled_disk_takes_nothing_until_it_is_freed_and_leaves_what_it_held(tmp_path: Path) -> None:
    place = tmp_path / "agent-0"
    async with small_disks({"agent-0": place}) as disks:
        [disk] = disks.values()
        (place / "before").write_bytes(b"before")
        disk.fill()
        with pytest.raises(OSError, match=r"No space left") as full:
            (place / "during").write_bytes(b"during")
        disk.free()
        (place / "after").write_bytes(b"after")
        disk.fill(but=64 * 1024)
        (place / "still").write_bytes(b"x" * 32 * 1024)
        assert place.is_mount()

    assert full.value.errno == errno.ENOSPC
    assert not place.is_mount()
    assert {path.name: path.stat().st_size for path in place.iterdir() if path.name != BALLAST} == {
        "before": 6,
        "during": 0,
        "after": 5,
        "still": 32 * 1024,
    }
