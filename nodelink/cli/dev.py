"""`nodelink dev`: a server and an agent on this machine, in one command."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Coroutine, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, TypeVar

import click

from nodelink.address import parse_address
from nodelink.cli.background import background
from nodelink.cli.child import Child, ChildEnded, child, while_alive
from nodelink.cli.choice import Choice
from nodelink.cli.exit_codes import Exit
from nodelink.cli.follow import Follower, Interrupts, interrupts
from nodelink.cli.late import sdk
from nodelink.cli.manual import command as manual_command
from nodelink.cli.output import say, say_error
from nodelink.cli.progress import ProgressLine
from nodelink.cli.run import shell_payload
from nodelink.cli.screen import Screen
from nodelink.cli.services import service_command
from nodelink.errors import LinkError
from nodelink.server_address import read_addresses

if TYPE_CHECKING:
    from nodelink.client import AsyncClient

START_SECONDS = 60.0
POLL_SECONDS = 0.05
AGENT_GRACE = "5s"
"""How long running tasks may go on when all of it is stopped."""

LOG_NAME = "services.log"
LOG_LINES_SHOWN = 60
DEFAULT_DATA_DIR = Path(".nodelink")
DEFAULT_GRPC = "127.0.0.1:50051"
DEFAULT_HTTP = "127.0.0.1:8080"
ANY_PORT = "127.0.0.1:0"

_Result = TypeVar("_Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to start. `command`: a task to run on it; empty: none, it goes on until it is stopped."""

    data_dir: Path | None
    grpc: str
    http: str
    config: Path | None
    log_format: str | None
    slots: int | None
    command: Sequence[str] = field(default=())

    def server_arguments(self, data_dir: Path) -> list[str]:
        """The server's command line."""
        arguments = ["--data-dir", str(data_dir), "--grpc-address", self.grpc, "--http-address", self.http]
        if self.config:
            arguments += ["--config", str(self.config)]
        return arguments + self._log_arguments()

    def agent_arguments(self, data_dir: Path, server: str) -> list[str]:
        """The agent's command line."""
        arguments = ["--data-dir", str(data_dir), "--server", server, "--shutdown-grace", AGENT_GRACE]
        arguments += ["--on-stop", "stop"]  # nothing is to go on behind somebody's back
        if self.config:
            arguments += ["--config", str(self.config)]
        if self.slots:
            arguments += ["--slots", str(self.slots)]
        return arguments + self._log_arguments()

    def _log_arguments(self) -> list[str]:
        return ["--log-format", self.log_format] if self.log_format else []


class Interrupted(Exception):
    """Somebody asked us to stop."""


def _loopback(_context: click.Context, _parameter: click.Parameter, given: str | None) -> str | None:
    if given is None:
        return None
    try:
        address = parse_address(given)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
    if not address.is_loopback:
        raise click.BadParameter(f"{given} can be reached from other machines; dev listens on loopback only")
    return str(address)


@manual_command(
    name="dev",
    context_settings={"allow_interspersed_args": False},
    examples=("nodelink dev", "nodelink dev --slots 20 --data-dir /tmp/try", "nodelink dev -- sh -c 'echo hello'"),
    exits=(Exit.OK, Exit.USAGE, Exit.LOST, Exit.INTERRUPTED),
)
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="[-- COMMAND...]")
@click.option("--data-dir", type=click.Path(path_type=Path, file_okay=False), help="Else ./.nodelink.")
@click.option("--ephemeral", is_flag=True, help="Use a directory that is removed at the end, and free ports.")
@click.option("--grpc-address", callback=_loopback, metavar="HOST:PORT", help=f"Else {DEFAULT_GRPC}.")
@click.option("--http-address", callback=_loopback, metavar="HOST:PORT", help=f"Else {DEFAULT_HTTP}.")
@click.option("--slots", type=click.IntRange(1), metavar="N", help="How many tasks the agent runs at a time.")
@click.option("--config", type=click.Path(path_type=Path, exists=True, dir_okay=False), help="A file of settings.")
@click.option("--log-format", type=Choice(("console", "json")), help="How the services log.")
def dev(
    command: Sequence[str],
    data_dir: Path | None,
    ephemeral: bool,
    grpc_address: str | None,
    http_address: str | None,
    slots: int | None,
    config: Path | None,
    log_format: str | None,
) -> int:
    """Start a server and an agent here, on SQLite; stop both with Ctrl-C.

    With COMMAND: run it as a task on a server of its own (a directory that is removed at the end, free ports), follow
    it, exit with its code, and stop. It works beside a server that runs already.
    """
    if ephemeral and data_dir:
        raise click.UsageError("--ephemeral cannot be given together with --data-dir")
    apart = ephemeral or (bool(command) and data_dir is None)
    free_ports = ephemeral or bool(command)
    plan = Plan(
        data_dir=None if apart else data_dir or DEFAULT_DATA_DIR,
        grpc=grpc_address or (ANY_PORT if free_ports else DEFAULT_GRPC),
        http=http_address or (ANY_PORT if free_ports else DEFAULT_HTTP),
        config=config,
        log_format=log_format,
        slots=slots,
        command=command,
    )
    return asyncio.run(develop(plan))


async def develop(plan: Plan) -> int:
    """Start what was planned and use it. Returns the exit code."""
    with _directory(plan) as data_dir, _log(plan, data_dir) as log:
        async with interrupts() as came:
            try:
                return await _start_and_use(plan, data_dir, log, came)
            except Interrupted:
                return Exit.INTERRUPTED if plan.command else Exit.OK
            except (ChildEnded, TimeoutError) as error:
                _show_log(data_dir if log else None)
                say_error(str(error))
                return max(getattr(error, "code", 0), 0) or Exit.LOST


async def _start_and_use(plan: Plan, data_dir: Path, log: IO[bytes] | None, came: Interrupts) -> int:
    environment = _environment(plan)
    server_command = service_command("nodelink_server", plan.server_arguments(data_dir))
    async with child("server", server_command, environment=environment, log=log) as server:
        addresses = await _until(_addresses_of(server, data_dir / "addresses.json"), came, server)
        grpc_address = str(addresses["grpc"])
        agent_command = service_command("nodelink_agent", plan.agent_arguments(data_dir, grpc_address))
        async with (
            child("agent", agent_command, environment=environment, log=log) as agent,
            sdk.AsyncClient(grpc_address) as client,
        ):
            await _until(_online(client), came, server, agent)
            if plan.command:
                return await _run(client, plan.command, came, server, agent)
            say(
                f"nodelink is ready: http {addresses['http']}, grpc {grpc_address}, data in {data_dir}. Ctrl-C stops it"
            )
            await _until(asyncio.Event().wait(), came, server, agent)
            return Exit.OK


async def _run(client: AsyncClient, command: Sequence[str], came: Interrupts, *services: Child) -> int:
    task = await client.submit(sdk.new_task("shell", shell_payload(command, env={}, cwd=str(Path.cwd()), stdin=False)))
    follower = Follower(client, Screen(raw=False), came, ProgressLine())
    return await while_alive(follower.run(task.id), *services)


async def _until(work: Coroutine[Any, Any, _Result], came: Interrupts, *services: Child) -> _Result:
    """The result of some work. Raises `Interrupted`, or `ChildEnded` if a service dies meanwhile."""
    async with background(work) as working, background(came.get()) as interrupt:
        await while_alive(asyncio.wait({working, interrupt}, return_when=asyncio.FIRST_COMPLETED), *services)
        if interrupt.done() or not working.done():  # both at once: an interrupt must not be lost
            raise Interrupted
        return await working


async def _addresses_of(server: Child, path: Path) -> dict[str, Any]:
    """What the server writes when it is ready. What an earlier one has left is passed over."""
    async with _within("the server is not ready"):
        while True:
            addresses = read_addresses(path)
            if addresses is not None and addresses.get("pid") == server.pid:
                return addresses
            await asyncio.sleep(POLL_SECONDS)


async def _online(client: AsyncClient) -> None:
    async with _within("the agent has not connected"):
        while True:
            try:
                if await client.agents(status="online"):
                    return
            except LinkError:
                pass  # it has only just begun to listen
            await asyncio.sleep(POLL_SECONDS)


@asynccontextmanager
async def _within(what: str) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(START_SECONDS):
            yield
    except TimeoutError as error:
        raise TimeoutError(f"{what} after {START_SECONDS:.0f}s") from error


@contextmanager
def _directory(plan: Plan) -> Iterator[Path]:
    if plan.data_dir is not None:
        yield plan.data_dir.absolute()
        return
    with tempfile.TemporaryDirectory(prefix="nodelink-", ignore_cleanup_errors=True) as name:
        yield Path(name)


@contextmanager
def _log(plan: Plan, data_dir: Path) -> Iterator[IO[bytes] | None]:
    """Where the services log: to our own output, or, beside a command's output, to a file."""
    if not plan.command:
        yield None
        return
    data_dir.mkdir(parents=True, exist_ok=True)
    with (data_dir / LOG_NAME).open("ab") as log:
        yield log


def _show_log(data_dir: Path | None) -> None:
    if data_dir is None:
        return
    lines = (data_dir / LOG_NAME).read_text(errors="replace").splitlines()
    for line in lines[-LOG_LINES_SHOWN:]:
        say(line)


def _environment(plan: Plan) -> dict[str, str]:
    """Ours; but what is apart from everything must not be drawn to another database by a variable."""
    if plan.data_dir is not None:
        return dict(os.environ)
    return {name: value for name, value in os.environ.items() if not name.startswith("NODELINK_")}
