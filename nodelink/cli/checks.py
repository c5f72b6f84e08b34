"""What `nodelink doctor` looks at. Each check tells what it found, and what to do if that is not well."""

from __future__ import annotations

import asyncio
import email.utils
import json
import os
import resource
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

from nodelink.cli.late import grpc, sdk
from nodelink.cli.times import rough
from nodelink.cli.version import own_version
from nodelink.errors import NodelinkError
from nodelink.server_address import LOCAL_ADDRESSES, read_addresses

if TYPE_CHECKING:
    from nodelink.client import AsyncClient

CALL_SECONDS = 5.0
TASK_SECONDS = 30.0
ROUND_TRIPS = 5
SLOW_MS = 200.0
CLOCK_SECONDS = 5.0
FEW_FILES = 1_024
PROXIES = ("grpc_proxy", "https_proxy", "http_proxy")
"""The variables that gRPC obeys, in their order; for all of them `no_grpc_proxy` and `no_proxy` name exceptions."""

NO_TYPE = "nodelink-doctor-idle"
"""A type that no task has: nothing happens to it."""

HEALTH = "/grpc.health.v1.Health/Check"
SERVING = b"\x08\x01"
"""How a server says that it is well: status SERVING."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What to look at. `idle_seconds` None: that is not looked at."""

    server: str
    http: str | None
    data_dir: Path
    with_task: bool
    idle_seconds: float | None


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found. `verdict`: ok, warn or fail; advice: what to do if it is not well."""

    name: str
    verdict: str
    found: str
    advice: str = ""


async def examined(asked: Asked) -> Sequence[Finding]:
    """Every check that was asked for, in order. What needs the server is left out when it cannot be reached."""
    findings = [open_files(), *proxies(os.environ), data_dir(asked.data_dir)]
    async with sdk.AsyncClient(asked.server, timeout=CALL_SECONDS) as client:
        reached = await reachable(client)
        findings.append(reached)
        if reached.verdict != "ok":
            return [*findings, *await _over_http(asked)]
        findings += [await health(asked.server), await round_trip(client), *await _over_http(asked)]
        findings.append(await agents_online(client))
        if asked.with_task:
            findings.append(await echo_task(client))
        if asked.idle_seconds is not None:
            findings.append(await stays_open(asked.server, asked.idle_seconds))
    return findings


# --- this machine -----------------------------------------------------------------------------------------------------


def open_files() -> Finding:
    """How many files a process may have open: each connection is one."""
    soft, _hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft > FEW_FILES:
        return Finding("open files", "ok", "no limit" if soft == resource.RLIM_INFINITY else f"at most {soft:,}")
    advice = "a server with many agents and listeners needs more: `ulimit -n 65536`, or LimitNOFILE= of its unit"
    return Finding("open files", "warn", f"at most {soft:,}", advice)


def proxies(environment: Mapping[str, str]) -> Iterator[Finding]:
    """Variables that send gRPC through a proxy, which often does not let it pass."""
    found = [name for name in PROXIES if environment.get(name)]
    if not found:
        yield Finding("proxy", "ok", "no proxy is set")
        return
    name = found[0]
    without = environment.get("no_grpc_proxy") or environment.get("no_proxy") or ""
    advice = f"gRPC goes through {name} unless no_proxy names the server: unset it, or `export no_proxy=HOST`"
    yield Finding("proxy", "warn", f"{name} is set; not for: {without or 'nothing'}", advice)


def data_dir(path: Path) -> Finding:
    """Whether a server or an agent could write to its data directory, or make it."""
    place = next(one for one in (path.absolute(), *path.absolute().parents) if one.exists())
    try:
        with tempfile.TemporaryFile(dir=place):
            return Finding("data directory", "ok", f"{path} can be {'written to' if path.exists() else 'made'}")
    except OSError as error:
        advice = f"let this user write to {place}, or name another place with --data-dir"
        return Finding("data directory", "fail", f"{path}: {error.strerror}", advice)


# --- the server -------------------------------------------------------------------------------------------------------


async def reachable(client: AsyncClient) -> Finding:
    """Whether the server answers over gRPC."""
    try:
        await client.scheduler_status()
    except NodelinkError as error:
        advice = "start it (`nodelink dev`), name it (--server HOST:PORT), or let its port through the firewall"
        return Finding("server", "fail", str(error), advice)
    return Finding("server", "ok", f"{client.server} answers over gRPC")


async def health(server: str) -> Finding:
    """What the server says of itself: its database and its dispatch loop."""
    try:
        async with grpc.aio.insecure_channel(server) as channel:
            check = channel.unary_unary(HEALTH, request_serializer=bytes, response_deserializer=bytes)
            answer = await check(b"", timeout=CALL_SECONDS)
    except grpc.RpcError as error:
        return Finding("health", "warn", f"it cannot be asked: {_words_of(error)}", "the server may be an old one")
    if answer == SERVING:
        return Finding("health", "ok", "serving")
    return Finding("health", "fail", "not serving", "look into the server's log; GET /readyz says what stands still")


async def round_trip(client: AsyncClient) -> Finding:
    """How long an answer takes: the best of a few."""
    times = []
    for _ in range(ROUND_TRIPS):
        began = time.perf_counter()
        await client.scheduler_status()
        times.append((time.perf_counter() - began) * 1000)
    found = f"{min(times):.1f} ms at best, {max(times):.1f} ms at worst"
    if min(times) < SLOW_MS:
        return Finding("round trip", "ok", found)
    return Finding("round trip", "warn", found, "the network is slow, or the server has too much to do")


async def agents_online(client: AsyncClient) -> Finding:
    """Whether anybody is there to run tasks."""
    known = await client.agents()
    online = [agent for agent in known if agent.status == "online"]
    found = f"{len(online)} of {len(known)} online, {sum(agent.free_slots for agent in online)} slots free"
    if online:
        return Finding("agents", "ok", found)
    return Finding("agents", "warn", found, "start one: `nodelink agent --server HOST:PORT`; tasks wait until then")


async def echo_task(client: AsyncClient) -> Finding:
    """Whether a task goes all the way."""
    began = time.perf_counter()
    try:
        handle = client.submit("echo", {"from": "nodelink doctor"}, timeout="10s", queue_timeout=f"{TASK_SECONDS:g}s")
        result = await handle.result(TASK_SECONDS)
    except (NodelinkError, TimeoutError) as error:
        return Finding("task", "fail", str(error), "`nodelink tasks list` and `nodelink agents list` tell more")
    if result.succeeded:
        return Finding("task", "ok", f"{result.task_id} took {rough(time.perf_counter() - began)}")
    found = f"{result.task_id} ended as {result.status}: {result.error_message}"
    return Finding("task", "fail", found, "the agents of pool default must be able to run echo")


async def stays_open(server: str, seconds: float) -> Finding:
    """Whether a stream on which nothing happens is cut on its way."""
    began = time.monotonic()
    try:
        async with (
            asyncio.timeout(seconds),
            sdk.AsyncClient(server, patience=0) as client,  # one that does not connect again
            aclosing(client.watch(type=NO_TYPE)) as events,
        ):
            async for _ in events:
                continue
    except TimeoutError:
        return Finding("idle stream", "ok", f"open for {rough(seconds)}")
    except NodelinkError as error:
        found = f"cut after {rough(time.monotonic() - began)}: {error}"
        return Finding("idle stream", "fail", found, "raise the idle timeout of the proxy or balancer on the way")
    return Finding("idle stream", "fail", f"ended after {rough(time.monotonic() - began)}", "is the server stopping?")


# --- over HTTP --------------------------------------------------------------------------------------------------------


async def _over_http(asked: Asked) -> Sequence[Finding]:
    """What the HTTP side tells: that it is there, which version it has, and what time it is."""
    address = asked.http or _http_beside(asked.server)
    if address is None:
        advice = "name it with --http http://HOST:8080: the versions and the clocks are compared there"
        return [Finding("HTTP", "warn", "its address is not known", advice)]
    try:
        told, date = await asyncio.to_thread(_ask, address)
    except (OSError, ValueError) as error:
        reason = error.reason if isinstance(error, URLError) else error
        return [Finding("HTTP", "fail", f"{address}: {reason}", "is that the server's HTTP address?")]
    return [Finding("HTTP", "ok", f"{address} answers"), _versions(str(told.get("version", "?"))), _clocks(date)]


def _http_beside(server: str) -> str | None:
    """The HTTP address of a server that was started in this directory, if it is the one."""
    addresses = read_addresses(LOCAL_ADDRESSES)
    return str(addresses["http"]) if addresses and addresses["grpc"] == server and "http" in addresses else None


def _ask(address: str) -> tuple[dict[str, Any], str]:
    opener = build_opener(ProxyHandler({}))
    with opener.open(f"{address.rstrip('/')}/healthz", timeout=CALL_SECONDS) as answer:
        told = json.load(answer)
        return (told if isinstance(told, dict) else {}), answer.headers.get("Date", "")


def _versions(theirs: str) -> Finding:
    ours = own_version()
    if ours == theirs:
        return Finding("version", "ok", f"{ours}, like the server")
    return Finding("version", "warn", f"{ours} here, {theirs} there", "install the same version on both sides")


def _clocks(date: str) -> Finding:
    try:
        theirs = email.utils.parsedate_to_datetime(date).timestamp()
    except (TypeError, ValueError):
        return Finding("clocks", "warn", "the server did not say what time it is")
    apart = abs(time.time() - theirs)
    if apart < CLOCK_SECONDS:
        return Finding("clocks", "ok", f"less than {CLOCK_SECONDS:g}s apart")
    return Finding("clocks", "warn", f"{rough(apart)} apart", "set both by NTP: times of tasks are the server's")


def _words_of(error: Any) -> str:
    return str(error.details() or error.code().name)
