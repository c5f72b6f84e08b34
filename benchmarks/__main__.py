"""`python -m benchmarks`: durable tasks end to end, beside the raw limits of the same machine and beside peers.

Prints one table of figures and ratios. Ratios can be compared between machines, figures cannot.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from benchmarks import backlog, blobs, database
from benchmarks.arguments import IN_PARTS, is_standard, memory_sizes_of, parse, scale_sizes_of, sizes_of
from benchmarks.compare import comparison
from benchmarks.machine import ROOT, machine
from benchmarks.memory.suite import MEMORY_RATIOS, memory
from benchmarks.peers.installed import missing, versions
from benchmarks.peers.table import PEERS
from benchmarks.quiet import listen
from benchmarks.ratios import values_of
from benchmarks.results import Earlier, NoResults, as_json, read, write
from benchmarks.runner import Run, run_rounds
from benchmarks.scale.suite import SCALE_RATIOS, scale
from benchmarks.suites import ROUNDS, NothingChosen, chosen, full, quick
from benchmarks.table import table

MAINS: Mapping[str, Callable[[Sequence[str]], int]] = {
    "database": database.main,
    "backlog": backlog.main,
    "blobs": blobs.main,
}
KEPT = ROOT / "benchmarks" / "results"
INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print. 1: a measurement broke; a peer that cannot be installed is only named."""
    given = parse(argv)
    if given.mode in MAINS:
        return MAINS[given.mode](["--directory", str(given.directory)] if given.directory else [])
    try:
        earlier = read(given.compare) if given.compare else None  # before the minutes that measuring takes
        return _suite(given, earlier)
    except (NoResults, NothingChosen) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except (KeyboardInterrupt, asyncio.CancelledError):
        return INTERRUPTED


def _suite(given: argparse.Namespace, earlier: Earlier | None) -> int:
    run = _run_of(given)
    asyncio.run(_measure(run, given.rounds or (1 if given.mode in IN_PARTS else ROUNDS), given.directory))
    sys.stdout.write(table(run) + "\n")
    if earlier:
        changes = comparison(earlier, values_of(run.medians, run.ratios), is_quiet=run.is_quiet, ratios=run.ratios)
        sys.stdout.write(f"\n{changes}\n")
    results = as_json(run, suite=given.mode, machine={**machine(), "peers": versions()})
    for path in (given.json, KEPT / f"{given.mode}.json" if is_standard(given) else None):
        if path:
            write(path, results)
    return 1 if run.failed else 0


def _run_of(given: argparse.Namespace) -> Run:
    """What is to be measured. Raises NothingChosen."""
    if given.mode == "scale":
        return Run(chosen(scale(scale_sizes_of(given), given.scale), given.only), SCALE_RATIOS)
    if given.mode == "memory":
        return Run(chosen(memory(memory_sizes_of(given), given.memory), given.only), MEMORY_RATIOS)
    suite = full if given.mode == "full" else quick
    return Run(chosen(suite(sizes_of(given)), given.only))


async def _measure(run: Run, rounds: int, directory: Path | None) -> None:
    names = {one.name for one in run.measurements}
    peers = [peer for peer in PEERS if peer.name in names]
    lacking = await missing([part for peer in peers for part in peer.parts])
    whys = {peer.name: [lacking[part] for part in peer.parts if part in lacking] for peer in peers}
    run.not_measured |= {name: "; ".join(why) for name, why in whys.items() if why}
    here = asyncio.current_task()
    assert here is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, here.cancel)  # what was started is ended then, too
    await run_rounds(run, rounds=rounds, parent=directory, listen=listen, tell=_tell)


def _tell(what: str) -> None:
    sys.stderr.write(f"{what}\n")


if __name__ == "__main__":
    sys.exit(main())
