"""The images as they are built and run: without privileges, healthy when they work, gone in time, and small."""

from __future__ import annotations

import json

import pytest

from tests.support.containers import AGENT, BASE, SERVER, Container, Engine, Pair, project, start_pair
from tests.support.processes import asked_until

pytestmark = [pytest.mark.containers, pytest.mark.timeout(600), pytest.mark.asyncio(loop_scope="module")]

USER = "10001"
MOST_MEGABYTES_OVER_THE_BASE = {SERVER: 130, AGENT: 70}
WRITABLE = "find / -xdev \\( -path /proc -o -path /sys \\) -prune -o ! -type l -writable -print 2>/dev/null | sort"
ZOMBIES = "grep -l '^State:.Z' /proc/[0-9]*/status"
BUILDERS = ("gcc", "cc", "c++", "ld", "make")
SERVERS_LIBRARIES = ("fastapi", "sqlalchemy", "uvicorn", "alembic")


async def run(pair: Pair, script: str) -> str:
    """What a shell task prints, which must succeed."""
    ended = await pair.server.exec("nodelink", "run", "--", "sh", "-c", script)
    assert ended.code == 0, ended.err
    return ended.out


async def test_a_command_runs_in_the_agents_container_and_its_output_comes_back(pair: Pair) -> None:
    assert await run(pair, "hostname; id -u") == (await pair.agent.sh("hostname; id -u")) + "\n"


async def test_a_commands_exit_code_comes_back(pair: Pair) -> None:
    assert (await pair.server.exec("nodelink", "run", "--", "sh", "-c", "exit 7")).code == 7


async def test_commands_do_not_see_the_agents_own_python_before_the_systems(pair: Pair) -> None:
    assert not (await run(pair, "command -v python3")).startswith("/opt/nodelink")


async def test_what_a_command_leaves_behind_does_not_stay_as_a_zombie(pair: Pair) -> None:
    await run(pair, "(setsid sleep 0.1 &) ; echo left")

    async def none() -> bool | None:
        return (await pair.agent.exec("sh", "-c", ZOMBIES)).code == 1 or None

    await asked_until(none, "no zombie in the agent's container")


@pytest.mark.parametrize("image", [SERVER, AGENT])
async def test_an_image_says_what_it_is_and_how_it_is_run(engine: Engine, image: str) -> None:
    content = await engine.image(image)
    labels = {name.rpartition(".")[2]: value for name, value in content["Labels"].items() if "opencontainers" in name}
    name = image.partition("/")[2].partition(":")[0]

    assert (labels["title"], labels["version"], labels["licenses"]) == (name, project()["version"], "Apache-2.0")
    assert labels["description"]
    assert content["Config"]["User"] == f"{USER}:{USER}"
    assert content["Config"]["StopSignal"] in {"SIGTERM", "15"}
    assert list(content["Config"]["Volumes"]) == ["/var/lib/nodelink"]
    assert content["Config"]["Entrypoint"] == [f"/opt/nodelink/bin/{name}"]


@pytest.mark.parametrize("image", [SERVER, AGENT])
async def test_an_image_is_little_larger_than_its_base(engine: Engine, image: str) -> None:
    more = ((await engine.image(image))["Size"] - (await engine.image(BASE))["Size"]) / 1_000_000
    assert 0 < more < MOST_MEGABYTES_OVER_THE_BASE[image]


async def test_nothing_of_the_building_is_left(pair: Pair) -> None:
    for container in pair:
        for builder in BUILDERS:
            assert (await container.exec("sh", "-c", f"command -v {builder}")).code != 0, builder
        assert (
            await container.sh("find / -xdev \\( -name '*.whl' -o -path '*/.cache/*' \\) -type f 2>/dev/null; true")
            == ""
        )
        assert (
            await container.sh("ls -d /source /opt/nodelink/lib/python*/site-packages/setuptools 2>/dev/null; true")
            == ""
        )


async def test_the_agents_image_has_none_of_the_servers_libraries(pair: Pair) -> None:
    for library in SERVERS_LIBRARIES:
        command = ("/opt/nodelink/bin/python", "-c", f"import {library}")
        assert "ModuleNotFoundError" in (await pair.agent.exec(*command)).err, library
        assert (await pair.server.exec(*command)).code == 0, library


async def test_nobody_is_root_and_only_the_volume_and_tmp_can_be_written_to(pair: Pair) -> None:
    for container in pair:
        assert await container.sh("id -u; id -g") == f"{USER}\n{USER}"
        assert await container.sh("grep -h CapEff /proc/1/status | tr -d '[:space:]'") == "CapEff:" + "0" * 16
        assert (await container.sh(f"{WRITABLE} | grep -v '^/dev/'")).split() == ["/tmp", "/var/lib/nodelink"]


async def test_files_of_the_image_belong_to_root_and_its_user_may_not_change_them(engine: Engine) -> None:
    for image in (SERVER, AGENT):
        shell = (
            "--entrypoint",
            "sh",
            image,
            "-c",
            f"{WRITABLE} | grep -v -e '^/dev/' -e '^/run/lock$' -e '^/var/tmp$' -e '^/var/lib/nodelink'",
        )
        found = await engine.podman("run", "--rm", "--network=none", "--no-healthcheck", *shell)
        assert found.out.split() == ["/tmp"]


async def test_both_stop_in_time_though_a_command_runs_and_what_they_keep_is_there_after_a_restart(
    engine: Engine,
) -> None:
    server, agent = await start_pair(engine, "kept")
    task_id = (await server.sh("nodelink run --detach -- sleep 1000")).strip()
    await asked_until(lambda: status(server, task_id, "in_progress"), "the task runs")

    assert (await agent.stop(), await server.stop()) == (0, 0)  # whoever is too slow is killed, and that is 137

    await server.again()
    await server.healthy()
    assert await status(server, task_id, "failed")
    await agent.again()
    await agent.healthy()
    agents = json.loads(await server.sh("nodelink agents list -o json"))
    assert [(agent["name"], agent["status"]) for agent in agents] == [("kept", "online")]


async def test_the_health_checks_say_what_is_wrong(engine: Engine) -> None:
    server, agent = await start_pair(engine, "ill", "--env", "NODELINK_HEARTBEAT=500ms")
    await server.stand_still()
    assert "does not answer" in await server.unhealthy()
    assert "not linked to the server" in await agent.unhealthy()


async def status(server: Container, task_id: str, wanted: str) -> bool | None:
    """Whether a task has a status."""
    task = json.loads(await server.sh(f"nodelink tasks get -o json {task_id}"))
    return task["status"] == wanted or None
