"""A real Prometheus with our own configuration, at a real server."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.support.processes import ROOT, Server, Services, asked_until
from tests.support.rest import Rest

FOLDER = ROOT / "deploy" / "observability"

pytestmark = [pytest.mark.slow, pytest.mark.prometheus]


class Prometheus:
    """A Prometheus that scrapes a server. Use as an async context."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self._http = http

    async def query(self, text: str) -> list[dict[str, Any]]:
        """The samples that a query gives now."""
        answer = await self._http.get("/api/v1/query", params={"query": text})
        assert answer.status_code == 200, answer.text
        result: list[dict[str, Any]] = answer.json()["data"]["result"]
        return result

    async def until(self, text: str) -> list[dict[str, Any]]:
        """The samples that a query gives, as soon as it gives any."""

        async def ask() -> list[dict[str, Any]] | None:
            try:
                is_ready = (await self._http.get("/-/ready")).is_success
            except httpx.TransportError:  # it has only just been started
                return None
            return (await self.query(text) or None) if is_ready else None

        return await asked_until(ask, f"an answer to {text}", pause=0.2)


@asynccontextmanager
async def prometheus_of(server: Server, directory: Path) -> AsyncIterator[Prometheus]:
    """A Prometheus that runs with our configuration, faster, at this server."""
    config = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(FOLDER / "alerts.yml")]
    config["scrape_configs"][0]["static_configs"] = [{"targets": [server.http.removeprefix("http://")]}]
    path = directory / "prometheus.yml"
    path.write_text(yaml.safe_dump(config))
    address = f"127.0.0.1:{_free_port()}"
    with (directory / "prometheus.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            "prometheus",
            *(f"--config.file={path}", f"--storage.tsdb.path={directory / 'data'}", f"--web.listen-address={address}"),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        async with httpx.AsyncClient(base_url=f"http://{address}", trust_env=False) as http:
            yield Prometheus(http)
    finally:
        process.kill()
        await process.wait()


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


async def test_prometheus_scrapes_what_happens_and_the_alerts_stay_silent(services: Services, tmp_path: Path) -> None:
    server = await services.server()
    await services.agent(server)
    async with Rest(server) as rest, prometheus_of(server, tmp_path) as prometheus:
        await rest.online()
        await rest.results(await rest.echo(3))
        [finished] = await prometheus.until('nodelink_tasks_finished_total{type="echo", status="completed"} == 3')
        [up] = await prometheus.query('up{job="nodelink"}')
        [slots] = await prometheus.until('nodelink_agent_slots{pool="default", state="free"} == 5')
        alerts = await prometheus.query('ALERTS{alertname!="NodeLinkServerDown"}')
        targets = (await prometheus._http.get("/api/v1/targets")).json()["data"]["activeTargets"]

    assert finished["metric"]["pool"] == "default"
    assert (up["value"][1], slots["value"][1]) == ("1", "5")
    assert alerts == []
    assert [(target["health"], target["lastError"]) for target in targets] == [("up", "")]


async def test_promtool_has_nothing_to_say_about_the_metrics(services: Services) -> None:
    server = await services.server()
    await services.agent(server)
    async with Rest(server) as rest:
        await rest.online()
        await rest.result(await rest.submit("echo"))
        await rest.result(await rest.shell("exit 3"))
        text = (await rest.http.get("/metrics")).content
    process = await asyncio.create_subprocess_exec(
        *("promtool", "check", "metrics"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(60):
        said, _ = await process.communicate(text)

    assert (process.returncode, said.decode()) == (0, "")
