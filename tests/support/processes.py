"""Servers and agents as people run them: real processes, whose logs are shown with a test that fails.

Everything that a test starts, and whatever that has started in turn, is killed when its `Services` are left.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, NamedTuple, TypeVar

from nodelink.failpoints import VARIABLE
from tests.support.forked import Fork, forge_of, may_fork

ROOT = Path(__file__).parents[2]
WAIT_SECONDS = 60.0
START_SECONDS = 60.0
POLL_SECONDS = 0.02
LINES_SHOWN = 120
ANY_PORT = "127.0.0.1:0"

Process = asyncio.subprocess.Process | Fork
_Found = TypeVar("_Found")


class EndedEarly(AssertionError):
    """A service ended before it was ready."""

    def __init__(self, name: str, code: int) -> None:
        super().__init__(f"the {name} ended with {code}")
        self.code = code


class Service:
    """One process of ours, in a group of its own."""

    def __init__(self, name: str, process: Process) -> None:
        self.name = name
        self._process = process

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        """Whether it runs no more."""
        return self._process.returncode is not None

    def terminate(self) -> None:
        """Ask it to stop: SIGTERM."""
        self._process.terminate()

    def freeze(self) -> None:
        """Let it stand still: SIGSTOP."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on: SIGCONT."""
        self._process.send_signal(signal.SIGCONT)

    async def kill(self) -> None:
        """Kill it, and it alone, at this very moment: SIGKILL. Returns when it is gone."""
        self._process.kill()
        await self.ended()

    async def ended(self, seconds: float = WAIT_SECONDS) -> int:
        """Wait for its end. Returns its exit code."""
        async with asyncio.timeout(seconds):
            return await self._process.wait()

    def memory(self, what: str = "VmRSS") -> int:
        """How many bytes of memory it has (VmRSS), or has had at most (VmHWM)."""
        return memory_of(self.pid, what)


class Server(Service):
    """A server that is ready. `grpc` is "host:port", `http` a URL."""

    def __init__(self, process: Process, data_dir: Path, addresses: Mapping[str, str]) -> None:
        super().__init__("server", process)
        self.data_dir = data_dir
        self.grpc = addresses["grpc"]
        self.http = addresses["http"]


class Agent(Service):
    """An agent, and the process that starts its commands."""

    def __init__(self, process: Process, data_dir: Path, spawner: int) -> None:
        super().__init__("agent", process)
        self.data_dir = data_dir
        self.spawner = spawner

    def kill_spawner(self) -> None:
        """Kill the process that starts its commands, and it alone."""
        os.kill(self.spawner, signal.SIGKILL)


class House(NamedTuple):
    """A server, and an agent of its own."""

    server: Server
    agent: Agent


class Services:
    """The servers and agents of one test, in one directory."""

    def __init__(self, directory: Path, *, shows_logs: bool = True) -> None:
        self._directory = directory
        self._shows_logs = shows_logs
        self._started: list[Service] = []
        self._spawners: set[int] = set()
        self._logs: list[Path] = []

    async def server(
        self,
        *flags: str,
        data_dir: Path | None = None,
        again: Server | None = None,
        seconds: float = START_SECONDS,
        failpoint: str = "",
        env: Mapping[str, str] | None = None,
    ) -> Server:
        """Start a server and wait until it is ready. `again`: where an earlier one was, on the same ports.

        `EndedEarly`: it is not, and never will be.
        """
        data_dir = again.data_dir if again else data_dir or self._directory / "server"
        grpc, http = (again.grpc, again.http.removeprefix("http://")) if again else (ANY_PORT, ANY_PORT)
        process = await self.start(
            *("nodelink_server", "--data-dir", str(data_dir), "--grpc-address", grpc, "--http-address", http, *flags),
            failpoint=failpoint,
            env=env,
        )
        addresses = await until(lambda: _addresses(data_dir, process), f"server ready in {data_dir}", seconds)
        server = Server(process, data_dir, addresses)
        self._started.append(server)
        return server

    async def agent(
        self,
        server: Server,
        *flags: str,
        name: str = "agent",
        slots: int = 5,
        address: str | None = None,
        failpoint: str = "",
        env: Mapping[str, str] | None = None,
    ) -> Agent:
        """Start an agent for a server. It is ready when the server says that it is online.

        `address`: where it is to connect instead, to get to that server. `EndedEarly`: it has no spawner, and has gone.
        """
        data_dir = self._directory / name
        process = await self.start(
            *("nodelink_agent", "--server", address or server.grpc, "--data-dir", str(data_dir)),
            *("--name", name, "--slots", str(slots), *flags),
            failpoint=failpoint,
            env=env,
        )
        spawner = await until(lambda: _only_child(process), "spawner started", START_SECONDS)
        self._spawners.add(spawner)
        agent = Agent(process, data_dir, spawner)
        self._started.append(agent)
        return agent

    async def start(
        self, module: str, *flags: str, failpoint: str = "", env: Mapping[str, str] | None = None
    ) -> Process:
        """Start one of our programs, its log in a file of its own. `failpoint`: where it is to die; `env`: what is to
        be in its environment besides.
        """
        path = self._directory / f"{len(self._logs)}-{module}.log"
        self._logs.append(path)
        self._directory.mkdir(parents=True, exist_ok=True)
        own = environment() | self._mark() | ({VARIABLE: failpoint} if failpoint else {}) | dict(env or {})
        process = await _started(module, flags, self._directory, own, path)
        self._started.append(Service(module, process))
        return process

    def log(self) -> str:
        """What all of them have logged."""
        return "".join(path.read_text(errors="replace") for path in self._logs)

    async def said(self, words: str) -> None:
        """Wait until one of them has logged these words."""
        await until(lambda: words in self.log() or None, f"{words!r} in a log")

    def _mark(self) -> dict[str, str]:
        """What every process that comes from here has in its environment: commands, too, get this variable."""
        return {"TMPDIR": str(self._directory)}

    def living(self) -> list[int]:
        """Every process that lives and comes from here, whoever its parent is by now."""
        [(name, value)] = self._mark().items()
        own = {service.pid for service in self._started if is_alive(service.pid)}  # a fork shows another environment
        return list(own.union(marked(f"{name}={value}")))

    async def close(self) -> None:
        """Kill all of it, the spawners and their commands too, and show the logs."""
        doomed = set(self._spawners)
        for service in self._started:
            if not service.has_ended:
                doomed |= {service.pid, *descendants(service.pid)}
        for spawner in self._spawners:
            doomed |= set(descendants(spawner))
        doomed |= set(self.living())
        for pid in doomed:
            kill(pid)
        for service in self._started:
            await service.ended()
        await until(lambda: not any(map(is_alive, doomed)) or None, "everything killed", WAIT_SECONDS)
        for path in self._logs if self._shows_logs else ():
            lines = path.read_text(errors="replace").splitlines()
            sys.stdout.write("\n".join([f"--- {path.name}", *lines[-LINES_SHOWN:], ""]))


async def _started(module: str, flags: Sequence[str], directory: Path, env: Mapping[str, str], log: Path) -> Process:
    """One of our programs, in a session of its own."""
    with log.open("wb") as file:
        if may_fork(module, directory, env):
            return await forge_of(module).start(flags, directory=directory, environment=env, log=log)
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", module, *flags),
            cwd=directory,
            env=env,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )


@asynccontextmanager
async def services_in(directory: Path, *, shows_logs: bool = True) -> AsyncIterator[Services]:
    """Services in a directory; none of their processes outlives the context."""
    services = Services(directory, shows_logs=shows_logs)
    try:
        yield services
    finally:
        await services.close()


async def refusal(module: str, *flags: str, cwd: Path, env: Mapping[str, str] | None = None) -> tuple[int, str]:
    """Start one of our programs that will not run. Returns its exit code and what it said."""
    with NamedTemporaryFile() as log:
        process = await _started(module, flags, cwd, environment() | dict(env or {}), Path(log.name))
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                code = await process.wait()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        return code, log.read().decode()


def environment() -> dict[str, str]:
    """Ours, without what would be a setting."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("NODELINK_", "PYTEST_"))}
    return kept | {"PYTHONPATH": str(ROOT), "NO_COLOR": "1"}


async def until(found: Callable[[], _Found | None], what: str, seconds: float = WAIT_SECONDS) -> _Found:
    """Look again and again until something is found; for what tells nobody that it has come."""

    async def look() -> _Found | None:
        return found()

    return await asked_until(look, what, seconds)


async def asked_until(
    ask: Callable[[], Awaitable[_Found | None]], what: str, seconds: float = WAIT_SECONDS, pause: float = POLL_SECONDS
) -> _Found:
    """Ask again and again until there is an answer."""
    try:
        async with asyncio.timeout(seconds):
            while (answer := await ask()) is None:  # noqa: ASYNC110 - other processes set no event of ours
                await asyncio.sleep(pause)
            return answer
    except TimeoutError as error:
        raise AssertionError(f"not within {seconds:.0f} s: {what}") from error


def is_alive(pid: int) -> bool:
    """Whether there is such a process that has not exited."""
    try:
        return _stat(pid)[0] not in {"Z", "X"}
    except OSError:
        return False


async def gone(*pids: int, seconds: float = WAIT_SECONDS) -> None:
    """Wait until none of these processes is alive."""
    await until(lambda: not any(map(is_alive, pids)) or None, f"end of processes {pids}", seconds)


def kill(pid: int) -> None:
    """Kill a process and its group."""
    for end in (os.killpg, os.kill):
        try:
            end(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def descendants(pid: int) -> list[int]:
    """The processes below one."""
    below: dict[int, list[int]] = {}
    for path in Path("/proc").iterdir():
        if path.name.isdecimal():
            try:
                below.setdefault(int(_stat(int(path.name))[1]), []).append(int(path.name))
            except OSError:
                continue
    found = list(below.get(pid, ()))
    for child in found:
        found.extend(below.get(child, ()))
    return found


def marked(*words: str) -> list[int]:
    """The living processes that have all these words (`NAME=value`) in their environment."""
    wanted = {word.encode() for word in words}
    found = []
    for path in Path("/proc").iterdir():
        if path.name.isdecimal():
            try:
                given = set((path / "environ").read_bytes().split(b"\0"))
            except OSError:
                continue
            if wanted <= given and is_alive(int(path.name)):
                found.append(int(path.name))
    return found


def memory_of(pid: int, what: str = "VmRSS") -> int:
    """A process's memory in bytes, as /proc/PID/status names it."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{what}:"))


def _stat(pid: int) -> list[str]:
    """State, parent and so on."""
    text = Path(f"/proc/{pid}/stat").read_text()
    return text[text.rindex(")") + 2 :].split()


def _addresses(data_dir: Path, process: Process) -> dict[str, Any] | None:
    """What a server writes when it is ready; what an earlier one has left is passed over."""
    if process.returncode is not None:
        raise EndedEarly("server", process.returncode)
    try:
        addresses: dict[str, Any] = json.loads((data_dir / "addresses.json").read_text())
    except FileNotFoundError:
        return None
    return addresses if addresses["pid"] == process.pid else None


def _only_child(process: Process) -> int | None:
    if process.returncode is not None:
        raise EndedEarly("agent", process.returncode)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return int(children[0]) if children else None
