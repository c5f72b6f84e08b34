"""Archives are unpacked where they belong, with a Python that checks them and with one that does not."""

from __future__ import annotations

import os
import stat
import tarfile
from io import BytesIO
from pathlib import Path

import pytest

from nodelink_agent.tools import unpacking
from nodelink_agent.tools.unpacking import unpack

WAYS = [False, True] if unpacking.CAN_CHECK else [False]


@pytest.fixture(params=WAYS, ids=lambda checks: "Python checks" if checks else "Python does not check")
def checks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setattr(unpacking, "CAN_CHECK", request.param)
    return bool(request.param)


def member(name: str, kind: bytes = tarfile.REGTYPE, mode: int = 0o644) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.mode, made.uid, made.gid, made.uname = kind, mode, 4321, 4321, "somebody"
    return made


def unpacked(directory: Path, *members: tarfile.TarInfo) -> Path:
    packed = BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for one in members:
            one.size = 2 if one.isfile() else 0
            tar.addfile(one, BytesIO(b"[]"))
    into = directory / "into"
    into.mkdir()
    packed.seek(0)
    with tarfile.open(fileobj=packed) as tar:
        unpack(tar, into)
    return into


@pytest.mark.usefixtures("checks")
def test_files_are_the_agents_own_and_nobody_else_may_write_them(tmp_path: Path) -> None:
    asked = {"d/run.sh": 0o6777, "plain": 0o666, "key": 0o600, "odd": 0o011}
    members = (member(name, mode=mode) for name, mode in asked.items())
    into = unpacked(tmp_path, member("d", tarfile.DIRTYPE, 0o755), *members)
    assert (into / "d" / "run.sh").read_text() == "[]"
    modes = {name: stat.S_IMODE((into / name).stat().st_mode) for name in asked}
    assert modes == {"d/run.sh": 0o755, "plain": 0o644, "key": 0o600, "odd": 0o600}
    assert {path.stat().st_uid for path in into.rglob("*")} == {os.geteuid()}


@pytest.mark.usefixtures("checks")
@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_what_leads_elsewhere_is_refused(tmp_path: Path, kind: bytes) -> None:
    link = member("link", kind)
    link.linkname = "../outside"
    (tmp_path / "outside").write_text("kept")
    with pytest.raises(tarfile.TarError):
        unpacked(tmp_path, link, member("link"))
    assert (tmp_path / "outside").read_text() == "kept"


@pytest.mark.usefixtures("checks")
def test_a_name_that_leads_outside_is_refused(tmp_path: Path) -> None:
    with pytest.raises(tarfile.TarError):
        unpacked(tmp_path, member("../outside"))
    assert not (tmp_path / "outside").exists()


def test_without_checks_an_absolute_name_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "CAN_CHECK", False)
    with pytest.raises(tarfile.ExtractError, match="outside"):
        unpacked(tmp_path, member(str(tmp_path / "outside")))
    assert not (tmp_path / "outside").exists()
