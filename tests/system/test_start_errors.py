"""Services that must not start say why, name what is wrong, and end with the code that systems know."""

from __future__ import annotations

import socket
import sqlite3
from pathlib import Path

import pytest

from tests.support.processes import ANY_PORT, Services, refusal
from tests.support.rest import Rest

IN_USE, TAKEN, NOT_RIGHT = 75, 69, 78
FREE = ("--grpc-address", ANY_PORT, "--http-address", ANY_PORT)
FLAG = "--insecure-i-accept-remote-code-execution"

pytestmark = pytest.mark.slow


async def server_refusal(data_dir: Path, *flags: str, **environment: str) -> tuple[int, str]:
    """The exit code and the words of a server that does not start. A flag given twice: the last one counts."""
    arguments = ("--data-dir", str(data_dir), *FREE, *flags)
    return await refusal("nodelink_server", *arguments, cwd=Path("/"), env=environment)


async def test_a_second_server_on_a_database_names_the_one_that_holds_it(services: Services, tmp_path: Path) -> None:
    server = await services.server()
    code, words = await server_refusal(server.data_dir)
    url = f"sqlite:///{server.data_dir / 'nodelink.db'}"
    from_elsewhere, _ = await server_refusal(tmp_path / "other", "--database-url", url)
    async with Rest(server) as rest:
        assert (await rest.http.get("/readyz")).status_code == 200

    assert (code, from_elsewhere) == (IN_USE, IN_USE)
    assert f"process {server.pid}" in words
    assert "nodelink.db" in words
    assert "Traceback" not in words


@pytest.mark.parametrize("door", ["--grpc-address", "--http-address"])
async def test_a_port_in_use_is_named(tmp_path: Path, door: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        code, words = await server_refusal(tmp_path / "data", door, address)

    assert code == TAKEN
    assert address in words
    assert "Traceback" not in words
    assert not (tmp_path / "data" / "addresses.json").exists()


@pytest.mark.parametrize("name", ["", "below"])
async def test_a_data_directory_that_is_a_file_is_refused(tmp_path: Path, name: str) -> None:
    occupied = tmp_path / "occupied"
    occupied.write_text("something else")
    code, words = await server_refusal(occupied / name)

    assert code == NOT_RIGHT
    assert "data_dir" in words
    assert str(occupied) in words
    assert occupied.read_text() == "something else"


async def test_a_data_directory_on_a_file_system_that_takes_nothing_is_refused() -> None:
    code, words = await server_refusal(Path("/proc/nodelink"))

    assert code == NOT_RIGHT
    assert "/proc/nodelink" in words


@pytest.mark.parametrize("written, expected", [("/dev/full", IN_USE), ("/proc/nodelink", NOT_RIGHT)])
async def test_a_server_that_cannot_say_where_it_is_does_not_begin(tmp_path: Path, written: str, expected: int) -> None:
    (tmp_path / "addresses.tmp").symlink_to(written)
    code, words = await server_refusal(tmp_path)

    assert code == expected
    assert f"{tmp_path / 'addresses.json'} cannot be written" in words
    assert "Traceback" not in words


async def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    database = tmp_path / "nodelink.db"
    database.write_text("a letter to a friend")
    code, words = await server_refusal(tmp_path)

    assert code == NOT_RIGHT
    assert f"{database} is not a database" in words
    assert database.read_text() == "a letter to a friend"


async def test_a_damaged_database_is_refused_by_name(services: Services) -> None:
    server = await services.server()
    server.terminate()
    await server.ended()
    database = server.data_dir / "nodelink.db"
    with database.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xa5" * 8192)
    code, words = await server_refusal(server.data_dir)

    assert code == NOT_RIGHT
    assert str(database) in words
    assert "Traceback" not in words


async def test_a_database_of_a_newer_version_is_refused(services: Services) -> None:
    server = await services.server()
    server.terminate()
    await server.ended()
    database = sqlite3.connect(server.data_dir / "nodelink.db")
    with database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
    database.close()
    code, words = await server_refusal(server.data_dir)

    assert code == NOT_RIGHT
    assert "newer version" in words


@pytest.mark.parametrize("door", ["--grpc-address", "--http-address"])
async def test_an_address_beyond_loopback_is_refused_and_the_flag_is_named(tmp_path: Path, door: str) -> None:
    code, words = await server_refusal(tmp_path / "data", door, "0.0.0.0:0")

    assert code == NOT_RIGHT
    assert FLAG in words
    assert not (tmp_path / "data").exists()


async def test_while_it_is_exposed_every_surface_shows_it(services: Services) -> None:
    server = await services.server(FLAG)
    async with Rest(server) as rest:
        health = await rest.http.get("/healthz")
        metrics = await rest.metrics()
        refused = await rest.http.get("/api/v1/tasks/unknown")

    assert health.json()["insecure"] is True
    assert metrics["nodelink_insecure"] == 1
    assert {answer.headers["x-nodelink-insecure"] for answer in (health, refused)} == {"remote-code-execution"}


async def test_a_server_that_listens_everywhere_warns_in_its_log(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        code, words = await server_refusal(
            tmp_path / "data", "--http-address", address, "--grpc-address", "0.0.0.0:0", FLAG
        )

    assert code == TAKEN
    assert "insecure_addresses_accepted" in words


@pytest.mark.parametrize(
    "name, value",
    [("NODELINK_SCHEDULE_MAX_RUNNING", "5"), ("NODELINK_CLEANUP_AGE", "30m")],
)
async def test_a_setting_that_is_not_built_is_refused_by_name(tmp_path: Path, name: str, value: str) -> None:
    code, words = await server_refusal(tmp_path / "data", **{name: value})

    assert (code, words) == (
        NOT_RIGHT,
        f"nodelink-server: setting {name} (from environment): this setting is not available in this version\n",
    )


@pytest.mark.parametrize("value", ["-5s", "5", "soon", "1e9h", "999999999999h", ""])
@pytest.mark.parametrize("name", ["cleanup-delay", "retention"])
async def test_a_duration_that_is_not_right_names_its_setting(tmp_path: Path, name: str, value: str) -> None:
    code, words = await server_refusal(tmp_path / "data", f"--{name}={value}")

    assert code == NOT_RIGHT
    assert f"setting {name.replace('-', '_')} (from --{name})" in words


@pytest.mark.parametrize("flags", [("--lease", "9s", "--heartbeat", "1s"), ("--lease", "19s", "--heartbeat", "5s")])
async def test_a_lease_that_leaves_an_agent_no_time_to_stop_what_runs_is_refused(
    tmp_path: Path, flags: tuple[str, ...]
) -> None:
    code, words = await server_refusal(tmp_path / "data", *flags)

    assert code == NOT_RIGHT
    assert "setting lease" in words
    assert "must be at least" in words


async def test_a_database_that_is_not_built_is_refused_without_its_password(tmp_path: Path) -> None:
    url = "postgresql://user:secret@localhost/nodelink"
    code, words = await server_refusal(tmp_path / "data", "--database-url", url)

    assert code == NOT_RIGHT
    assert "PostgreSQL" in words
    assert "secret" not in words


async def test_a_second_agent_on_a_directory_is_refused(services: Services, tmp_path: Path) -> None:
    server = await services.server()
    agent = await services.agent(server)
    async with Rest(server) as rest:
        await rest.online()
        flags = ("--server", server.grpc, "--data-dir", str(agent.data_dir))
        code, words = await refusal("nodelink_agent", *flags, cwd=tmp_path)
        agents = (await rest.get("/agents"))["agents"]

    assert code == IN_USE
    assert "another agent uses the directory" in words
    assert [shown["status"] for shown in agents] == ["online"]


async def test_a_checkpoint_that_is_not_whole_is_refused_by_its_defect(tmp_path: Path) -> None:
    file = tmp_path / "queue.checkpoint"
    file.write_bytes(b"something else")
    code, words = await server_refusal(tmp_path / "data", "--load-checkpoint", str(file))
    assert code == NOT_RIGHT
    assert "checkpoint: not a checkpoint: it does not begin like one" in words

    code, words = await server_refusal(tmp_path / "data", "--load-checkpoint", str(tmp_path / "nothing"))
    assert code == NOT_RIGHT
    assert "there is no checkpoint" in words
