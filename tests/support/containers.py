"""A container engine of a test's own: images, containers and settings stand in one directory, and none of them is left.

It starts containers as a cautious operator does: read-only, and without any privilege.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import tempfile
import tomllib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

from tests.support.processes import ROOT, asked_until, until

BASE_ARCHIVE = ROOT / ".tools" / "containers" / "base.tar"
WHEELS = ROOT / ".tools" / "containers" / "wheels"
"""scripts/tools makes both."""

BASE = "localhost/base:test"
SERVER = "localhost/nodelink-server:test"
AGENT = "localhost/nodelink-agent:test"
PODMAN_SECONDS = 60.0
BUILD_SECONDS = 300.0
STOP_SECONDS = 10
HEALTH_SECONDS = 120.0
"""What `docker stop` and `podman stop` give a container before they kill it."""

CGROUPS = Path("/sys/fs/cgroup")
MOST_PROCESSES = 32768
"""Podman lowers its own limit to that, and may then grant no more."""

HARDENED = (
    *("--read-only", "--read-only-tmpfs=false", "--tmpfs", "/tmp"),  # podman alone would add more than /tmp
    *("--cap-drop=ALL", "--security-opt", "no-new-privileges"),
    "--no-healthcheck",  # podman leaves the checks to systemd, which may not be there; the tests run the command
)


class Ended(NamedTuple):
    """How a command ended, and what it wrote."""

    code: int
    out: str
    err: str


class Engine:
    """Podman, apart from the machine's own. Use `own_engine`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._cgroup = f"nodelink-test-{os.getpid()}"
        self._config = directory / "containers.conf"
        self._config.write_text(_CONFIG.format(files=_hard(resource.RLIMIT_NOFILE), processes=_processes()))
        (directory / "networks").mkdir()
        self.started: list[Container] = []

    async def podman(self, *arguments: str, seconds: float = PODMAN_SECONDS) -> Ended:
        """Run one command of podman's to its end."""
        at = self._directory
        place = ("--root", f"{at}/root", "--runroot", f"{at}/run", "--tmpdir", f"{at}/tmp")
        process = await asyncio.create_subprocess_exec(
            *("podman", *place, "--storage-driver", "overlay", "--network-config-dir", f"{at}/networks", *arguments),
            cwd=ROOT,
            env=os.environ | {"CONTAINERS_CONF": str(self._config)},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(seconds):
                out, err = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert process.returncode is not None
        return Ended(process.returncode, out.decode(errors="replace"), err.decode(errors="replace"))

    async def done(self, *arguments: str, seconds: float = PODMAN_SECONDS) -> str:
        """Run a command of podman's that must succeed. Returns what it wrote."""
        ended = await self.podman(*arguments, seconds=seconds)
        assert ended.code == 0, f"podman {' '.join(arguments)}: {ended.code}\n{ended.out}{ended.err}"
        return ended.out.strip()

    async def build(self, image: str, dockerfile: str) -> None:
        """Build an image of this repository, with no network: from the local base and the local wheels."""
        arguments = {"BASE": BASE, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": "/mnt"}
        given = [part for name, value in arguments.items() for part in ("--build-arg", f"{name}={value}")]
        await self.done(
            *("build", "--quiet", "--format", "docker", "--network=none", "--volume", f"{WHEELS}:/mnt:ro"),
            *(*given, "--file", dockerfile, "--tag", image, str(ROOT)),
            seconds=BUILD_SECONDS,
        )

    async def start(self, name: str, image: str, *options: str, network: str) -> Container:
        """Start a container with a volume of its own, named after it."""
        container = Container(self, name, image)
        self.started.append(container)
        volume = f"{name}-state:/var/lib/nodelink"
        await self.done(
            *("run", "--detach", "--name", name, "--cgroup-parent", f"/{self._cgroup}"),
            *(f"--network={network}", "--volume", volume, *HARDENED, *options, image),
        )
        return container

    async def image(self, name: str) -> Any:
        """What an image says of itself."""
        return json.loads(await self.done("image", "inspect", name))[0]

    async def close(self) -> None:
        """Leave no container, and no control group."""
        for container in reversed(self.started):  # one that uses another's network goes before it
            await self.done("rm", "--force", "--ignore", "--volumes", "--time", "0", container.name)
        await until(lambda: _without_cgroups(self._cgroup) or None, f"no control groups of {self._cgroup}")


class Container:
    """One container of an image of ours."""

    def __init__(self, engine: Engine, name: str, image: str) -> None:
        self.name = name
        self._engine = engine
        self._image = image

    async def exec(self, *command: str) -> Ended:
        """Run a command inside."""
        return await self._engine.podman("exec", self.name, *command)

    async def sh(self, script: str) -> str:
        """What a script writes inside, which must succeed."""
        return await self._engine.done("exec", self.name, "sh", "-c", script)

    async def check(self) -> Ended:
        """The image's own health check."""
        healthcheck = (await self._engine.image(self._image))["Healthcheck"]["Test"]
        assert healthcheck[0] == "CMD", healthcheck
        return await self.exec(*healthcheck[1:])

    async def healthy(self) -> None:
        """Wait until the health check finds nothing wrong."""

        async def well() -> bool | None:
            return (await self.check()).code == 0 or None

        await asked_until(well, f"{self.name} healthy", HEALTH_SECONDS)

    async def unhealthy(self) -> str:
        """Wait until the health check finds something wrong. Returns what."""

        async def ill() -> str | None:
            checked = await self.check()
            return checked.err if checked.code else None

        return await asked_until(ill, f"{self.name} unhealthy", HEALTH_SECONDS)

    async def stand_still(self) -> None:
        """Stop its first process from running on, and let it be there."""
        await self._engine.done("kill", "--signal", "STOP", self.name)

    async def stop(self) -> int:
        """Stop it as an operator does. Returns its exit code: 137 if it took too long and was killed."""
        await self._engine.done("stop", "--time", str(STOP_SECONDS), self.name)
        return int(await self._engine.done("inspect", "--format", "{{.State.ExitCode}}", self.name))

    async def again(self) -> None:
        """Start it again after a stop."""
        await self._engine.done("start", self.name)

    async def log(self) -> str:
        """What it has logged."""
        ended = await self._engine.podman("logs", self.name)
        return ended.out + ended.err


class Pair(NamedTuple):
    """A server, and an agent in the server's network."""

    server: Container
    agent: Container


async def start_pair(engine: Engine, name: str, *options: str) -> Pair:
    """A server with `options` and its agent, when they work together."""
    server = await engine.start(f"{name}-server", SERVER, *options, network="none")
    agent = await engine.start(f"{name}-agent", AGENT, "--hostname", name, network=f"container:{name}-server")
    await server.healthy()
    await agent.healthy()
    return Pair(server, agent)


@asynccontextmanager
async def own_engine() -> AsyncIterator[Engine]:
    """An engine that has the base image and nothing else. Leaving removes all that it has made."""
    for made in (BASE_ARCHIVE, WHEELS):
        assert made.exists(), f"{made} is missing: scripts/tools makes it"
    async with _memory() as directory:
        engine = Engine(directory)
        try:
            path = "ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
            await engine.done("import", "--quiet", "--change", path, str(BASE_ARCHIVE), BASE)
            yield engine
        finally:
            await engine.close()


@asynccontextmanager
async def _memory() -> AsyncIterator[Path]:
    """A directory in memory, which is fast and leaves nothing. Its path is short: podman takes no longer one."""
    with tempfile.TemporaryDirectory(prefix="nodelink-") as name:
        await _run("mount", "-t", "tmpfs", "-o", "size=4g", "nodelink-test", name)
        try:
            yield Path(name)
        finally:
            for mount in sorted(_mounts_in(Path(name)), reverse=True):
                await _run("umount", mount)


def project() -> dict[str, Any]:
    """What pyproject.toml says of the project."""
    found: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return found


_CONFIG = """\
[containers]
default_ulimits = ["nofile={files}:{files}", "nproc={processes}:{processes}"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
lock_type = "file"
runtime = "runc"
[network]
network_backend = "netavark"
"""


def _hard(limit: int) -> int:
    """The most that this machine grants, as far as podman can count."""
    hard = resource.getrlimit(limit)[1]
    return 1 << 20 if hard == resource.RLIM_INFINITY else hard


def _processes() -> int:
    return min(MOST_PROCESSES, _hard(resource.RLIMIT_NPROC))


def _mounts_in(directory: Path) -> list[str]:
    mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    return [mount for mount in mounts if Path(mount).is_relative_to(directory)]


def _without_cgroups(name: str) -> bool:
    """Remove the control groups of a name, if what was in them is gone by now."""
    try:
        for group in (*CGROUPS.glob(name), *CGROUPS.glob(f"*/{name}")):
            for path in sorted((group, *group.glob("**/*/")), reverse=True):
                path.rmdir()
    except OSError:
        return False
    return True


async def _run(*command: str) -> None:
    process = await asyncio.create_subprocess_exec(*command)
    async with asyncio.timeout(PODMAN_SECONDS):
        assert await process.wait() == 0, command
