"""Opening an SQLite database: what is made, what is refused, and with which words."""

from __future__ import annotations

import os
import sqlite3
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from nodelink.errors import StoreError
from nodelink_server.store.errors import (
    DatabaseDamaged,
    DatabaseHeld,
    DatabaseMixed,
    DatabaseNotBuilt,
    DatabaseUnwritable,
    SchemaTooNew,
)
from nodelink_server.store.sql import open_store
from tests.server.store.lives import live, waiting


def url(path: Path) -> str:
    return f"sqlite:///{path}"


async def opened(database_url: str, *, cluster_id: str = "cluster") -> str:
    """Open a database and close it again; the name it has."""
    async with open_store(database_url, ids=lambda: cluster_id) as store:
        return (await store.boot(0)).cluster_id


def mode(path: Path) -> int:
    """Who may do what with a file."""
    return stat.S_IMODE(path.stat().st_mode)


def names(directory: Path) -> set[str]:
    """The files of a directory."""
    return {path.name for path in directory.iterdir()}


def allow(path: Path, allowed: int) -> None:
    """Say who may do what with a file."""
    path.chmod(allowed)


def damage(path: Path) -> None:
    """Overwrite the last page: one that nobody reads when a database is opened."""
    with path.open("r+b") as file:
        file.seek(-4096, os.SEEK_END)
        file.write(b"\xff" * 4096)


async def refusal(database_url: str) -> StoreError:
    with pytest.raises(StoreError) as raised:
        await opened(database_url)
    return raised.value


async def test_the_files_are_made_and_nobody_else_may_read_them(tmp_path: Path) -> None:
    directory = tmp_path / "deep" / "data"

    async with open_store(url(directory / "nodelink.db"), ids=lambda: "cluster") as store:
        await live(store, waiting("t1"))
        files = {name: mode(directory / name) for name in names(directory)}

    assert mode(directory) == 0o700
    assert files.pop("blobs") == 0o700
    assert {"nodelink.db", "nodelink.db-wal", "logs.db", "nodelink.db.lock"} <= files.keys()
    assert set(files.values()) == {0o600}


async def test_a_directory_that_was_there_keeps_its_mode(tmp_path: Path) -> None:
    allow(tmp_path, 0o755)

    await opened(url(tmp_path / "nodelink.db"))

    assert mode(tmp_path) == 0o755


async def test_a_database_keeps_the_name_it_was_given(tmp_path: Path) -> None:
    assert await opened(url(tmp_path / "nodelink.db"), cluster_id="first") == "first"
    assert await opened(url(tmp_path / "nodelink.db"), cluster_id="second") == "first"


async def test_a_path_may_hold_odd_characters(tmp_path: Path) -> None:
    directory = tmp_path / "50% of a 'naïve' plan; drop"

    assert await opened(url(directory / "node link.db")) == "cluster"
    assert (directory / "node link.db").exists()


async def test_a_second_opener_is_told_who_has_it(tmp_path: Path) -> None:
    async with open_store(url(tmp_path / "nodelink.db"), ids=lambda: "cluster"):
        error = await refusal(url(tmp_path / "nodelink.db"))

    assert isinstance(error, DatabaseHeld)
    assert str(tmp_path / "nodelink.db") in error.message
    assert str(os.getpid()) in error.message
    assert await opened(url(tmp_path / "nodelink.db")) == "cluster"


async def test_two_databases_do_not_share_the_file_of_output(tmp_path: Path) -> None:
    async with open_store(url(tmp_path / "one.db"), ids=lambda: "one"):
        assert isinstance(await refusal(url(tmp_path / "two.db")), DatabaseHeld)

    error = await refusal(url(tmp_path / "two.db"))
    assert isinstance(error, DatabaseMixed)
    assert "logs.db" in error.message


@pytest.mark.parametrize("path", ["/proc/nodelink/nodelink.db", "/dev/null/nodelink.db"])
async def test_a_directory_that_cannot_be_made_is_said(path: str) -> None:
    error = await refusal(f"sqlite:///{path}")

    assert isinstance(error, DatabaseUnwritable)
    assert path in error.message


@pytest.mark.tmpfs
async def test_a_directory_on_a_disk_that_cannot_be_written_is_said(read_only: Path) -> None:
    error = await refusal(url(read_only / "nodelink.db"))

    assert isinstance(error, DatabaseUnwritable)
    assert str(read_only) in error.message


@pytest.fixture
def read_only(tmp_path: Path) -> Iterator[Path]:
    """A directory in which not even root may write."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "none", str(tmp_path)], check=True)
    yield tmp_path
    subprocess.run(["umount", str(tmp_path)], check=True)


@pytest.mark.parametrize("name", ["nodelink.db", "logs.db"])
async def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path, name: str) -> None:
    await opened(url(tmp_path / "nodelink.db"))
    (tmp_path / name).write_bytes(b"dear diary, today")

    error = await refusal(url(tmp_path / "nodelink.db"))

    assert isinstance(error, DatabaseDamaged)
    assert str(tmp_path / name) in error.message
    assert (tmp_path / name).read_bytes() == b"dear diary, today"


async def test_a_damaged_page_is_found_when_a_database_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "nodelink.db"
    async with open_store(url(path), ids=lambda: "cluster") as store:
        for number in range(100):
            await live(store, waiting(f"t{number}", payload=b"x" * 1000))
    damage(path)

    error = await refusal(url(path))

    assert isinstance(error, DatabaseDamaged)
    assert str(path) in error.message


async def test_a_database_of_something_else_is_refused(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "nodelink.db")
    connection.execute("CREATE TABLE recipes (name TEXT)")
    connection.close()

    assert isinstance(await refusal(url(tmp_path / "nodelink.db")), DatabaseDamaged)


@pytest.mark.parametrize("name", ["nodelink.db", "logs.db"])
async def test_a_newer_schema_is_refused(tmp_path: Path, name: str) -> None:
    await opened(url(tmp_path / "nodelink.db"))
    connection = sqlite3.connect(tmp_path / name)
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.commit()
    connection.close()

    error = await refusal(url(tmp_path / "nodelink.db"))

    assert isinstance(error, SchemaTooNew)
    assert "9999" in error.message
    assert str(tmp_path / name) in error.message


async def test_output_of_a_database_that_is_gone_is_not_taken_over(tmp_path: Path) -> None:
    await opened(url(tmp_path / "nodelink.db"), cluster_id="first")
    (tmp_path / "nodelink.db").unlink()

    with pytest.raises(DatabaseMixed):
        await opened(url(tmp_path / "nodelink.db"), cluster_id="second")


@pytest.mark.parametrize(
    "database_url",
    [
        "postgresql://user:secret@host/db",
        "postgres://host/db",
        "mysql://u:secret@h/db",
        "sqlite://",
        "nodelink.db",
        "sqlite:///:memory:",
    ],
)
async def test_other_databases_are_not_built_yet(database_url: str) -> None:
    error = await refusal(database_url)

    assert isinstance(error, DatabaseNotBuilt)
    assert "sqlite:///" in error.message
    assert "secret" not in error.message
