"""Measures a peer: its broker, its worker, and the job in a Python of its own, all new for each round."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.measurement import CannotMeasure, Figure, Measurement, milliseconds, times_of
from benchmarks.peers.brokers import rabbitmq, redis
from benchmarks.peers.installed import PEERS as INSTALLED
from benchmarks.peers.installed import ROOT
from benchmarks.peers.table import Peer
from benchmarks.processes import last_words, running

JOB_SECONDS = 240.0
BROKERS = {"redis": redis, "rabbitmq": rabbitmq}


def peer_measurement(peer: Peer, *, tasks: int, singles: int) -> Measurement:
    """The measurement of a peer."""
    return Measurement(
        name=peer.name,
        how=f"{tasks:,} echo tasks submitted, every result waited for; then {singles:,} one at a time. {peer.settings}",
        figures=(
            Figure(key=f"{peer.key}.rate", name=peer.name, unit="tasks/s"),
            Figure(key=f"{peer.key}.cpu", name=f"{peer.name}, CPU", unit="ms/task"),
            *times_of(peer.key, f"{peer.name}, one task"),
        ),
        run=partial(_measure, peer, tasks, singles),
    )


async def _measure(peer: Peer, tasks: int, singles: int, directory: Path) -> Mapping[str, float]:
    programs = INSTALLED / peer.environment / "bin"
    async with BROKERS[peer.broker](directory) as broker:
        environment = {
            "PEER_BROKER": broker.url,
            "PEER_RESULTS": peer.results or broker.url,
            "PYTHONPATH": str(ROOT),
            **peer.variables,
        }
        command: Sequence[str | Path] = (programs / peer.worker[0], *peer.worker[1:])
        log = directory / "worker.log"
        async with running(command, log=log, environment=environment, cwd=directory) as worker:
            job: Sequence[str | Path] = (
                *(programs / "python", "-m", "benchmarks.peers.job", peer.app, "--tasks", str(tasks)),
                *("--singles", str(singles), "--pids", str(broker.pid), str(worker.pid)),
            )
            found = await _job(job, environment, directory, log)
    return {
        f"{peer.key}.rate": tasks / found["seconds"],
        f"{peer.key}.cpu": found["cpu_seconds"] / tasks * 1000,
        **milliseconds(peer.key, found["singles"]),
    }


async def _job(command: Sequence[str | Path], environment: Mapping[str, str], directory: Path, log: Path) -> Any:
    errors = directory / "job.log"
    with errors.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, stderr=out, env={**os.environ, **environment}, cwd=directory
        )
    try:
        async with asyncio.timeout(JOB_SECONDS):
            said, _ = await process.communicate()
    except TimeoutError:
        raise CannotMeasure(f"it did not end within {JOB_SECONDS:.0f} s: {last_words(log)}") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise CannotMeasure(f"it failed: {last_words(errors) or last_words(log)}")
    return json.loads(said)
