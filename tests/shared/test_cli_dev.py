"""`nodelink dev` with the real services: it starts them, uses them, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from tests.support.command_line import nodelink, running

ANY_PORTS = ("--grpc-address", "127.0.0.1:0", "--http-address", "127.0.0.1:0")

pytestmark = pytest.mark.slow


async def test_a_command_runs_as_a_task_and_leaves_nothing_behind(tmp_path: Path) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    script = "echo out; echo err >&2; pwd; exit 3"
    said = await nodelink("dev", "--", "sh", "-c", script, cwd=tmp_path, env={"TMPDIR": str(temporary)})

    assert (said.code, said.out.decode(), said.err) == (3, f"out\n{tmp_path}\n", "err\n")
    assert _inside(temporary) == []
    assert _inside(tmp_path) == [temporary]


async def test_a_variable_for_another_server_does_not_draw_it_away(tmp_path: Path) -> None:
    env = {"NODELINK_SERVER": "127.0.0.1:1", "NODELINK_DATABASE_URL": "sqlite:////nowhere/at/all.db"}
    said = await nodelink("dev", "--", "true", cwd=tmp_path, env=env)

    assert (said.code, said.err) == (0, "")


async def test_an_interrupt_stops_both_services(tmp_path: Path) -> None:
    async with running("dev", *ANY_PORTS, cwd=tmp_path) as command:
        await command.says("nodelink is ready")
        addresses = json.loads((tmp_path / ".nodelink" / "addresses.json").read_text())
        listed = await nodelink("agents", "list", "-o", "json", cwd=tmp_path)
        ran = await nodelink("run", "--", "sh", "-c", "exit 5", cwd=tmp_path)
        command.interrupt()
        said = await command.end()

    assert [agent["status"] for agent in json.loads(listed.out)] == ["online"]
    assert (ran.code, said.code) == (5, 0)
    assert not _alive(addresses["pid"])
    assert said.err.index("agent_stopped") < said.err.index("server_stopped")


async def test_the_death_of_a_service_ends_the_other_one(tmp_path: Path) -> None:
    async with running("dev", *ANY_PORTS, cwd=tmp_path) as command:
        await command.says("nodelink is ready")
        addresses = json.loads((tmp_path / ".nodelink" / "addresses.json").read_text())
        os.kill(addresses["pid"], signal.SIGKILL)
        said = await command.end()

    assert said.code == 125
    assert "error: the server ended by signal 9" in said.err


async def test_services_that_cannot_start_show_their_log(tmp_path: Path) -> None:
    (tmp_path / "wrong.toml").write_text("nonsense = 1\n")
    said = await nodelink("dev", "--config", "wrong.toml", "--", "true", cwd=tmp_path)

    assert said.code == 78
    assert "setting nonsense" in said.err
    assert "error: the server ended with code 78" in said.err


@pytest.mark.parametrize("service", ["server", "agent"])
async def test_the_services_can_be_started_by_their_other_names(tmp_path: Path, service: str) -> None:
    said = await nodelink(service, "--help", cwd=tmp_path)

    assert said.code == 0
    assert "--data-dir" in said.out.decode()


def _inside(directory: Path) -> list[Path]:
    return list(directory.iterdir())


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
