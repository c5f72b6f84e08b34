"""Power cuts of a recorded run: what the disk holds after each, and which commits had been acknowledged by then."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests.power.durable_file import Cut, Directory
from tests.power.trace import (
    STRACE,
    Changed,
    Created,
    Event,
    Marked,
    Removed,
    SyncBegun,
    SyncEnded,
    Trace,
)

ROOT = Path(__file__).parents[2]
SHARED_MEMORY_BYTES = 32 * 1024
RECORDING_SECONDS = 200


@dataclass(frozen=True, slots=True)
class Crash:
    """What is left after a power cut. `acknowledged`: how many commits had been, by database file."""

    place: int
    files: dict[str, bytes]
    acknowledged: dict[str, int]


@dataclass(frozen=True, slots=True)
class Recording:
    """A run of the committer. `digests`: what each commit made of each database."""

    events: Sequence[Event]
    digests: dict[str, list[str]]


def record(directory: Path, *, seed: int, commits: int, synchronous: str = "FULL") -> Recording:
    """Run the committer under strace."""
    data = directory / "data"
    data.mkdir(parents=True)
    trace = Trace(directory / "trace", data, directory / "marks")
    program = [sys.executable, "-m", "tests.power.committer"]
    arguments = [str(data / "nodelink.db"), str(trace.marks), str(seed), str(commits), synchronous]
    command = [*STRACE, f"--output={trace.path}", *program, *arguments]
    subprocess.run(command, check=True, cwd=ROOT, timeout=RECORDING_SECONDS)
    events = list(trace.events())
    digests: dict[str, list[str]] = {"tasks": [], "logs": []}
    for event in events:
        if isinstance(event, Marked):
            for what, digest in json.loads(event.text).items():
                digests[what].append(digest)
    return Recording(events, digests)


def crashes(events: Sequence[Event], places: Iterable[int], random: Random, *, syncs: bool = True) -> Iterator[Crash]:
    """Cut the power behind so many events, in order. `syncs` False: the disk forgets that it was asked to sync."""
    machine = _Machine(syncs=syncs)
    done = 0
    for place in sorted(places):
        for event in events[done:place]:
            machine.take(event)
        done = place
        yield Crash(place, machine.left_of(random), dict(machine.acknowledged))


@dataclass(slots=True)
class _Machine:
    """A machine that lives through events, and whose power can be cut."""

    syncs: bool
    directory: Directory = field(default_factory=Directory)
    acknowledged: dict[str, int] = field(default_factory=lambda: {"tasks": 0, "logs": 0})
    under_way: dict[tuple[str, int], int] = field(default_factory=dict)

    def take(self, event: Event) -> None:
        match event:
            case Changed(name, operation):
                self.directory.now[name].do(operation)
            case SyncBegun(name, call) if name != ".":
                self.under_way[name, call] = self.directory.now[name].waiting
            case SyncEnded(name, call):
                self._synced(name, call)
            case Created(name):
                self.directory.create(name)
            case Removed(name):
                self.directory.remove(name)
            case Marked(text):
                for what in json.loads(text):
                    self.acknowledged[what] += 1
            case _:
                pass

    def _synced(self, name: str, call: int) -> None:
        if not self.syncs:
            return
        if name == ".":
            self.directory.sync()
        else:
            self.directory.now[name].sync(self.under_way.pop((name, call)))

    def left_of(self, random: Random) -> dict[str, bytes]:
        """What a power cut leaves. Memory that was shared by a file is anything, since nobody wrote it down."""
        files = self.directory.left_of(Cut(random))
        for name in files:
            if name.endswith("-shm") and random.random() < 0.5:
                files[name] = random.randbytes(SHARED_MEMORY_BYTES)
        return files
